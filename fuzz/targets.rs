//! What is fuzzed: everything that reads what a stranger sent. Each target is a function from bytes
//! to nothing that panics where something does not hold; `tests/fuzz_seeds.rs` runs all of them
//! over the seeds and past crashes in `fuzz/seeds/` with every `cargo test`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::{COOKIE, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use serde_json::Value;

use sessile::base::addr::Networks;
use sessile::base::header_name::begins_alike;
use sessile::base::host;
use sessile::base::path::CanonicalPath;
use sessile::config::origin::{OriginRule, WebOrigin};
use sessile::config::snapshot::Snapshot;
use sessile::config::untrusted::UntrustedHeaders;
use sessile::control::load::{LoadOptions, load_text};
use sessile::core::auth::{Authenticator, IssuerKeys, parse_token};
use sessile::core::http::forwarded::{self, Forwarding};
use sessile::core::http::{headers, origin, query};
use sessile::core::routing::{Request, RoutingTable, credential};
use sessile::core::wire::frame::FrameHeader;
use sessile::core::wire::handshake::{self, Answer, Kind};
use sessile::core::wire::in_band::{InBandMatch, InBandMatcher};
use sessile::core::wire::proxy_protocol::{self, Header, Progress};
use sessile::core::wire::request_guard::{RequestGuard, Smuggling};
use sessile::core::wire::tracker::{Extensions, FrameTracker, Rules, Sender, Stop, Until};

#[path = "relay.rs"]
mod relay;
#[path = "text.rs"]
mod text;
#[path = "tls.rs"]
mod tls;

/// A target's name and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: &[Target] = &[
    ("frame_header", frame_header),
    ("frame_stream", frame_stream),
    ("proxy_protocol", proxy_protocol),
    ("handshake", handshake),
    ("request_guard", request_guard),
    ("cookie", cookie),
    ("query", query),
    ("forwarded", forwarded),
    ("origin", origin),
    ("routing", routing),
    ("jwt", jwt),
    ("credential", credential),
    ("signed_url", signed_url),
    ("in_band", in_band),
    ("relay", relay::relay),
    ("paths", text::paths),
    ("patterns", text::patterns),
    ("expressions", text::expressions),
    ("documents", text::documents),
    ("tls_receive", tls::receive),
    ("tls_unpack", tls::unpack),
];

/// A frame's header says how long it is, and is not there before its last byte is.
fn frame_header(data: &[u8]) {
    let Some(header) = FrameHeader::parse(data) else {
        assert!(data.len() < 14, "fourteen bytes are a header");
        return;
    };
    assert!(header.len <= data.len() && header.len >= 2);
    assert_eq!(FrameHeader::parse(&data[..header.len]), Some(header));
    for short in 0..header.len {
        assert_eq!(FrameHeader::parse(&data[..short]), None);
    }
}

/// A stream comes to the same end, with the same counts, in whatever pieces it arrives. The first
/// two bytes choose the rules and the pieces.
fn frame_stream(data: &[u8]) {
    let Some((&[rules, cut], stream)) = data.split_first_chunk::<2>() else {
        return;
    };
    let sender = if rules & 1 == 0 {
        Sender::Client
    } else {
        Sender::Backend
    };
    let extensions = match rules >> 1 & 3 {
        0 => Extensions::None,
        1 => Extensions::Deflate,
        _ => Extensions::Unknown,
    };
    let until = match rules >> 3 & 3 {
        1 => Until::Boundary,
        2 => Until::CloseFrame,
        3 => Until::CloseCode,
        _ => Until::ChunkEnd,
    };
    let rules = Rules {
        frame_bytes: 1 << (rules >> 5),
        message_bytes: 1 << (rules >> 4),
        extensions,
    };
    let fresh = || {
        let mut tracker = FrameTracker::new(sender, rules);
        // The first pong that is stopped at.
        tracker.watch(*b"8 letter");
        tracker
    };
    let mut whole = fresh();
    let at_once = whole.track(stream, until);
    assert!(at_once.forward <= stream.len());
    let mut parts = fresh();
    let (mut forwarded, mut stop) = (0, Stop::ChunkEnd);
    let pieces = stream.chunks(usize::from(cut % 16) + 1);
    for piece in std::iter::once(&[][..]).chain(pieces) {
        let chunk = [parts.carry(), piece].concat();
        let tracked = parts.track(&chunk, until);
        forwarded += tracked.forward;
        stop = tracked.stop;
        if stop != Stop::ChunkEnd {
            break;
        }
    }
    assert_eq!((forwarded, stop), (at_once.forward, at_once.stop));
    assert_eq!(parts.traffic(), whole.traffic());
    assert_eq!(parts.close_code(), whole.close_code());
    assert_eq!(whole.traffic().bytes, at_once.forward as u64);
}

/// A header ends where it says, is asked for byte by byte and no further, and can be written again.
fn proxy_protocol(data: &[u8]) {
    let Ok(Progress::Complete { header, len }) = proxy_protocol::parse(data) else {
        return;
    };
    assert!(len <= data.len());
    for short in 0..len {
        match proxy_protocol::parse(&data[..short]) {
            Ok(Progress::Incomplete { at_least }) if short > 0 => {
                assert!(
                    at_least > 0 && short + at_least <= len,
                    "asks for the client's bytes"
                );
            }
            Ok(Progress::Complete { .. }) => panic!("complete twice"),
            _ => assert_eq!(short, 0, "an error is final"),
        }
    }
    for version in [
        sessile::config::snapshot::ProxyVersion::V1,
        sessile::config::snapshot::ProxyVersion::V2,
    ] {
        let written = proxy_protocol::encode(version, &header);
        match proxy_protocol::parse(&written) {
            Ok(Progress::Complete { header: again, len }) => {
                assert_eq!(len, written.len());
                if let Header::Proxied { source, .. } = header
                    && let Header::Proxied { source: again, .. } = again
                {
                    assert_eq!(again.port(), source.port());
                }
            }
            other => panic!("{written:02x?} is read as {other:?}"),
        }
    }
}

/// The lines of a head: `name: value`, as far as they are any.
fn head(data: &[u8]) -> HeaderMap {
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

/// What is taken for an upgrade has a key, and only its own answer grants it. The first line is the
/// request's, what follows an empty line the answer's.
fn handshake(data: &[u8]) {
    let Some((&first, rest)) = data.split_first() else {
        return;
    };
    let method = [Method::GET, Method::POST, Method::HEAD][usize::from(first % 3)].clone();
    let version = if first & 64 == 0 {
        Version::HTTP_11
    } else {
        Version::HTTP_10
    };
    let end = rest.windows(2).position(|two| two == b"\n\n");
    let (asked, answered) = rest.split_at(end.unwrap_or(rest.len()));
    let Kind::WebSocket(offer) = handshake::classify(&method, version, &head(asked)) else {
        return;
    };
    assert!(method == Method::GET && version == Version::HTTP_11);
    assert_eq!(offer.key().len(), 24);
    assert!(offer.subprotocols().count() <= asked.len());
    assert!(offer.extensions().count() <= asked.len());
    let mut answer = head(answered);
    let status = StatusCode::SWITCHING_PROTOCOLS;
    let accept = handshake::accept_key(offer.key());
    let judge = |answer: &HeaderMap| handshake::verify_answer(&offer, version, status, answer);
    if let Ok(Answer::Granted(granted)) = judge(&answer) {
        assert_eq!(answer["sec-websocket-accept"].as_bytes(), accept);
        if let Some(chosen) = granted.subprotocol {
            assert!(offer.subprotocols().any(|offered| offered == chosen));
        }
    }
    answer.insert(
        "sec-websocket-accept",
        HeaderValue::from_bytes(&accept).expect("base64"),
    );
    // Whatever else it says: no panic.
    let _ = judge(&answer);
}

/// A stream of requests is judged alike in whatever pieces it comes, and never better the more of
/// it is seen.
fn request_guard(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else {
        return;
    };
    let verdicts = |guard: &RequestGuard| -> Vec<Result<(), Smuggling>> {
        (0..16).map(|index| guard.verdict(index)).collect()
    };
    let mut whole = RequestGuard::new();
    whole.observe(stream);
    let mut parts = RequestGuard::new();
    let mut good = 0;
    for piece in stream.chunks(usize::from(cut % 32) + 1) {
        parts.observe(piece);
        let now = verdicts(&parts)
            .iter()
            .take_while(|verdict| verdict.is_ok())
            .count();
        assert!(now >= good, "a request that was good is condemned");
        good = now;
    }
    assert_eq!(verdicts(&parts), verdicts(&whole));
}

/// The obvious reading of a cookie line finds the same first value.
fn cookie(data: &[u8]) {
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

/// What is logged of a target shows no token, has nothing left to hide, and keeps the segments of
/// its path that hide nothing.
fn query(data: &[u8]) {
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

/// A stranger's word about others is dropped, a proxy's is kept in order, and whoever is the client
/// is named by somebody who may.
fn forwarded(data: &[u8]) {
    let fields = head(data);
    let peer = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let mut trusted = Networks::default();
    trusted.add("10.0.0.0/8").expect("a network");
    let nobody = Networks::default();
    let alone = forwarded::client(&fields, peer, &nobody, true);
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

/// Whatever a browser says, only the listed name or one below it passes, and only whole.
fn origin(data: &[u8]) {
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

/// Host, path and query of a request: a route is found or not, and what it says of its parameters
/// stands in the path.
fn routing(data: &[u8]) {
    static TABLE: OnceLock<RoutingTable> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let now = sessile::base::clock::now();
        RoutingTable::compile(snapshot(), None, 1, now)
    });
    let text = String::from_utf8_lossy(data);
    let mut parts = text.splitn(3, '\n');
    let (host, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let fields = head(parts.next().unwrap_or("").as_bytes());
    let (path, raw_query) = match path.split_once('?') {
        Some((path, raw)) => (path, Some(raw)),
        None => (path, None),
    };
    let (Some(host), Ok(path)) = (host::canonical(host), CanonicalPath::read(path)) else {
        return;
    };
    let request = Request {
        method: &Method::GET,
        host: &host,
        path: path.as_str(),
        query: raw_query,
        headers: &fields,
        websocket: true,
        tls: false,
    };
    if let Ok(Some(matched)) = table.choose(&request, &path) {
        let rules = matched.route.config.paths;
        let forwarded = path.forwarded(rules);
        assert!(
            !forwarded
                .split('/')
                .any(|segment| matches!(segment, "." | ".."))
        );
        assert!(!forwarded.contains(';') && !forwarded.contains("%2F"));
        for (_, value) in matched.parameters.iter() {
            assert!(forwarded.contains(value));
        }
        // The route that is taken by one spelling is taken by the canonical one.
        let again = CanonicalPath::read(forwarded).expect("it is canonical");
        let again = table.choose(&request, &again).expect("it was taken before");
        assert_eq!(again.expect("a route").route.name(), matched.route.name());
    }
}

/// What `routes.toml` says.
fn snapshot() -> &'static Snapshot {
    static SNAPSHOT: OnceLock<Snapshot> = OnceLock::new();
    SNAPSHOT.get_or_init(|| {
        let options = LoadOptions {
            path: "gateway.toml".into(),
            sets: Vec::new(),
            environment: Vec::new(),
        };
        let loaded = load_text(&options, include_str!("routes.toml"));
        loaded.expect("it is good").snapshot
    })
}

fn authenticator() -> &'static Authenticator {
    static USERS: OnceLock<Arc<Authenticator>> = OnceLock::new();
    USERS.get_or_init(|| {
        let users = snapshot().authenticators.get("users");
        Authenticator::compile(users.expect("there is one"), None)
    })
}

/// Who has no key gets nothing accepted, whatever the token says of itself; what can be taken apart
/// is short and has three parts.
fn jwt(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(token) = parse_token(&text, 1024) {
        assert!(text.len() <= 1024 && text.matches('.').count() == 2);
        assert!(text.starts_with(token.signed));
        assert!(token.kid.is_none_or(|kid| kid.len() <= 256));
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    let none = IssuerKeys::default();
    if let Ok(principal) = authenticator().verify(&text, "/ws", &none, now) {
        // The one seed that was signed with the key; a signature covers every byte before it.
        assert_eq!(&*principal.subject, "ann", "{text}");
        assert!(text.starts_with(SIGNED), "{text}");
    }
}

/// 2026, when no seed has expired.
const NOW: u64 = 1_780_000_000;

/// What stands before the signature of the seed `jwt/signed`.
const SIGNED: &str =
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.";

/// A credential is found in one place, or twice and refused; what is taken out is gone, and what
/// subprotocols are left are ones that were offered.
fn credential(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (target, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let (path, raw_query) = target
        .split_once('?')
        .map_or((target, None), |(path, raw)| (path, Some(raw)));
    let mut fields = head(rest.as_bytes());
    let users = &authenticator().config;
    let request = Request {
        method: &Method::GET,
        host: "edge",
        path,
        query: raw_query,
        headers: &fields,
        websocket: true,
        tls: true,
    };
    // An empty one is one too: it is judged, and refused.
    let judged = credential::find(users, "Bearer", &request);
    let judged = judged.map(|(source, _)| source.clone());
    let offered: Vec<String> = handshake::subprotocols(&fields)
        .map(str::to_owned)
        .collect();
    credential::strip(users, "Bearer", judged.as_ref(), &mut fields);
    let _ = credential::take_subprotocols(&mut fields, ["bearer"].into_iter());
    let left = handshake::subprotocols(&fields);
    assert!(
        left.into_iter()
            .all(|name| offered.iter().any(|known| known == name))
    );
    assert!(
        !fields.contains_key("authorization"),
        "a credential goes on"
    );
}

/// Who has no key has no ticket; and of those who have it, none has one without subject, name and
/// time, none after that time or for another path, and nobody one that is good twice. The first line
/// is the path, the second a ticket as it stands in the query; where that is not a signed one, it is
/// signed here, for a fuzzer guesses no HMAC.
fn signed_url(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (path, ticket) = text.split_once('\n').unwrap_or(("/ws", &text));
    // One of its own for each input: tickets are good once.
    let tickets = snapshot().authenticators.get("tickets");
    let tickets = Authenticator::compile(tickets.expect("there is one"), None);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    let none = IssuerKeys::default();
    if let Ok(principal) = tickets.verify(ticket, path, &none, now) {
        // The one seed that was signed.
        assert!(ticket.starts_with(SIGNED_TICKET), "{ticket}");
        assert_eq!(&*principal.subject, "ann", "{ticket}");
    }
    let payload = BASE64_URL_SAFE_NO_PAD.encode(ticket);
    let key = hmac::Key::new(hmac::HMAC_SHA256, TICKET_SECRET.as_bytes());
    let tag = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key, payload.as_bytes()));
    let signed = format!("{payload}.{tag}");
    let Ok(principal) = tickets.verify(&signed, path, &none, now) else {
        return;
    };
    assert!(signed.len() <= 1024);
    let says: Value = serde_json::from_str(ticket).expect("what is taken is JSON");
    assert_eq!(says["sub"], *principal.subject);
    assert!((1..=512).contains(&principal.subject.len()));
    assert_eq!(principal.claims.0["sub"], *principal.subject);
    assert!(says["exp"].as_u64().is_some_and(|expires| expires > NOW));
    assert!(says["jti"].as_str() == principal.token_id.as_deref());
    assert!(says.get("path").is_none_or(|bound| *bound == *path));
    assert!(
        tickets.verify(&signed, path, &none, now).is_err(),
        "good twice"
    );
    // And not one byte of it may be another.
    let other = signed.replacen('.', "A.", 1);
    assert!(tickets.verify(&other, path, &none, now).is_err());
}

/// The secret of `tickets` in `routes.toml`.
const TICKET_SECRET: &str = "known-to-the-fuzzer-and-the-one-signed-ticket";

/// What stands before the signature of the seed `signed_url/signed`.
const SIGNED_TICKET: &str = "eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDAsImp0aSI6IjEifQ.";

/// What a client's message is, once decided, stays so when more of it comes, and to decide it takes
/// no more bytes than are bounded. What is taken begins with the prefix.
fn in_band(data: &[u8]) {
    const BYTES_MAX: usize = 64;
    const HEADER_MAX: usize = 14;
    let matcher = InBandMatcher::new("renew ", BYTES_MAX);
    let all = matcher.look(data);
    let mut decided = None;
    for end in 0..=data.len().min(4 * BYTES_MAX) {
        let now = matcher.look(&data[..end]);
        if let Some(before) = decided {
            assert_eq!(now, before, "decided anew at {end}");
        } else if now == InBandMatch::Undecided {
            assert!(end < BYTES_MAX + HEADER_MAX, "still undecided at {end}");
        } else {
            decided = Some(now);
        }
    }
    if data.len() <= 4 * BYTES_MAX {
        assert_eq!(decided.unwrap_or(InBandMatch::Undecided), all);
    }
    if let InBandMatch::Matched(len) = all {
        let header = FrameHeader::parse(data).expect("what is taken is a frame");
        assert!(header.fin && len <= data.len() && len <= BYTES_MAX + HEADER_MAX);
        let content = matcher.content(&data[..len]);
        assert_eq!(header.len + "renew ".len() + content.len(), len);
    }
}
