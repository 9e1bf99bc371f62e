//! Tests do not sleep to wait for something. What sleeps all the same is named for its reason.

use crate::{files, none};

/// The files that define what waits; everything else calls them.
const WAITING: [&str; 2] = ["tests/gateway/support/time.rs", "tests/brokers/member.rs"];

/// Calls of a sleep outside the files that may, and time limits that run out without a comment that
/// states which they are.
fn faults(path: &str, text: &str) -> Vec<String> {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let mut faults = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let place = || format!("{path}:{}", index + 1);
        if line.contains(concat!("sleep", "(")) && !WAITING.contains(&path) {
            faults.push(format!("{}: {line}", place()));
        }
        let is_explained = index > 0 && lines[index - 1].starts_with("//");
        if line.contains(concat!("run_out", "(")) && !line.starts_with("pub ") && !is_explained {
            faults.push(format!("{}: which limit runs out? {line}", place()));
        }
    }
    faults
}

#[test]
fn tests_await_conditions_instead_of_sleeping() {
    let tests = files("tests", ".rs").into_iter();
    let found: Vec<_> = tests
        .filter(|(path, _)| !path.contains("/node_modules/"))
        .flat_map(|(path, text)| faults(&path, &text))
        .collect();
    none(
        "tests call `eventually`, `pace` or `run_out` of tests/gateway/support/time.rs",
        &found,
    );
}

#[test]
fn sleeps_are_found() {
    let sleep = concat!("tokio::time::sleep", "(step).await;");
    assert_eq!(faults("tests/gateway/limits.rs", sleep).len(), 1);
    assert_eq!(faults(WAITING[0], sleep).len(), 0);
    let bare = concat!("x();\n    run_out", "(limit).await;");
    assert_eq!(faults("tests/gateway/limits.rs", bare).len(), 1);
    let explained = concat!("// The lease.\n    run_out", "(limit).await;");
    assert_eq!(faults("tests/gateway/limits.rs", explained).len(), 0);
}
