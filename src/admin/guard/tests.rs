use std::time::Duration;

use super::*;
use crate::admin::tests::support::{admin, lasting};

fn status(guard: &Guard, path: &str, headers: &[(&str, &str)]) -> u16 {
    use axum::response::IntoResponse as _;

    let headers = headers.iter().map(|(name, value)| {
        (
            name.parse().expect("a name"),
            value.parse().expect("a value"),
        )
    });
    match guard.check(&Method::GET, path, &headers.collect::<HeaderMap>(), None) {
        Ok(_) => 200,
        Err(problem) => problem.into_response().status().as_u16(),
    }
}

fn guard(tokens: [Option<&str>; 2], listen: &str) -> Guard {
    let [token, read_token] = tokens;
    Guard::new(&Admin {
        read_token: read_token.map(lasting),
        ..admin(listen, token)
    })
}

const TCP: &str = "127.0.0.1:9900";

#[test]
fn i11_only_the_token_opens_and_only_probes_go_without() {
    let guard = guard([Some("s3cret"), None], TCP);
    let check = |path: &str, value: Option<&str>, expected: u16| {
        let headers: Vec<_> = value
            .map(|value| ("authorization", value))
            .into_iter()
            .collect();
        assert_eq!(status(&guard, path, &headers), expected, "{path} {value:?}");
    };
    check("/v1/status", None, 401);
    check("/v1/status", Some("Bearer s3cret"), 200);
    check("/v1/status", Some("bearer  s3cret "), 200);
    check("/v1/status", Some("Bearer s3cre"), 401);
    check("/v1/status", Some("Bearer s3crets"), 401);
    check("/v1/status", Some("Bearer "), 401);
    check("/v1/status", Some("Basic s3cret"), 401);
    check("/v1/status", Some("s3cret"), 401);
    check("/livez", None, 200);
    check("/readyz", None, 200);
    check("/metrics", None, 401);
    check("/livez/../v1/status", None, 401);
}

#[test]
fn a_read_only_client_changes_nothing() {
    let guard = guard([Some("operate"), Some("look")], TCP);
    let check = |method: Method, path: &str, token: &str, expected: bool| {
        let value = format!("Bearer {token}").parse().expect("a value");
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        let passed = guard.check(&method, path, &headers, None).is_ok();
        assert_eq!(passed, expected, "{method} {path} {token}");
    };
    for resource in crate::admin::resources::resources() {
        let path = resource.path.replace(['{', '}'], "");
        let looks = resource.role() == Role::Read;
        check(resource.method.clone(), &path, "look", looks);
        check(resource.method.clone(), &path, "operate", true);
        check(
            resource.method.clone(),
            &path,
            "neither",
            is_open(&resource.method, &path),
        );
        assert_eq!(
            looks,
            role_of(&resource.method, &path) == Role::Read,
            "{path}"
        );
    }
    check(Method::POST, "/v1/reload", "look", false);
    check(Method::DELETE, "/v1/sessions/1", "look", false);
    check(Method::POST, "/v1/resolve", "look", true);
    check(Method::HEAD, "/v1/sessions", "look", true);
}

#[test]
fn web_pages_are_kept_out() {
    let guard = guard([None, None], TCP);
    let check = |headers: &[(&str, &str)], expected: u16| {
        assert_eq!(
            status(&guard, "/v1/sessions", headers),
            expected,
            "{headers:?}"
        );
    };
    for host in [
        "127.0.0.1:9900",
        "127.0.0.1",
        "localhost:9900",
        "LOCALHOST",
        "[::1]:9900",
        "[::1]",
    ] {
        check(&[("host", host)], 200);
    }
    for host in [
        "",
        "evil.example",
        "evil.example:9900",
        "localhost.evil.example",
        "127.0.0.1.evil.example:9900",
        "localhost:",
    ] {
        check(&[("host", host)], 403);
    }
    let host = ("host", "127.0.0.1:9900");
    check(&[host, ("origin", "http://127.0.0.1:9900")], 200);
    for origin in [
        "http://evil.example",
        "https://127.0.0.1:9900",
        "http://127.0.0.1:3000",
        "null",
        "",
    ] {
        check(&[host, ("origin", origin)], 403);
    }
    check(&[host, ("sec-fetch-site", "cross-site")], 403);
    check(&[host, ("sec-fetch-site", "same-origin")], 200);
    check(&[host, ("sec-fetch-site", "none")], 200);
}

#[test]
fn i12_what_a_proxy_passed_on_is_refused_with_a_token_too() {
    for tokens in [[None, None], [Some("s3cret"), None]] {
        let guard = guard(tokens, TCP);
        let headers = [
            ("host", "127.0.0.1:9900"),
            ("authorization", "Bearer s3cret"),
        ];
        assert_eq!(status(&guard, "/v1/status", &headers), 200);
        for name in [
            "x-forwarded-for",
            "X_Forwarded_For",
            "x-forwarded-host",
            "forwarded",
            "via",
            "sessile-session",
            "Sessile_Session",
            "sessile-gateway",
        ] {
            let marked = [headers.as_slice(), &[(name, "x")]].concat();
            assert_eq!(status(&guard, "/v1/status", &marked), 403, "{name}");
            assert_eq!(status(&guard, "/livez", &marked), 403, "{name}");
        }
    }
}

#[test]
fn browsers_do_not_reach_unix_sockets() {
    let guard = guard([None, None], "unix:/run/admin.sock");
    assert_eq!(status(&guard, "/v1/status", &[("host", "anything")]), 200);
}

#[test]
fn a_certificate_opens_but_not_to_a_page_of_another_origin() {
    let mut guard = guard([None, None], "0.0.0.0:9900");
    (guard.certificates, guard.scheme) = (true, "https://");
    let holder = |subject: &str| Holder {
        subject: subject.into(),
        expires: None,
    };
    let check = |guard: &Guard, method, holder: Option<&Holder>, origin: Option<&str>| {
        let mut headers = HeaderMap::new();
        let host = "edge.internal:9900".parse().expect("a value");
        headers.insert(HOST, host);
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().expect("a value"));
        }
        guard.check(&method, "/v1/reload", &headers, holder).is_ok()
    };
    let (alice, bob) = (holder("alice"), holder("bob"));
    let own = Some("https://edge.internal:9900");
    assert!(check(&guard, Method::POST, Some(&bob), own));
    for origin in ["https://evil.example", "http://edge.internal:9900", "null"] {
        assert!(!check(&guard, Method::POST, Some(&bob), Some(origin)));
    }
    assert!(!check(&guard, Method::GET, None, None));
    guard.operators = vec!["alice".to_owned()];
    assert!(check(&guard, Method::POST, Some(&alice), None));
    assert!(check(&guard, Method::GET, Some(&bob), None));
    assert!(!check(&guard, Method::POST, Some(&bob), None));
    let late = Holder {
        expires: Some(SystemTime::UNIX_EPOCH),
        ..alice
    };
    assert!(!check(&guard, Method::GET, Some(&late), None));
}

#[test]
fn a_token_is_refused_from_its_end_on() {
    const HOUR: Duration = Duration::from_secs(3600);
    let until = |text: &str, expires: SystemTime| Token {
        expires: Some(expires),
        ..lasting(text)
    };
    let (past, future) = (clock::wall() - HOUR, clock::wall() + HOUR);
    let guard = |token: Token, read_token: Token| {
        Guard::new(&Admin {
            token: Some(token),
            read_token: Some(read_token),
            ..admin(TCP, None)
        })
    };
    let check = |guard: &Guard, token: &str, path: &str, expected: u16| {
        let value = format!("Bearer {token}");
        let headers = [("authorization", value.as_str())];
        assert_eq!(status(guard, path, &headers), expected, "{token} {path}");
    };
    let current = guard(until("operate", future), until("look", past));
    check(&current, "operate", "/v1/status", 200);
    check(&current, "look", "/v1/status", 401);
    let old = guard(until("operate", past), until("look", future));
    check(&old, "operate", "/v1/status", 401);
    check(&old, "look", "/v1/status", 200);
    // Probes need none.
    check(&old, "operate", "/readyz", 200);
    let headers =
        HeaderMap::from_iter([(AUTHORIZATION, "Bearer operate".parse().expect("a value"))]);
    let refused = old.check(&Method::GET, "/v1/status", &headers, None);
    let detail = refused.expect_err("it has expired").detail().to_owned();
    assert!(detail.contains("`token`, and it expired at "), "{detail}");
    assert!(!detail.contains("operate"), "{detail}");
}
