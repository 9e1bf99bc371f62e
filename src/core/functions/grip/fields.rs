//! The fields of a request with events.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{ACCEPT, HeaderName};
use http::{HeaderMap, HeaderValue};
use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

use crate::base::header_name::{alike, begins_alike, remove_where};
use crate::core::functions::grip::events::CONTENT_TYPE;
use crate::core::functions::grip::session::GripSession;

/// Bytes of names and values that are kept of a handshake: those that a listener takes, and what
/// the gateway adds.
const FIELDS_MAX: usize = 48 << 10;
/// How long a signature is good for, as with Pushpin.
const SIGNATURE_LIFE: Duration = Duration::from_secs(3600);
/// Fields of a handshake that no request with events has, or only those of the gateway.
const NOT_SENT: [&str; 10] = [
    "accept",
    "accept-encoding",
    "connection",
    "connection-id",
    "content-length",
    "content-type",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "transfer-encoding",
    "upgrade",
];
/// What a client must not write, in whichever spelling.
const RESERVED: [&str; 3] = ["grip-", "meta-", "content-bytes-"];

/// What all requests of a session have of its handshake; `None` if that is too much. The function
/// gets it again with each of them. Values that are not UTF-8 are left out.
pub fn handshake_fields(fields: &HeaderMap) -> Option<Vec<(String, String)>> {
    let kept = fields.iter().filter_map(|(name, value)| {
        let value = std::str::from_utf8(value.as_bytes()).ok()?;
        let name = name.as_str();
        let reserved = NOT_SENT.iter().any(|other| alike(name, other))
            || RESERVED.iter().any(|prefix| begins_alike(name, prefix));
        (!reserved).then(|| (name.to_owned(), value.to_owned()))
    });
    let kept: Vec<_> = kept.collect();
    let bytes = |(name, value): &(String, String)| name.len() + value.len();
    // Not in part: a field that is missing may be the one that has the user's rights.
    (kept.iter().map(bytes).sum::<usize>() <= FIELDS_MAX).then_some(kept)
}

/// Names of fields in a first answer that are not for the client.
const NOT_ANSWERED: [&str; 7] = [
    "content-",
    "date",
    "grip-",
    "keep-alive-interval",
    "sec-websocket-",
    "sessile-",
    "set-meta-",
];

/// What the client gets of the first answer, beside what the gateway itself writes. Fields of the
/// hop are gone already.
pub fn answered_fields(answer: &HeaderMap) -> HeaderMap {
    let mut fields = answer.clone();
    remove_where(&mut fields, |name| {
        NOT_ANSWERED.iter().any(|prefix| begins_alike(name, prefix))
    });
    fields
}

/// The fields of a request with events of a session; `signature` is for `Grip-Sig`.
pub fn request_fields(session: &GripSession, id: &str, signature: Option<&str>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    let mut add = |name: &str, value: &str| {
        let name = HeaderName::try_from(name);
        let value = HeaderValue::from_str(value);
        // They were fields before.
        if let (Ok(name), Ok(value)) = (name, value) {
            fields.append(name, value);
        }
    };
    for (name, value) in session.handshake() {
        add(name, value);
    }
    add(ACCEPT.as_str(), CONTENT_TYPE);
    add("connection-id", id);
    add("sec-websocket-extensions", "grip");
    for (name, value) in session.meta() {
        add(&format!("meta-{name}"), value);
    }
    let replayed = session.replayed();
    if replayed > 0 {
        add("content-bytes-replayed", &replayed.to_string());
    }
    if let Some(signature) = signature {
        add("grip-sig", signature);
    }
    fields
}

#[derive(Serialize)]
struct Claims<'c> {
    iss: &'c str,
    exp: u64,
}

/// `Grip-Sig`: a token by which the function knows that the request is the gateway's (HS256).
pub fn signature(key: &[u8], issuer: &str, now: SystemTime) -> Option<String> {
    let end = now.duration_since(UNIX_EPOCH).unwrap_or_default() + SIGNATURE_LIFE;
    let claims = Claims {
        iss: issuer,
        exp: end.as_secs(),
    };
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(key)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i13_a_client_writes_no_field_of_the_gateway() {
        let mut fields = HeaderMap::new();
        for name in [
            "Grip-Sig",
            "grip_sig",
            "Meta-User",
            "meta_user",
            "meta.user",
            "Connection-Id",
            "connection_id",
            "Content-Bytes-Replayed",
            "Accept",
            "Sec-WebSocket-Extensions",
        ] {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            fields.insert(name, HeaderValue::from_static("x"));
        }
        fields.insert("cookie", HeaderValue::from_static("a=b"));
        fields.append("x-twice", HeaderValue::from_static("1"));
        fields.append("x-twice", HeaderValue::from_static("2"));
        let kept = handshake_fields(&fields).expect("few");
        let all = [("cookie", "a=b"), ("x-twice", "1"), ("x-twice", "2")];
        assert_eq!(
            kept,
            all.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        let session = GripSession::new("/chat", kept);
        let sent = request_fields(&session, "7", Some("token"));
        assert_eq!(sent["grip-sig"], "token");
        assert_eq!(sent["connection-id"], "7");
        assert_eq!(sent["accept"], CONTENT_TYPE);
        assert_eq!(sent["sec-websocket-extensions"], "grip");
        assert_eq!(sent.get_all("x-twice").iter().count(), 2);
        assert!(!sent.contains_key("content-bytes-replayed"));
    }

    #[test]
    fn a_client_gets_what_is_meant_for_it() {
        let mut answer = HeaderMap::new();
        for name in [
            "set-cookie",
            "x-own",
            "content-type",
            "content-length",
            "sec-websocket-extensions",
            "sec-websocket-accept",
            "set-meta-user",
            "keep-alive-interval",
            "sessile-groups",
            "sessile_session",
        ] {
            answer.insert(name, HeaderValue::from_static("x"));
        }
        let fields = answered_fields(&answer);
        let names: Vec<_> = fields.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["set-cookie", "x-own"]);
    }

    #[test]
    fn i8_what_is_kept_of_a_handshake_is_bounded() {
        let mut fields = HeaderMap::new();
        for number in 0..1000 {
            let name = HeaderName::try_from(format!("x-{number}")).expect("a name");
            fields.insert(
                name,
                HeaderValue::from_str(&"v".repeat(100)).expect("a value"),
            );
        }
        assert_eq!(handshake_fields(&fields), None);
        let few = fields.into_iter().take(300);
        let few: HeaderMap = few
            .filter_map(|(name, value)| Some((name?, value)))
            .collect();
        assert_eq!(handshake_fields(&few).map(|kept| kept.len()), Some(300));
    }
}
