//! ARCHITECTURE.md names files that exist.

use std::fs;
use std::path::PathBuf;

use crate::root;

/// Every path in backticks: with a file's ending, or with a slash at its end.
fn paths(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_path = |quoted: &&str| {
        let letters = |letter: char| letter.is_ascii_alphanumeric() || "_-./".contains(letter);
        let ends = [".rs", ".md", ".json", ".toml", ".yml", "/"];
        quoted.chars().all(letters) && ends.iter().any(|end| quoted.ends_with(end))
    };
    quoted.filter(is_path).collect()
}

/// Files and folders of the repository, by their paths.
fn entries() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if matches!(name.as_str(), "target" | "node_modules" | ".git") {
                continue;
            }
            let relative = path.strip_prefix(root()).unwrap();
            found.push(format!("/{}", relative.to_str().unwrap()));
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

#[test]
fn architecture_names_files_that_exist() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let named = paths(&text);
    assert!(named.len() > 150, "only {} paths were found", named.len());
    let entries = entries();
    let exists = |path: &&str| {
        let end = format!("/{}", path.trim_end_matches('/'));
        entries.iter().any(|entry| entry.ends_with(&end))
    };
    let faults: Vec<_> = named.into_iter().filter(|path| !exists(path)).collect();
    assert!(faults.is_empty(), "no such files: {faults:?}");
}

#[test]
fn paths_are_found_between_backticks() {
    let text = "a `b.rs` and `c/d.md`, `core/`, `Type`, `*.rs`, `cargo test` and e.rs";
    assert_eq!(paths(text), ["b.rs", "c/d.md", "core/"]);
}
