use super::*;

#[test]
fn what_is_near_is_suggested_and_what_is_not_is_listed() {
    let check = |given: &str, known: &[&str], help: Option<&str>| {
        let suggested = suggestion(given, known.iter().copied());
        assert_eq!(suggested.as_deref(), help, "{given}");
    };
    check("chta", &["chat", "static"], Some("did you mean `chat`?"));
    check("maglv", &["maglev"], Some("did you mean `maglev`?"));
    check("billing", &["chat"], Some("there is `chat`"));
    check(
        "billing",
        &["a", "b", "c"],
        Some("there is `a`, `b` and `c`"),
    );
    check("billing", &[], None);
    let many: Vec<_> = (0..12).map(|_| "upstream").collect();
    assert!(listed(&many, "and").ends_with("and 2 more"));
}

#[test]
fn i12_of_a_long_line_only_the_neighbourhood_is_shown() {
    let line = format!("a = [{}x{}]", "1,".repeat(100_000), ",1".repeat(100_000));
    let (document, _) = Document::parse(&line);
    let at = 5 + 200_000;
    let location = Location::new(&document, at..at + 1);
    assert_eq!((location.line, location.column), (1, at + 1));
    assert_eq!(&location.text[location.span.clone()], "x");
    assert!(location.text.len() < 1000 && location.text.starts_with('…'));
    let whole = Location::new(&document, 4..line.len());
    assert!(whole.text.len() < 1000 && whole.text.ends_with('…'));
    assert_eq!(nearest(&"a".repeat(1 << 20), ["aa"]), None);
}

#[test]
fn a_place_is_cut_to_its_line_and_stands_on_letters() {
    let (document, _) = Document::parse("a = \"ä\"\nb = \"\"\"x\ny\"\"\"\n");
    let check = |span: Range<usize>, line: usize, column: usize, text: &str| {
        let location = Location::new(&document, span);
        let shown = &location.text[location.span.clone()];
        assert_eq!(
            (location.line, location.column, shown),
            (line, column, text)
        );
    };
    check(4..8, 1, 5, "\"ä\"");
    check(6..7, 1, 6, "ä");
    check(13..22, 2, 5, "\"\"\"x");
    check(9..9, 2, 1, "");
    check(1000..2000, 4, 1, "");
}
