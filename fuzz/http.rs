//! Targets for fields of requests: cookies, targets, forwarded fields, origins.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::header::{COOKIE, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue};

use sessile::base::addr::Networks;
use sessile::base::header_name::begins_alike;
use sessile::config::origin::{OriginRule, WebOrigin};
use sessile::config::untrusted::UntrustedHeaders;
use sessile::core::http::forwarded::{self, Forwarding};
use sessile::core::http::{headers, origin, query};

/// The lines of the form `name: value` in the input.
pub(super) fn head(data: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(200) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            fields.append(name, value);
        }
    }
    fields
}

/// A simple reference parser of cookie lines finds the same first value.
pub(super) fn cookie(data: &[u8]) {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (Ok(name), Ok(line)) = (
        std::str::from_utf8(&data[..end]),
        HeaderValue::from_bytes(&data[end + 1..]),
    ) else {
        return;
    };
    let mut fields = HeaderMap::new();
    fields.append(COOKIE, line.clone());
    fields.append(COOKIE, line.clone());
    let found = headers::cookie(&fields, name);
    if let Some(value) = found {
        assert!(!value.contains(';'));
    }
    if let Ok(text) = std::str::from_utf8(line.as_bytes()) {
        let pairs = text
            .split(';')
            .filter_map(|pair| pair.trim_ascii().split_once('='));
        let twin = pairs
            .filter(|(known, _)| *known == name)
            .map(|(_, value)| value)
            .next();
        assert_eq!(found, twin);
    }
}

/// A redacted target has no token, is stable under redaction, and keeps the harmless segments of its
/// path.
pub(super) fn query(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let shown = query::redact_target(&text, &[]);
    assert_eq!(
        query::redact_target(&shown, &[]),
        shown,
        "a second look finds more to hide"
    );
    let path = |target: &str| -> Vec<String> {
        let path = target.split('?').next().unwrap_or_default();
        path.split('/').map(str::to_owned).collect()
    };
    let (before, after) = (path(&text), path(&shown));
    assert_eq!(before.len(), after.len());
    for (segment, shown) in before.iter().zip(&after) {
        assert!(
            shown == segment || shown == "***",
            "{segment} became {shown}"
        );
    }
    let secret = "s3cr3t-that-nobody-else-writes";
    // The fuzzer learns the marker from what is compared.
    if !text.contains('?') || text.contains(secret) {
        return;
    }
    for target in [
        format!("{text}&access_token={secret}"),
        format!("{text}&a;sig={secret}"),
    ] {
        assert!(
            !query::redact_target(&target, &[]).contains(secret),
            "{target}"
        );
    }
    let raw = text.split_once('?').map_or("", |(_, raw)| raw);
    for value in query::query_values(raw, "k") {
        assert!(value.len() <= 3 * raw.len());
    }
}

/// Forwarded fields of untrusted peers are dropped, those of trusted proxies stay in order, and the
/// client's address comes from a trusted peer.
pub(super) fn forwarded(data: &[u8]) {
    let fields = head(data);
    let peer = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let mut trusted = Networks::default();
    trusted.add("10.0.0.0/8").expect("a network");
    let none_trusted = Networks::default();
    let alone = forwarded::client(&fields, peer, &none_trusted, true);
    assert!(alone.is_ok_and(|client| client.address == peer && client.secure));
    if let Ok(client) = forwarded::client(&fields, peer, &trusted, false) {
        let mapped = |v6: Ipv6Addr| v6.to_ipv4_mapped().is_some();
        assert!(!matches!(client.address, IpAddr::V6(v6) if mapped(v6)));
    }
    let untrusted = UntrustedHeaders::default();
    for trusted in [false, true] {
        let mut fields = fields.clone();
        let hop = Forwarding {
            peer: Some(peer),
            trusted,
            scheme: "https",
            tls: true,
            untrusted: &untrusted,
            host: "edge.example.com",
            request_id: "made-here",
            session: None,
            rfc7239: true,
        };
        forwarded::forward(&mut fields, &hop);
        let ours = |name: &HeaderName| begins_alike(name.as_str(), "sessile-");
        assert!(!fields.keys().any(ours), "a client speaks for the gateway");
        assert_eq!(fields["x-forwarded-proto"], "https");
        let list = &fields["x-forwarded-for"];
        assert!(list.as_bytes().ends_with(b"10.0.0.1"));
        if !trusted {
            assert_eq!(list, "10.0.0.1");
            assert_eq!(fields["x-request-id"], "made-here");
            assert_eq!(fields["x-forwarded-host"], "edge.example.com");
            let own = [
                "x-forwarded-for",
                "x-forwarded-proto",
                "x-forwarded-host",
                "forwarded",
            ];
            let own = |name: &&HeaderName| own.contains(&name.as_str()) || *name == "x-request-id";
            let others = fields.keys().filter(|name| !own(name));
            assert!(
                !others
                    .into_iter()
                    .any(|name| untrusted.contains(name.as_str()))
            );
        }
        assert_eq!(fields.get_all("x-forwarded-for").iter().count(), 1);
    }
}

/// Only origins with a listed host, or a host below it, pass.
pub(super) fn origin(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    let rule = OriginRule {
        allowed: Some(
            [
                "https://chat.example.com",
                "https://*.apps.example.com:8443",
                "same",
            ]
            .map(|text| text.parse().expect("an origin"))
            .into(),
        ),
        required: true,
    };
    let mut fields = HeaderMap::new();
    fields.insert(ORIGIN, value);
    let host = "edge.example.com:444";
    if origin::check(&rule, &fields, host, true).is_ok() {
        let text = std::str::from_utf8(data).expect("what passes is text");
        let origin = WebOrigin::parse(text).expect("what passes is an origin");
        let name = origin.host.to_ascii_lowercase();
        assert!(origin.scheme.eq_ignore_ascii_case("https"));
        assert!(
            name == "chat.example.com"
                || name.ends_with(".apps.example.com")
                || name == "edge.example.com"
        );
    }
}
