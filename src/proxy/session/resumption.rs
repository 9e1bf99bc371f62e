//! What a session keeps so that its handshake can be repeated with another backend.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::config::snapshot::Reconnect;
use crate::core::wire::extension;
use crate::proxy::backend::dial::ConnectionAddresses;

/// What is needed to repeat a handshake. Only sessions of routes with `reconnect` keep this.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resumption {
    /// Path and query, as the first backend saw them.
    pub(crate) target: Box<str>,
    /// Fields as the first backend saw them, a line each: a map would be several times as big.
    #[serde(with = "crate::base::blob")]
    head: Vec<u8>,
    #[serde(rename = "ends")]
    pub(crate) addresses: ConnectionAddresses,
    /// The extensions that the client was granted.
    pub(crate) terms: Box<str>,
    pub(crate) bounds: Reconnect,
}

impl Resumption {
    /// What is kept of a handshake that was granted.
    pub(crate) fn new(
        target: &str,
        fields: &HeaderMap,
        addresses: ConnectionAddresses,
        answer: &[HeaderValue],
        bounds: Reconnect,
    ) -> Self {
        let mut head = Vec::new();
        for (name, value) in fields {
            head.extend_from_slice(name.as_str().as_bytes());
            head.push(b':');
            head.extend_from_slice(value.as_bytes());
            head.push(b'\n');
        }
        head.shrink_to_fit();
        Self {
            target: target.into(),
            head,
            addresses,
            terms: extension::terms(answer).into(),
            bounds,
        }
    }

    /// Most bytes that are held for the next backend.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.bounds.buffer_bytes
    }

    /// The fields of the first handshake.
    pub(crate) fn fields(&self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for line in self.head.split(|byte| *byte == b'\n') {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                continue;
            };
            let name = HeaderName::from_bytes(&line[..colon]);
            let value = HeaderValue::from_bytes(&line[colon + 1..]);
            if let (Ok(name), Ok(value)) = (name, value) {
                fields.append(name, value);
            }
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn fields_and_hand_over_form_survive_the_round_trip() {
        let mut fields = HeaderMap::new();
        for (name, value) in [("host", "a"), ("cookie", "x=1: 2"), ("cookie", "y=é")] {
            fields.append(
                name,
                HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
            );
        }
        let bounds = Reconnect {
            attempts: 3,
            timeout: Duration::from_secs(1),
            buffer_bytes: 64,
        };
        let addresses = ConnectionAddresses {
            client: None,
            local: None,
        };
        let resumption = Resumption::new("/ws?a=1", &fields, addresses, &[], bounds);
        assert_eq!(resumption.fields(), fields);
        let sent = serde_json::to_string(&resumption).expect("plain data");
        // Older processes read this form too.
        assert!(sent.contains("\"ends\""), "{sent}");
        let received: Resumption = serde_json::from_str(&sent).expect("its own form");
        assert_eq!((received.fields(), &*received.target), (fields, "/ws?a=1"));
    }
}
