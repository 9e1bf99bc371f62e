use super::*;

/// The key and its answer in RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
        );
    }
    headers
}

/// A proper handshake with the lines of each name in `changes` in place of its own; an empty value
/// leaves none.
fn request(changes: &[(&str, &str)]) -> HeaderMap {
    let proper = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", VERSION),
        ("sec-websocket-key", KEY),
    ];
    changed(&proper, changes)
}

fn answer(changes: &[(&str, &str)]) -> HeaderMap {
    let proper = [
        ("connection", "upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-accept", ACCEPT),
    ];
    changed(&proper, changes)
}

fn changed(proper: &[(&str, &str)], changes: &[(&str, &str)]) -> HeaderMap {
    let kept = |(name, _): &&(&str, &str)| !changes.iter().any(|(changed, _)| changed == name);
    let mut lines: Vec<_> = proper.iter().filter(kept).copied().collect();
    lines.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
    headers(&lines)
}

fn offer(changes: &[(&str, &str)]) -> Upgrade {
    match classify(&Method::GET, Version::HTTP_11, &request(changes)) {
        Kind::WebSocket(upgrade) => upgrade,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_accept_key_is_that_of_the_rfc() {
    assert_eq!(accept_key(KEY), ACCEPT.as_bytes());
}

#[test]
fn handshakes_are_distinguished_from_other_requests() {
    let check = |changes: &[(&str, &str)], expected: &str| {
        let kind = match classify(&Method::GET, Version::HTTP_11, &request(changes)) {
            Kind::Plain => "plain",
            Kind::WebSocket(_) => "websocket",
            Kind::Refused(fault) => panic!("{changes:?}: {fault}"),
        };
        assert_eq!(kind, expected, "{changes:?}");
    };
    check(&[], "websocket");
    check(&[("connection", "UPGRADE")], "websocket");
    check(
        &[("connection", "keep-alive"), ("connection", "upgrade")],
        "websocket",
    );
    check(&[("upgrade", "h2c, WebSocket")], "websocket");
    check(&[("content-length", "0")], "websocket");
    check(&[("upgrade", "")], "plain");
    check(&[("upgrade", "h2c")], "plain");
    check(&[("upgrade", "websockets")], "plain");
    check(
        &[("upgrade", "h2c"), ("transfer-encoding", "chunked")],
        "plain",
    );
}

#[test]
fn improper_handshakes_are_refused_with_their_reason() {
    let check = |changes: &[(&str, &str)], fault: UpgradeFault, status: u16| {
        let kind = classify(&Method::GET, Version::HTTP_11, &request(changes));
        assert_eq!(kind, Kind::Refused(fault.clone()), "{changes:?}");
        assert_eq!(fault.status(), status, "{changes:?}");
    };
    use UpgradeFault as F;
    check(&[("connection", "")], F::NoConnectionOption, 400);
    check(&[("connection", "keep-alive")], F::NoConnectionOption, 400);
    check(&[("content-length", "1")], F::Body, 400);
    check(
        &[("content-length", "0"), ("content-length", "5")],
        F::Body,
        400,
    );
    check(&[("transfer-encoding", "chunked")], F::Body, 400);
    check(&[("sec-websocket-version", "")], F::WebSocketVersion, 426);
    check(&[("sec-websocket-version", "8")], F::WebSocketVersion, 426);
    check(
        &[("sec-websocket-version", "13, 8")],
        F::WebSocketVersion,
        426,
    );
    check(
        &[
            ("sec-websocket-version", "13"),
            ("sec-websocket-version", "13"),
        ],
        F::Repeated(SEC_WEBSOCKET_VERSION),
        400,
    );
    check(
        &[("sec-websocket-key", KEY), ("sec-websocket-key", KEY)],
        F::Repeated(SEC_WEBSOCKET_KEY),
        400,
    );
    for key in [
        "",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQAA",
        "dGhlIHNhbXBsZSBub25jZ===",
        "dGhlIHNhbXBsZSBub25j_Q==",
        "dGhlIHNhbXBsZSBub25jZQ==, x",
    ] {
        check(&[("sec-websocket-key", key)], F::Key, 400);
    }
    let proper = request(&[]);
    assert_eq!(
        classify(&Method::POST, Version::HTTP_11, &proper),
        Kind::Refused(F::Method)
    );
    // HTTP/1.0 has no upgrades: its `Upgrade` is ignored, proper or not.
    for ignored in [&proper, &request(&[("sec-websocket-key", "")])] {
        assert_eq!(
            classify(&Method::GET, Version::HTTP_10, ignored),
            Kind::Plain
        );
    }
}

#[test]
fn offers_are_lists_over_all_lines() {
    let offer = offer(&[
        ("sec-websocket-protocol", "chat.v2, chat.v1"),
        ("sec-websocket-protocol", "bearer"),
        (
            "sec-websocket-extensions",
            "permessage-deflate; client_max_window_bits, permessage-deflate , x-trace;a=1",
        ),
    ]);
    assert!(offer.subprotocols().eq(["chat.v2", "chat.v1", "bearer"]));
    assert!(
        offer
            .extensions()
            .eq(["permessage-deflate", "permessage-deflate", "x-trace"])
    );
    assert_eq!(offer.key(), KEY);
}

#[test]
fn i9_only_a_101_that_answers_this_offer_is_granted() {
    let offer = offer(&[
        ("sec-websocket-protocol", "chat, superchat"),
        ("sec-websocket-extensions", "permessage-deflate, x-trace"),
    ]);
    let check = |changes: &[(&str, &str)], fault: AnswerFault| {
        let verdict = verify_answer(
            &offer,
            Version::HTTP_11,
            StatusCode::SWITCHING_PROTOCOLS,
            &answer(changes),
        );
        assert_eq!(verdict, Err(fault), "{changes:?}");
    };
    use AnswerFault as F;
    assert_eq!(
        verify_answer(
            &offer,
            Version::HTTP_10,
            StatusCode::SWITCHING_PROTOCOLS,
            &answer(&[])
        ),
        Err(F::HttpVersion)
    );
    check(&[("upgrade", "")], F::Upgrade);
    check(&[("upgrade", "h2c")], F::Upgrade);
    check(&[("upgrade", "websocket, h2c")], F::Upgrade);
    check(&[("connection", "")], F::Connection);
    check(&[("connection", "keep-alive")], F::Connection);
    check(&[("sec-websocket-accept", "")], F::Accept);
    check(&[("sec-websocket-accept", KEY)], F::Accept);
    check(
        &[("sec-websocket-accept", &ACCEPT.to_lowercase())],
        F::Accept,
    );
    check(
        &[
            ("sec-websocket-accept", ACCEPT),
            ("sec-websocket-accept", ACCEPT),
        ],
        F::Accept,
    );
    for chosen in ["other", "Chat", "chat, superchat"] {
        let fault = F::Subprotocol(chosen.to_owned());
        check(&[("sec-websocket-protocol", chosen)], fault);
    }
    check(
        &[
            ("sec-websocket-protocol", "chat"),
            ("sec-websocket-protocol", "superchat"),
        ],
        F::Subprotocol("chat".to_owned()),
    );
    for (list, name) in [
        ("x-other", "x-other"),
        ("permessage-deflate, x-other; a=b", "x-other"),
        ("x-trace, x-trace", "x-trace"),
        ("x-tracé", "x-tracé"),
    ] {
        check(
            &[("sec-websocket-extensions", list)],
            F::Extension(name.to_owned()),
        );
    }
}

#[test]
fn i9_a_proper_101_has_the_negotiated_terms() {
    let offer = offer(&[
        ("sec-websocket-protocol", "chat, superchat"),
        ("sec-websocket-extensions", "permessage-deflate, x-trace"),
    ]);
    let check = |changes: &[(&str, &str)], subprotocol: Option<&str>, compressed: bool| {
        let answer = verify_answer(
            &offer,
            Version::HTTP_11,
            StatusCode::SWITCHING_PROTOCOLS,
            &answer(changes),
        );
        let Ok(Answer::Granted(granted)) = answer else {
            panic!("{changes:?}: {answer:?}");
        };
        assert_eq!(granted.subprotocol.as_deref(), subprotocol, "{changes:?}");
        assert_eq!(granted.compressed, compressed, "{changes:?}");
    };
    check(&[], None, false);
    check(
        &[("sec-websocket-protocol", "superchat")],
        Some("superchat"),
        false,
    );
    check(&[("sec-websocket-extensions", "x-trace")], None, false);
    check(
        &[(
            "sec-websocket-extensions",
            "permessage-deflate;server_no_context_takeover",
        )],
        None,
        true,
    );
}

#[test]
fn i9_any_other_status_is_an_ordinary_response() {
    for status in [
        StatusCode::OK,
        StatusCode::UNAUTHORIZED,
        StatusCode::PROCESSING,
    ] {
        assert_eq!(
            verify_answer(&offer(&[]), Version::HTTP_11, status, &answer(&[])),
            Ok(Answer::Declined)
        );
    }
}
