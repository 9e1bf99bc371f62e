use super::*;

#[test]
fn conditions_are_parsed_and_mistakes_are_reported() {
    let good = |text: &str, alternatives: &[usize]| {
        let read: Expression = text.parse().expect(text);
        let lengths: Vec<_> = read.alternatives.iter().map(Vec::len).collect();
        assert_eq!(lengths, alternatives, "{text}");
        assert_eq!(read.to_string(), text.trim());
    };
    good("path:room in claim:rooms", &[1]);
    good("claim:scope contains chat", &[1]);
    good(
        "claim:role == admin or claim:role == \"the owner\"",
        &[1, 1],
    );
    good(
        " claim:a and not claim:b or claim:https://x.example/c ",
        &[2, 1],
    );
    good("claim:plan != 'or'", &[1]);
    let bad = |text: &str, says: &str| {
        let error = text.parse::<Expression>().expect_err(text).to_string();
        assert!(error.contains(says), "{text}: {error}");
    };
    bad("  ", "empty");
    bad("admin", "is not a condition by itself");
    bad("claim:role = admin", "`=` is not a comparison");
    bad("claim:role ==", "after `claim:role ==`");
    bad("claim:role == admin or", "after `or`");
    bad(
        "claim:role == admin claim:x",
        "`claim:x` is not a comparison",
    );
    bad("claim: == admin", "names nothing");
    bad("header:x == admin", "unknown source `header:`");
    bad("claim:role == \"admin", "closing quote");
    bad("not", "after `not`");
    bad(&"not ".repeat(4000), "16000 bytes");
    bad(
        &format!("claim:a{}", " or claim:a".repeat(64)),
        "at most 64 tests",
    );
    bad(
        &format!("claim:{}", "a.".repeat(200)),
        "a name of 400 bytes",
    );
}
