//! Lengths of functions. clippy bounds each of them (`too-many-lines-threshold`); this bounds what
//! is usual.

use crate::files;

/// Ninety-nine in a hundred functions of a folder have at most so many lines between their braces:
/// the folder, the bound, and the least number of functions, so that the measure finds them. `src`
/// counts with its unit tests.
const FOLDERS: [(&str, usize, usize); 3] = [
    ("src", 55, 6_000),
    ("tests", 66, 1_500),
    ("benches", 66, 100),
];

/// The lines between the braces of every function, with its name. Formatted code ends a function
/// with a brace at the indentation of its first line.
fn lengths(code: &str) -> Vec<(usize, String)> {
    let lines: Vec<_> = code.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let Some((before, rest)) = trimmed.split_once("fn ") else {
            continue;
        };
        let is_item = before
            .split_whitespace()
            .all(|word| matches!(word, "const" | "async") || word.starts_with("pub"));
        if !is_item || trimmed.ends_with('}') {
            continue;
        }
        let end = format!("{}}}", &line[..line.len() - trimmed.len()]);
        let mut body = lines[at..].iter().skip_while(|line| !line.ends_with('{'));
        // A declaration in a trait has no body.
        let header = lines[at..].iter().find(|line| line.ends_with(['{', ';']));
        if header.is_none_or(|line| line.ends_with(';')) {
            continue;
        }
        body.next();
        let length = body.take_while(|line| **line != end).count();
        let name = rest.split(['(', '<']).next().unwrap_or_default();
        found.push((length, name.to_owned()));
    }
    found
}

#[test]
fn functions_are_short() {
    for (folder, bound, least) in FOLDERS {
        let mut all = Vec::new();
        for (path, text) in files(folder, ".rs") {
            let found = lengths(&text).into_iter();
            all.extend(found.map(|(length, name)| (length, format!("{path}: {name}"))));
        }
        let count = all.len();
        assert!(count > least, "only {count} functions in {folder}");
        all.sort_unstable();
        let place = count * 99 / 100;
        let (length, _) = &all[place];
        assert!(
            *length <= bound,
            "one in a hundred functions of {folder} has {length} lines or more, not {bound}: {:#?}",
            &all[place..]
        );
    }
}

#[test]
fn lengths_are_counted_between_braces() {
    let check = |code: &str, wanted: &[(usize, &str)]| {
        let found = lengths(code);
        let found: Vec<_> = found.iter().map(|(n, name)| (*n, name.as_str())).collect();
        assert_eq!(found, wanted, "{code}");
    };
    check("fn a() {\n    1\n}\n", &[(1, "a")]);
    check(
        "pub fn a<T>(\n    x: T,\n) -> T {\n    {\n    }\n    x\n}\n",
        &[(3, "a")],
    );
    check(
        "trait T {\n    fn a();\n    async fn b() {\n        1\n    }\n}\n",
        &[(1, "b")],
    );
    check("const F: fn(u8) = f;\n", &[]);
}
