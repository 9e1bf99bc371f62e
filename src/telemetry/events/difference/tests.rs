use serde_json::json;

use super::*;

#[track_caller]
fn check(before: Value, after: Value, expected: &[&str]) {
    let change = difference("a", Some(&before), Some(&after)).expect("it differs");
    assert_eq!(&*change.change, "changed");
    let lines: Vec<_> = change.lines.iter().map(|line| &**line).collect();
    assert_eq!(lines, expected);
}

#[test]
fn only_what_differs_is_shown_with_its_path() {
    check(
        json!({ "a": 1, "drain": { "pace": "20/s", "order": "x" } }),
        json!({ "a": 1, "drain": { "pace": "50/s", "order": "x" }, "b": [1] }),
        &[
            "+ b[1] = 1",
            "- drain.pace = \"20/s\"",
            "+ drain.pace = \"50/s\"",
        ],
    );
    check(json!(1), json!("1"), &["- 1", "+ \"1\""]);
    check(
        json!({ "a": {} }),
        json!({ "a": 1 }),
        &["- a = {}", "+ a = 1"],
    );
    check(json!({ "a": null }), json!({}), &["- a = null"]);
}

#[test]
fn elements_of_lists_are_known_by_their_names() {
    check(
        json!({ "backends": ["10.0.0.1:1", "10.0.0.2:1"] }),
        json!({ "backends": ["10.0.0.2:1", "10.0.0.3:1"] }),
        &[
            "- backends[10.0.0.1:1] = \"10.0.0.1:1\"",
            "+ backends[10.0.0.3:1] = \"10.0.0.3:1\"",
        ],
    );
    check(
        json!([{ "name": "a", "x": 1 }, { "name": "b", "x": 1 }]),
        json!([{ "name": "b", "x": 2 }, { "name": "a", "x": 1 }]),
        &["- [b].x = 1", "+ [b].x = 2"],
    );
    // The same name twice: by place.
    check(json!(["a", "a"]), json!(["a"]), &["- [0001] = \"a\""]);
}

#[test]
fn what_is_new_or_gone_is_shown_whole() {
    let document = json!({ "upstream": "chat", "path": { "prefix": "/" } });
    let added = difference("routes/chat", None, Some(&document)).expect("added");
    assert_eq!((&*added.change, &*added.key), ("added", "routes/chat"));
    let lines = ["+ path.prefix = \"/\"", "+ upstream = \"chat\""].map(Box::from);
    assert_eq!(added.lines, lines);
    let removed = difference("a", Some(&document), None).expect("removed");
    assert_eq!((&*removed.change, removed.lines.len()), ("removed", 2));
    assert_eq!(difference("a", Some(&document), Some(&document)), None);
    assert_eq!(difference("a", None, None), None);
}

#[test]
fn i12_a_difference_is_bounded_whatever_the_documents_hold() {
    let long = "é".repeat(2_000);
    let wide: Value = (0..5_000)
        .map(|n| (format!("{}{n}", "k".repeat(300)), json!("v".repeat(500))))
        .collect();
    let mut deep = json!(1);
    for _ in 0..120 {
        deep = json!({ long.clone(): [deep] });
    }
    for document in [wide, deep] {
        let change = difference(&long, Some(&json!(0)), Some(&document)).expect("differs");
        assert!(
            change.lines.len() <= LINES_MAX + 1,
            "{}",
            change.lines.len()
        );
        let longest = change.lines.iter().map(|line| line.len()).max();
        assert!(longest < Some(3 * PART_MAX), "{longest:?}");
        assert!(change.key.len() <= PART_MAX);
    }
}
