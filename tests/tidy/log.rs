//! Events of the log are written for people: no `Debug` forms, no field with a name that the JSON
//! form has already.

use crate::files;

/// Keys that `tracing_subscriber` writes itself, beside the fields of an event.
const TAKEN: [&str; 6] = ["timestamp", "level", "target", "message", "span", "spans"];

/// What stands between the parentheses of each event, with its file and line.
fn events() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, text) in files("src", ".rs") {
        for level in ["trace", "debug", "info", "warn", "error"] {
            let opening = format!("{level}!(");
            for (at, _) in text.match_indices(&opening) {
                let before = text[..at].chars().next_back();
                if !matches!(before, Some(':' | ' ')) {
                    continue;
                }
                let inner = inside(&text[at + opening.len()..]);
                let line = text[..at].matches('\n').count() + 1;
                found.push((format!("{path}:{line}"), inner));
            }
        }
    }
    found
}

/// Up to the parenthesis that closes what was opened before; strings are left out.
fn inside(text: &str) -> String {
    let (mut depth, mut inner) = (1, String::new());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' => {
                while let Some(c) = rest.next().filter(|c| *c != '"') {
                    if c == '\\' {
                        rest.next();
                    }
                }
                continue;
            }
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        inner.push(c);
    }
    inner
}

#[test]
fn events_have_no_debug_forms_and_no_key_twice() {
    let events = events();
    assert!(events.len() > 80, "only {} events were found", events.len());
    let mut faults = Vec::new();
    for (place, inner) in &events {
        for field in inner.split(',').map(str::trim) {
            let (name, value) = field.split_once('=').unwrap_or((field, field));
            if value.trim().starts_with('?') {
                faults.push(format!("{place}: `{field}` is a Debug form"));
            }
            if field.contains('=') && TAKEN.contains(&name.trim()) {
                faults.push(format!("{place}: `{}` is a key of every line", name.trim()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
