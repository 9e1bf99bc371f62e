use super::*;
use crate::base::clock;

fn lines(registry: &Registry) -> usize {
    let text = registry.render(Exposition::Text);
    text.lines()
        .filter(|line| line.starts_with("sessile_"))
        .count()
}

#[test]
fn a_series_goes_when_its_name_is_gone_and_nothing_holds_it() {
    let registry = Registry::default();
    let now = clock::now();
    let held = registry.counter(&table::REFUSALS, &["a", "u", "no_backend"]);
    let named = |_: &Metric, values: &[Box<str>]| &*values[0] == "b";
    let _ = registry.counter(&table::REFUSALS, &["b", "u", "no_backend"]);
    assert_eq!(registry.sweep(now, named), 1);
    let later = now + 10 * KEPT;
    // A session may last for days after its route.
    assert_eq!(registry.sweep(later, named), 1);
    held.increment(7);
    drop(held);
    // Its last value can still be scraped.
    assert_eq!(registry.sweep(later, named), 1);
    assert!(
        registry
            .render(Exposition::Text)
            .contains("reason=\"no_backend\"} 7\n"),
        "{}",
        registry.render(Exposition::Text)
    );
    assert_eq!(registry.sweep(later + KEPT / 2, named), 1);
    assert_eq!(lines(&registry), 2);
    assert_eq!(registry.sweep(later + KEPT, named), 0);
    assert_eq!(lines(&registry), 1);
}

#[test]
fn a_name_that_returns_in_time_counts_on() {
    let registry = Registry::default();
    let now = clock::now();
    registry
        .counter(&table::REFUSALS, &["a", "u", "r"])
        .increment(1);
    registry.sweep(now, |_, _| false);
    registry
        .counter(&table::REFUSALS, &["a", "u", "r"])
        .increment(1);
    registry.sweep(now + KEPT / 2, |_, _| true);
    registry.sweep(now + KEPT, |_, _| false);
    assert!(
        registry.render(Exposition::Text).contains("} 2\n"),
        "{}",
        registry.render(Exposition::Text)
    );
}

#[test]
fn no_churn_keeps_more_than_the_bound() {
    let registry = Registry::default();
    let now = clock::now();
    for route in 0..3 * KEPT_MAX {
        let route = route.to_string();
        registry
            .counter(&table::REFUSALS, &[&route, "u", "r"])
            .increment(1);
    }
    assert_eq!(registry.sweep(now, |_, _| false), KEPT_MAX);
    assert_eq!(lines(&registry), KEPT_MAX);
}

#[test]
fn histograms_are_written_as_prometheus_reads_them() {
    let registry = Registry::default();
    let histogram = registry.histogram(&table::SESSION_SECONDS, &["r\"1", "u"]);
    for value in [1.0, 2.0, 1e9] {
        histogram.record(value);
    }
    let text = registry.render(Exposition::Text);
    for line in [
        "# TYPE sessile_session_seconds histogram",
        "sessile_session_seconds_bucket{route=\"r\\\"1\",upstream=\"u\",le=\"1.0\"} 1",
        "sessile_session_seconds_bucket{route=\"r\\\"1\",upstream=\"u\",le=\"10.0\"} 2",
        "sessile_session_seconds_bucket{route=\"r\\\"1\",upstream=\"u\",le=\"+Inf\"} 3",
        "sessile_session_seconds_sum{route=\"r\\\"1\",upstream=\"u\"} 1000000003",
        "sessile_session_seconds_count{route=\"r\\\"1\",upstream=\"u\"} 3",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no {line} in {text}"
        );
    }
}

#[test]
fn the_macros_of_the_facade_record_here() {
    let registry = Registry::default();
    metrics::with_local_recorder(&registry, || {
        let name = table::REFUSALS.name;
        metrics::counter!(name, "route" => "a", "upstream" => "u", "reason" => "r").increment(2);
        // The order of labels does not matter.
        metrics::counter!(name, "reason" => "r", "upstream" => "u", "route" => "a").increment(3);
        metrics::gauge!(table::TABLE_GENERATION.name).set(4.0);
    });
    registry
        .counter(&table::REFUSALS, &["a", "u", "r"])
        .increment(4);
    let text = registry.render(Exposition::Text);
    let line = "sessile_refusals_total{route=\"a\",upstream=\"u\",reason=\"r\"} 9\n";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("sessile_table_generation 4\n"), "{text}");
    assert_eq!(lines(&registry), 2);
}

#[test]
fn what_the_table_lacks_is_not_recorded() {
    let registry = Registry::default();
    metrics::with_local_recorder(&registry, || {
        let name = table::REFUSALS.name;
        metrics::counter!("sessile_unknown_total").increment(1);
        metrics::counter!(name, "route" => "a").increment(1);
        metrics::counter!(name, "route" => "a", "upstream" => "u", "client" => "c").increment(1);
        metrics::gauge!(name, "route" => "a", "upstream" => "u", "reason" => "r").set(1.0);
        metrics::histogram!(table::TABLE_GENERATION.name).record(1.0);
    });
    assert_eq!(registry.render(Exposition::Text), "");
}
