use std::collections::HashSet;

use super::*;

#[test]
fn rows_keep_the_conventions_of_prometheus() {
    let mut names = HashSet::new();
    for metric in ALL {
        let name = metric.name;
        assert!(names.insert(name), "{name} stands in the table twice");
        assert!(name.starts_with("sessile_"), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind == Counter, "{name}");
        let base = name.trim_end_matches("_total");
        assert_eq!(
            base.ends_with("_seconds"),
            metric.unit == Unit::Seconds,
            "{name}"
        );
        assert_eq!(
            base.ends_with("_bytes"),
            metric.unit == Unit::Bytes,
            "{name}"
        );
        assert!(metric.help.ends_with('.'), "{name}");
        if let Kind::Histogram(bounds) = metric.kind {
            assert!(bounds.is_sorted(), "{name}");
        }
    }
}

#[test]
fn the_page_for_operators_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, markdown()).expect("docs/ can be written");
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        page,
        markdown(),
        "run the tests with UPDATE=1 and commit docs/metrics.md"
    );
}
