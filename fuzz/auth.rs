//! Targets for routing and credentials, with the configuration `routes.toml`.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Method;
use serde_json::Value;

use sessile::base::host;
use sessile::base::path::CanonicalPath;
use sessile::config::snapshot::Snapshot;
use sessile::control::load::{LoadOptions, load_text};
use sessile::core::auth::{Authenticator, IssuerKeys, parse_token};
use sessile::core::routing::{Request, RoutingTable, credential};
use sessile::core::wire::handshake;

use super::http_fields::head;

/// Host, path and query of a request: if a route matches, the values of its parameters are in the
/// path.
pub(super) fn routing(data: &[u8]) {
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

/// The snapshot of `routes.toml`.
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

/// No token is accepted without the key, whatever its header states. Tokens that parse are short and
/// have three parts.
pub(super) fn jwt(data: &[u8]) {
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

/// A time in 2026: no seed has expired then.
const NOW: u64 = 1_780_000_000;

/// The signed part of the seed `jwt/signed`.
const SIGNED: &str =
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.";

/// A credential is found in one place, or refused if there are two. A stripped credential is gone,
/// and the remaining subprotocols were offered.
pub(super) fn credential(data: &[u8]) {
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

/// No ticket is accepted without the key. A signed ticket is accepted only with a subject, a name and
/// a time, before that time, for its path, and once. The first line of the input is the path, the
/// second a ticket as in the query. A ticket without a valid signature is signed here, since a fuzzer
/// cannot guess an HMAC.
pub(super) fn signed_url(data: &[u8]) {
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

/// The signed part of the seed `signed_url/signed`.
const SIGNED_TICKET: &str = "eyJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDAsImp0aSI6IjEifQ.";
