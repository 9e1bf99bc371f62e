use http::{HeaderMap, Method};

use super::*;
use crate::base::path::CanonicalPath;
use crate::config::expression::ClaimPath;
use crate::config::pattern::PathPattern;

fn check(sources: &[AffinitySource], expected: Option<(&[u8], usize)>) {
    let mut headers = HeaderMap::new();
    headers.insert("cookie", "a=1; sid=s%31; empty=".parse().expect("a value"));
    headers.append("x-user", "ann".parse().expect("a value"));
    headers.append("x-user", "bob".parse().expect("a value"));
    headers.append("x-empty", "".parse().expect("a value"));
    let request = Request {
        method: &Method::GET,
        host: "a",
        path: "/ws/7",
        query: Some("k=a%20b&k=c&e="),
        headers: &headers,
        websocket: true,
        tls: false,
    };
    let claims = Claims::of_subject("bob");
    let parameters = [("room", "7"), ("rest", "")].into_iter().collect();
    let client = "::ffff:10.0.0.1".parse().expect("an address");
    let found = key(sources, &request, &parameters, client, Some(&claims), 0xabc);
    let expected = expected.map(|(bytes, place)| (bytes, &sources[place]));
    let seen = found.as_ref().map(|key| (&*key.bytes, key.source));
    assert_eq!(seen, expected, "{sources:?}");
    let issued = found.and_then(|key| key.issue);
    let new = matches!(expected, Some((_, AffinitySource::IssueCookie(name))) if name == "new");
    assert_eq!(issued.is_some(), new, "{sources:?}");
}

#[test]
fn the_first_source_that_is_there_counts() {
    use AffinitySource::*;
    let name = str::to_owned;
    let header = |name: &'static str| Header(http::HeaderName::from_static(name));
    let four = b"\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\x01";
    check(&[], None);
    check(&[Path(name("room"))], Some((b"7", 0)));
    let claim = |text: &str| Claim(ClaimPath(text.to_owned()));
    check(&[claim("none"), claim("sub")], Some((b"bob", 1)));
    check(&[Path(name("none")), Query(name("k"))], Some((b"a b", 1)));
    check(
        &[Query(name("e")), Path(name("rest")), header("x-empty")],
        None,
    );
    check(
        &[Cookie(name("empty")), Cookie(name("sid"))],
        Some((b"s%31", 1)),
    );
    check(&[header("x-none"), header("x-user")], Some((b"ann", 1)));
    check(&[Cookie(name("none")), ClientAddress], Some((four, 1)));
    check(&[IssueCookie(name("sid"))], Some((b"s%31", 0)));
    let made = b"00000000000000000000000000000abc";
    check(
        &[Query(name("e")), IssueCookie(name("new"))],
        Some((made, 1)),
    );
}

#[test]
fn i11_keys_that_may_be_credentials_are_not_shown() {
    use AffinitySource::*;
    let header = |name: &'static str| Header(http::HeaderName::from_static(name));
    let name = str::to_owned;
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl";
    let check = |source: AffinitySource, key: &str, secret: bool| {
        let also = [name("pin")];
        let found = is_secret(&source, key.as_bytes(), &also);
        assert_eq!(found, secret, "{source} {key}");
    };
    check(Claim(ClaimPath(name("sub"))), "ann", false);
    check(ClientAddress, "::1", false);
    check(IssueCookie(name("sessile")), "00ff", false);
    check(Cookie(name("place")), "7", true);
    check(Path(name("room")), "lobby", false);
    check(Path(name("room")), jwt, true);
    check(Query(name("room")), "lobby", false);
    check(Query(name("access_token")), "7", true);
    check(Query(name("pin")), "7", true);
    check(Query(name("room")), jwt, true);
    check(header("x-user"), "ann", false);
    check(header("authorization"), "Basic YTpi", true);
    check(header("cookie"), "a=b", true);
}

#[test]
fn i13_equivalent_uris_have_one_key() {
    let key_of = |path: &str, query: &str| {
        let sources = [
            AffinitySource::Path("room".to_owned()),
            AffinitySource::Query("k".to_owned()),
        ];
        let headers = HeaderMap::new();
        let path = CanonicalPath::read(path).expect(path);
        let pattern: PathPattern = "/ws/{room}".parse().expect("a pattern");
        let values = pattern.captures(path.as_str()).expect("it matches");
        let parameters = pattern.parameters().zip(values).collect();
        let request = Request {
            method: &Method::GET,
            host: "a",
            path: path.as_str(),
            query: Some(query),
            headers: &headers,
            websocket: true,
            tls: false,
        };
        let client = IpAddr::from([127, 0, 0, 1]);
        [0, 1].map(|place| {
            let source = &sources[place..=place];
            let found = key(source, &request, &parameters, client, None, 0);
            found.expect("a key").bytes.into_owned()
        })
    };
    let check = |spellings: &[(&str, &str)], expected: &str| {
        for (path, query) in spellings {
            let expected = [expected, expected].map(|text| text.as_bytes().to_vec());
            assert_eq!(key_of(path, query), expected, "{path} {query}");
        }
    };
    check(
        &[
            ("/ws/a:b", "k=a:b"),
            ("/ws/a%3Ab", "k=a%3Ab"),
            ("//ws/a%3ab", "%6b=a%3ab"),
        ],
        "a:b",
    );
    check(
        &[
            ("/ws/é", "k=é"),
            ("/ws/%c3%a9", "k=%c3%a9"),
            ("/ws/%C3%A9", "k=%C3%a9"),
        ],
        "é",
    );
    check(&[("/ws/a%20b", "k=a+b"), ("/%77s/a%20b", "k=a%20b")], "a b");
    // Plain keys are what they were (I2).
    check(&[("/ws/7", "k=7")], "7");
}

#[test]
fn an_issued_cookie_is_what_the_key_was() {
    let headers = HeaderMap::new();
    let request = Request {
        method: &Method::GET,
        host: "a",
        path: "/",
        query: None,
        headers: &headers,
        websocket: false,
        tls: false,
    };
    let sources = [AffinitySource::IssueCookie("pin".to_owned())];
    let client = IpAddr::from([127, 0, 0, 1]);
    let found = key(&sources, &request, &Parameters::default(), client, None, 7);
    let found = found.expect("a key");
    let issue = found.issue.expect("a cookie");
    assert_eq!(found.bytes, issue.value.as_bytes());
    let set = format!("pin={}; Path=/; HttpOnly; SameSite=", issue.value);
    assert_eq!(issue.set_cookie(false), format!("{set}Lax"));
    assert_eq!(issue.set_cookie(true), format!("{set}None; Secure"));
}
