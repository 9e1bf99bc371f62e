//! Header fields on their way through: what belongs to one connection is taken off, what the
//! operator asked for is changed, cookies are read. What the gateway tells backends about the
//! client is `forwarded`'s.

use http::header::{
    CONNECTION, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};

use crate::base::header_list::{has_token, items};
use crate::config::snapshot::HeaderEdits;

/// Fields of one connection, whether `Connection` names them or not (RFC 9110 section 7.6.1). The
/// proxy credentials are among them because they are meant for the proxy that asked. `Trailer` is
/// not: trailers are passed on, so their announcement is too.
static HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Fields that `Connection` cannot take away: with them gone the next hop would see another
/// message, another client or another right to be there than the gateway did. Beside these, every
/// name that begins with one of `END_TO_END_PREFIXES`.
const END_TO_END: [&str; 14] = [
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "forwarded",
    "host",
    "origin",
    "set-cookie",
    "trailer",
    "vary",
    "x-real-ip",
    "x-request-id",
];
const END_TO_END_PREFIXES: [&str; 3] = ["x-forwarded-", "sec-websocket-", "sessile-"];

/// Takes off what belongs to the connection that a request or response came by. Of `TE` there
/// stays `trailers`, the only thing in it that the gateway can pass on.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let wants_trailers = has_token(headers, &TE, "trailers");
    headers.remove(TE);
    let named: Vec<HeaderName> = items(headers, &CONNECTION)
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .filter(|name| headers.contains_key(name) && !is_end_to_end(name))
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

fn is_end_to_end(name: &HeaderName) -> bool {
    let name = name.as_str();
    END_TO_END.contains(&name)
        || END_TO_END_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Makes the operator's changes: remove, set, add, in this order.
pub fn apply_edits(headers: &mut HeaderMap, edits: &HeaderEdits) {
    for name in &edits.remove {
        headers.remove(name);
    }
    for (name, value) in &edits.set {
        headers.insert(name, value.clone());
    }
    for (name, value) in &edits.add {
        headers.append(name, value.clone());
    }
}

/// The first cookie of that name (RFC 6265 section 4.2), as it is written; quotes are part of it.
pub fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers
        .get_all(http::header::COOKIE)
        .into_iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|pair| std::str::from_utf8(pair.trim_ascii()).ok()?.split_once('='))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
