//! No import circle among the source files.

use std::collections::{BTreeMap, BTreeSet};

use crate::imports::{Arrows, Tree};
use crate::{files, none};

/// Every file that can be reached from one.
fn reachable<'a>(arrows: &'a Arrows, from: &'a str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(file) = open.pop() {
        for next in arrows.get(file).into_iter().flatten() {
            if seen.insert(next.as_str()) {
                open.push(next);
            }
        }
    }
    seen
}

/// The sets of files that import one another, directly or not.
fn circles(arrows: &Arrows) -> Vec<BTreeSet<&str>> {
    let reach: BTreeMap<&str, _> = arrows
        .keys()
        .map(|file| (file.as_str(), reachable(arrows, file)))
        .collect();
    let mut found: Vec<BTreeSet<&str>> = Vec::new();
    for (file, reached) in &reach {
        if reached.contains(file) && !found.iter().any(|circle| circle.contains(file)) {
            let back = |other: &&&str| reach.get(**other).is_some_and(|far| far.contains(file));
            found.push(reached.iter().filter(back).copied().collect());
        }
    }
    found
}

fn drawn(arrows: &Arrows, circle: &BTreeSet<&str>) -> String {
    let mut lines = vec![format!("{} files import one another:", circle.len())];
    for file in circle {
        let others = arrows[*file]
            .iter()
            .filter(|other| circle.contains(other.as_str()));
        lines.extend(others.map(|other| format!("    {file} -> {other}")));
    }
    lines.join("\n")
}

#[test]
fn no_files_import_one_another_in_a_circle() {
    let arrows = Tree::new(&files("src", ".rs")).arrows();
    assert!(arrows.len() > 200, "only {} files import", arrows.len());
    let circles = circles(&arrows);
    let faults: Vec<_> = circles
        .iter()
        .map(|circle| drawn(&arrows, circle))
        .collect();
    none("imports among files form no circle", &faults);
}

#[test]
fn circles_are_found_through_imports_and_paths() {
    let check = |sources: &[(&str, &str)], wanted: &[&[&str]]| {
        let sources: Vec<_> = sources
            .iter()
            .map(|(path, text)| (format!("src/{path}.rs"), (*text).to_owned()))
            .collect();
        let arrows = Tree::new(&sources).arrows();
        let found: Vec<Vec<_>> = circles(&arrows)
            .iter()
            .map(|circle| circle.iter().copied().collect())
            .collect();
        assert_eq!(found, wanted, "{sources:?}");
    };
    let root = ("lib", "pub mod a;\npub mod b;");
    let uses_a = ("b", "use super::a::A;\npub struct B(A);");
    // An import, a grouped import and a path in the code.
    let circle: &[&[&str]] = &[&["src/a.rs", "src/b.rs"]];
    for text in [
        "use crate::b::B;\npub struct A(B);",
        "use crate::{b::{B}};\npub struct A(B);",
        "pub struct A(Box<crate::b::B>);",
        "use crate::b;\npub struct A(Box<b::B>);",
    ] {
        check(&[root, ("a", text), uses_a], circle);
    }
    // Neither tests, comments nor strings count.
    for text in [
        "pub struct A;\n#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}",
        "pub struct A;\n// crate::b::B",
        "pub struct A;\nconst X: &str = \"crate::b::B\";",
    ] {
        check(&[root, ("a", text), uses_a], &[]);
    }
    // A re-export leads through the parent, which does not use the name itself.
    let parent = "mod c;\nmod d;\npub use c::C;";
    let child = ("a/c", "pub struct C;");
    let root = ("lib", "pub mod a;");
    let sibling = ("a/d", "use super::C;\npub struct D(C);");
    check(&[root, ("a", parent), child, sibling], &[]);
    let parent = "mod c;\nmod d;\npub use c::C;\nuse d::D;\npub struct A(C, D);";
    check(&[root, ("a", parent), child, sibling], &[]);
    let sibling = ("a/d", "pub struct D(super::A);");
    let circle: &[&[&str]] = &[&["src/a.rs", "src/a/d.rs"]];
    check(&[root, ("a", parent), child, sibling], circle);
}
