use super::*;

/// Fields in this order, each with a line of its own.
pub(crate) fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
        );
    }
    headers
}

#[test]
fn what_belongs_to_one_connection_does_not_pass() {
    let check = |before: &[(&str, &str)], after: &[(&str, &str)]| {
        let mut stripped = headers(before);
        strip_hop_by_hop(&mut stripped);
        assert_eq!(stripped, headers(after), "{before:?}");
    };
    check(
        &[
            ("connection", "close, X-Hop"),
            ("connection", "x-hop-two"),
            ("x-hop", "1"),
            ("x-hop-two", "2"),
            ("x-end", "3"),
        ],
        &[("x-end", "3")],
    );
    check(
        &[
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eA=="),
            ("proxy-authenticate", "Basic"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("trailer", "x-sum"),
        ],
        &[("trailer", "x-sum")],
    );
    check(&[("te", "gzip, trailers;q=0.5")], &[]);
    check(
        &[("connection", "te"), ("te", "gzip"), ("te", "Trailers")],
        &[("te", "trailers")],
    );
    check(&[("connection", "\u{e9}, ,"), ("a", "b")], &[("a", "b")]);
}

#[test]
fn connection_cannot_take_away_what_the_next_hop_decides_by() {
    for name in [
        "host",
        "Authorization",
        "cookie",
        "content-length",
        "x-forwarded-for",
        "X-Forwarded-Proto",
        "x-real-ip",
        "sessile-subject",
        "sec-websocket-protocol",
        "origin",
    ] {
        let mut headers = headers(&[("connection", name), (name, "x")]);
        strip_hop_by_hop(&mut headers);
        assert!(headers.contains_key(name), "{name}");
    }
}

#[test]
fn logins_of_a_connection_are_known() {
    for (name, value) in [
        ("authorization", "NTLM TlRMTVNTUAAB"),
        ("Authorization", "negotiate YII"),
        ("www-authenticate", "Basic realm=\"x\", Negotiate"),
        ("www-authenticate", "NTLM"),
        ("proxy-authorization", "NTLM x"),
        ("persistent-auth", "true"),
    ] {
        assert!(
            logs_connection_in(&headers(&[(name, value)])),
            "{name} {value}"
        );
    }
    for value in ["Basic x", "Bearer ntlm.x", "Digest realm=ntlms"] {
        let lines = [("authorization", value), ("www-authenticate", value)];
        assert!(!logs_connection_in(&headers(&lines)), "{value}");
    }
}

#[test]
fn edits_remove_then_set_then_add() {
    let (name, value) = (HeaderName::from_static, HeaderValue::from_static);
    let mut edited = headers(&[("a", "1"), ("b", "1"), ("b", "2"), ("c", "1")]);
    let edits = HeaderEdits {
        remove: vec![name("a"), name("missing")],
        set: vec![(name("b"), value("3"))],
        add: vec![(name("c"), value("2")), (name("a"), value("4"))],
    };
    apply_edits(&mut edited, &edits);
    let expected = headers(&[("b", "3"), ("c", "1"), ("c", "2"), ("a", "4")]);
    assert_eq!(edited, expected);
}

#[test]
fn edits_see_every_spelling_of_a_name() {
    let name = HeaderName::from_static;
    let mut edited = headers(&[("x_debug_user", "1"), ("X.Role", "root"), ("x-other", "1")]);
    let edits = HeaderEdits {
        remove: vec![name("x-debug-user")],
        set: vec![(name("x-role"), HeaderValue::from_static("guest"))],
        add: Vec::new(),
    };
    apply_edits(&mut edited, &edits);
    assert_eq!(edited, headers(&[("x-other", "1"), ("x-role", "guest")]));
}

#[test]
fn cookies_are_found_over_all_lines() {
    let headers = headers(&[
        ("cookie", "a=1; sid=x=y;b"),
        ("cookie", "sid=2;  c=\"q\"; empty="),
    ]);
    let check = |name: &str, expected: Option<&str>| {
        assert_eq!(cookie(&headers, name), expected, "{name}");
    };
    check("a", Some("1"));
    check("sid", Some("x=y"));
    check("c", Some("\"q\""));
    check("empty", Some(""));
    check("b", None);
    check("SID", None);
    check("id", None);
}
