//! Events: attributes as fields, and bodies.

use std::collections::BTreeMap;
use std::time::SystemTime;

use aws_lc_rs::hmac;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use crate::base::text::hex;
use crate::core::functions::connection::Connection;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// A client asks for a session.
    Connect,
    /// It has begun.
    Connected,
    /// A message.
    Message,
    /// It has ended.
    Disconnected,
}

impl EventType {
    /// Its name, which is also `ce-eventName`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Connected => "connected",
            Self::Message => "message",
            Self::Disconnected => "disconnected",
        }
    }

    const fn whose(self) -> &'static str {
        match self {
            Self::Message => "user",
            _ => "sys",
        }
    }
}

/// What the fields of an event are made of.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'e> {
    /// The hub.
    pub hub: &'e str,
    /// Who sends events: what the function allows (`WebHook-Allowed-Origin`).
    pub origin: &'e str,
    /// The session.
    pub connection: &'e Connection,
    /// The user, if the session has one.
    pub user: Option<&'e str>,
    /// What the function stores with the session.
    pub state: Option<&'e str>,
    /// The subprotocol of the session.
    pub subprotocol: Option<&'e str>,
    /// The id of this event; no other of the hub has it.
    pub id: &'e str,
    /// The value of `ce-signature`; see [`signature`].
    pub signature: Option<&'e str>,
    /// When it happened.
    pub time: SystemTime,
}

/// The fields of an event. What cannot stand in a field is percent-encoded, as CloudEvents' binding
/// to HTTP has it (section 3.1.3.2).
pub fn fields(event: EventType, of: Attributes<'_>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    let mut set = |name: &'static str, value: &str| {
        let value = HeaderValue::from_str(&encoded(value)).expect("it is encoded");
        fields.insert(HeaderName::from_static(name), value);
    };
    let id = &of.connection.id;
    set("webhook-request-origin", of.origin);
    set("ce-awpsversion", "1.0");
    set("ce-specversion", "1.0");
    set(
        "ce-type",
        &format!("azure.webpubsub.{}.{}", event.whose(), event.name()),
    );
    set("ce-source", &format!("/hubs/{}/client/{id}", of.hub));
    set("ce-id", of.id);
    set(
        "ce-time",
        &humantime::format_rfc3339_millis(of.time).to_string(),
    );
    set("ce-hub", of.hub);
    set("ce-connectionid", id);
    set("ce-eventname", event.name());
    let optional = [
        ("ce-signature", of.signature),
        ("ce-userid", of.user),
        ("ce-subprotocol", of.subprotocol),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            set(name, value);
        }
    }
    // As it came: what the function has written is what it reads.
    let state = of.state.and_then(|state| HeaderValue::from_str(state).ok());
    if let Some(state) = state {
        fields.insert("ce-connectionstate", state);
    }
    fields
}

/// Printable ASCII but for `"` and `%` stays; all else is percent-encoded.
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;

    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if !matches!(byte, b'"' | b'%') => encoded.push(char::from(byte)),
            _ => write!(encoded, "%{byte:02X}").expect("a String takes everything"),
        }
    }
    encoded
}

/// The value of `ce-signature`: HMAC-SHA256 of the session's id under each access key, as
/// hexadecimal digits.
pub fn signature<'k>(keys: impl Iterator<Item = &'k str>, connection: &str) -> Option<String> {
    let each = keys.map(|key| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        let tag = hmac::sign(&key, connection.as_bytes());
        format!("sha256={}", hex(tag.as_ref()))
    });
    let all: Vec<_> = each.collect();
    (!all.is_empty()).then(|| all.join(","))
}

/// The body of `connect`: claims, query, fields and subprotocols, each a list of texts.
pub fn connect_body(
    claims: Option<&Map<String, Value>>,
    query: &[(String, String)],
    headers: &HeaderMap,
    subprotocols: &[&str],
) -> Vec<u8> {
    let mut listed = BTreeMap::<&str, Vec<String>>::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        listed.entry(name.as_str()).or_default().push(value);
    }
    let mut parameters = BTreeMap::<&str, Vec<&str>>::new();
    for (name, value) in query {
        parameters.entry(name).or_default().push(value);
    }
    let claims = claims.into_iter().flatten();
    let claims = claims.map(|(name, value)| (name.clone(), texts(value)));
    let body = json!({
        "claims": claims.collect::<BTreeMap<_, _>>(),
        "query": parameters,
        "headers": listed,
        "subprotocols": subprotocols,
        "clientCertificates": [],
    });
    body.to_string().into_bytes()
}

fn texts(value: &Value) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match value {
        Value::Array(list) => list.iter().map(text).collect(),
        one => vec![text(one)],
    }
}

/// The body of `disconnected`.
pub fn disconnected_body(reason: &str) -> Vec<u8> {
    json!({ "reason": reason }).to_string().into_bytes()
}

#[cfg(test)]
mod tests;
