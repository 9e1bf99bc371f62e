//! The floors inside the data plane: `src/proxy/mod.rs` lists its modules in the order of their
//! floors, and a file imports only from its own floor and those before it.

use std::collections::BTreeSet;

use crate::imports::{Arrows, Tree};
use crate::{files, none};

const FOLDER: &str = "src/proxy/";

/// The modules that a `mod.rs` declares outside its tests, in their order.
fn declared(text: &str) -> Vec<&str> {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = text.lines().filter_map(|line| {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    lines.collect()
}

/// The floor of a file of the folder; none for `mod.rs`, which only re-exports.
fn floor<'a>(path: &'a str, floors: &[&str]) -> Option<(usize, &'a str)> {
    let name = path.strip_prefix(FOLDER)?.split(['/', '.']).next()?;
    let height = floors.iter().position(|floor| *floor == name)?;
    Some((height, name))
}

fn upward(arrows: &Arrows, floors: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    for (file, others) in arrows {
        let Some((height, _)) = floor(file, floors) else {
            continue;
        };
        let above = others.iter().filter_map(|other| {
            let (other_height, name) = floor(other, floors)?;
            (other_height > height).then(|| format!("{file} imports {other} of the floor {name}"))
        });
        faults.extend(above);
    }
    faults
}

#[test]
fn files_of_the_data_plane_import_only_from_their_own_and_lower_floors() {
    let sources = files("src", ".rs");
    let root = format!("{FOLDER}mod.rs");
    let text = sources.iter().find(|(path, _)| *path == root);
    let floors = declared(&text.expect("the data plane has a root").1);
    let inside = sources.iter().filter(|(path, _)| path.starts_with(FOLDER));
    let found: BTreeSet<_> = inside
        .filter_map(|(path, _)| floor(path, &floors))
        .map(|(_, name)| name)
        .collect();
    assert_eq!(found.len(), floors.len(), "{floors:?}");
    assert!(floors.len() > 10, "only {floors:?} were found");
    none(
        "the order of src/proxy/mod.rs is the order of its floors",
        &upward(&Tree::new(&sources).arrows(), &floors),
    );
}

#[test]
fn the_order_of_floors_in_papers_is_that_of_the_modules() {
    let text = std::fs::read_to_string(crate::root().join("src/proxy/mod.rs")).unwrap();
    let floors = declared(&text);
    let described: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("//! - `")?.split('`').next())
        .collect();
    assert_eq!(described, floors, "the list at the top of src/proxy/mod.rs");
    let paper = std::fs::read_to_string(crate::root().join("ARCHITECTURE.md")).unwrap();
    let listed: Vec<_> = floors.iter().map(|floor| format!("`{floor}`")).collect();
    let paper = paper.split_whitespace().collect::<Vec<_>>().join(" ");
    let listed = listed.join(", ");
    assert!(paper.contains(&listed), "ARCHITECTURE.md lacks {listed}");
}

#[test]
fn imports_from_higher_floors_are_found() {
    let sources = [
        ("lib", "pub mod proxy;"),
        (
            "proxy/mod",
            "mod low;\n\nmod high;\n#[cfg(test)]\nmod tests;",
        ),
        ("proxy/low", "mod inner;\npub struct Low;"),
        (
            "proxy/low/inner",
            "use crate::proxy::high::High;\nstruct Inner(High);",
        ),
        (
            "proxy/high",
            "use crate::proxy::low::Low;\npub struct High(Low);",
        ),
    ];
    let sources = sources.map(|(path, text)| (format!("src/{path}.rs"), text.to_owned()));
    let floors = declared(&sources[1].1);
    assert_eq!(floors, ["low", "high"]);
    let found = upward(&Tree::new(&sources).arrows(), &floors);
    let wanted = "src/proxy/low/inner.rs imports src/proxy/high.rs of the floor high";
    assert_eq!(found, [wanted]);
}
