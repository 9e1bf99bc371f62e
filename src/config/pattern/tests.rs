use super::*;

#[test]
fn a_path_has_values_at_its_parameters() {
    let check = |pattern: &str, path: &str, name: &str, expected: Option<&str>| {
        let pattern: PathPattern = pattern.parse().expect("a pattern");
        assert_eq!(
            pattern.value(path, name),
            expected,
            "{pattern} {path} {name}"
        );
    };
    check("/ws/{room}", "/ws/7", "room", Some("7"));
    check("/ws/{room}", "/ws/7", "other", None);
    check("/ws/{room}", "/v2/7", "room", None);
    check("/ws/{room}", "/ws", "room", None);
    check("/{a}/b/{b}", "/1/b/2", "b", Some("2"));
    check("/{a}/{*rest}", "/1/b/2", "rest", Some("b/2"));
    check("/{a}/{*rest}", "/1/", "rest", Some(""));
    check("/{a}/{*rest}", "/1", "rest", Some(""));
    check("/{a}/{*rest}", "/", "rest", None);
    check("/a:b/{x}", "/a%3Ab/1", "x", Some("1"));
    check("/img/{*url}", "//img/http://a", "url", Some("http://a"));
    check("/ws/{room}/", "/ws//7//", "room", Some("7"));
    check("/ws/{room}", "/ws/7/", "room", None);
}

#[test]
fn paths_are_read_and_written_alike() {
    for text in [
        "/",
        "/ws",
        "/ws/",
        "/ws/{room}",
        "/{a}/b/{*rest}",
        "/{*rest}",
        "/a%20b",
        "/a:b%2Fc",
    ] {
        assert_eq!(text.parse::<PathPattern>().expect(text).to_string(), text);
    }
}

#[test]
fn i13_patterns_are_brought_to_the_form_of_requests() {
    let check = |text: &str, shown: &str| {
        let pattern: PathPattern = text.parse().expect(text);
        assert_eq!(pattern.to_string(), shown);
        assert_eq!(shown.parse(), Ok(pattern), "{text}");
    };
    check("/caf%c3%a9", "/caf%C3%A9");
    check("/café", "/caf%C3%A9");
    check("/%61dmin/a%3Ab", "/admin/a:b");
    check("/ws/<room>", "/ws/%3Croom%3E");
    let needs = |text: &str| text.parse::<PathPattern>().expect(text).needs();
    assert!(needs("/a;b").semicolon && !needs("/a;b").encoded_slash);
    assert!(needs("/a%2fb").encoded_slash && !needs("/a%2fb").semicolon);
    let template: PathTemplate = "/café/a%2bb/{x}".parse().expect("a template");
    assert_eq!(template.to_string(), "/caf%C3%A9/a%2Bb/{x}");
}

#[test]
fn i12_patterns_are_bounded_and_read_in_linear_time() {
    let check = |text: &str, fault: &str| {
        let error = text
            .parse::<PathPattern>()
            .expect_err("too much")
            .to_string();
        assert!(error.contains(fault) && error.len() < 200, "{error}");
        assert!(text.parse::<PathTemplate>().is_err());
    };
    check(&"/x".repeat(16_000), "32000 bytes");
    check(&"/x".repeat(65), "65 segments");
    check(&format!("/{}", "a".repeat(2048)), "2049 bytes");
    let many: String = (0..100_000).map(|place| format!("/{{p{place}}}")).collect();
    check(&many, "bytes is too long");
    assert!("/x".repeat(64).parse::<PathPattern>().is_ok());
}

#[test]
fn malformed_paths_are_refused_with_a_reason() {
    let check = |text: &str, fault: &str| {
        let error = text.parse::<PathPattern>().expect_err(text).to_string();
        assert!(error.contains(fault), "{text}: {error}");
    };
    check("ws", "does not begin with");
    check("/a{b}", "whole segment");
    check("/{}", "not a parameter's name");
    check("/{a}/{a}", "twice");
    check("/{*a}/b", "last segment");
    check("/a b", "percent-encoded");
    check("/a?b", "percent-encoded");
    check("/a/../b", "`.` or `..`");
    check("/a/%2e%2e", "`.` or `..`");
    check("/100%", "hexadecimal");
    check("/%ff", "UTF-8");
    check("/a//b", "empty segment");
}

#[test]
fn hosts_are_names_without_port_or_scheme() {
    for text in [
        "a",
        "chat.example.com",
        "*.example.com",
        "127.0.0.1",
        "[::1]",
    ] {
        assert_eq!(text.parse::<HostPattern>().expect(text).to_string(), text);
    }
    let same: HostPattern = "[0:0::1]".parse().expect("an address");
    assert_eq!(same.to_string(), "[::1]");
    for text in [
        "", "*", "*.", "a..b", "http://a", "a:80", "a/b", "*.*.b", "a b", "*.[::1]",
    ] {
        assert!(text.parse::<HostPattern>().is_err(), "{text}");
    }
}

#[test]
fn templates_are_filled_by_name() {
    let template: PathTemplate = "/rooms/{room}/{*rest}".parse().expect("a template");
    let values = HashMap::from([("room", "7"), ("rest", "a/b")]);
    assert_eq!(template.fill(&values), "/rooms/7/a/b");
}
