//! Who sends a message, and the message as the broker gets it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::io::broker::PAYLOAD_MAX;

/// Of a message and its headers. Kafka takes no more with its default settings.
const MESSAGE_MAX: usize = 1_000_000;

/// Who sends, under which name, and what becomes of messages that the broker does not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sender {
    /// As the broker has it.
    pub name: Arc<str>,
    /// The session.
    pub session: String,
    /// Its route.
    pub route: String,
    /// Its principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Arc<str>>,
    /// The groups that it joined at its beginning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Whether the payload is put into JSON together with the sender, for brokers without headers.
    pub envelope: bool,
    /// How long a message waits for a broker that takes none.
    pub wait: Duration,
    /// Whether the session goes on when the broker does not get a message.
    pub drops: bool,
}

/// A message as it is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientPayload {
    #[serde(with = "as_blob")]
    pub(super) payload: Bytes,
    pub(super) headers: Vec<(String, String)>,
}

/// With its sender, a message is larger than brokers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl Sender {
    /// The largest message that may fit into what brokers take.
    pub fn message_max(&self) -> usize {
        let beside = match self.envelope {
            true => self.enveloped(true, b"").len(),
            false => {
                let headers = self.headers(true).into_iter();
                headers
                    .map(|(name, value)| name.len() + value.len() + 4)
                    .sum()
            }
        };
        MESSAGE_MAX.saturating_sub(beside)
    }

    /// The message with its sender.
    ///
    /// # Errors
    /// When the envelope does not fit.
    pub fn encode(&self, is_text: bool, payload: Vec<u8>) -> Result<ClientPayload, TooLarge> {
        let (payload, headers) = match self.envelope {
            true => (self.enveloped(is_text, &payload), Vec::new()),
            false => (payload, self.headers(is_text)),
        };
        (payload.len() <= PAYLOAD_MAX)
            .then(|| ClientPayload {
                payload: payload.into(),
                headers,
            })
            .ok_or(TooLarge)
    }

    fn headers(&self, is_text: bool) -> Vec<(String, String)> {
        let kind = if is_text { "text" } else { "binary" };
        let subject = self.principal.as_deref();
        let groups: Vec<_> = self.groups.iter().map(|one| escaped(one, true)).collect();
        let groups = Some(groups.join(",")).filter(|_| !self.groups.is_empty());
        let fields = [
            ("Sessile-Session", Some(self.session.clone())),
            ("Sessile-Route", Some(escaped(&self.route, false))),
            ("Sessile-Subject", subject.map(|one| escaped(one, false))),
            ("Sessile-Groups", groups),
            ("Sessile-Message-Type", Some(kind.to_owned())),
        ];
        let fields = fields.into_iter();
        let fields = fields.filter_map(|(name, value)| Some((name.to_owned(), value?)));
        fields.collect()
    }

    fn enveloped(&self, is_text: bool, payload: &[u8]) -> Vec<u8> {
        let mut envelope = json!({
            "session": self.session,
            "route": self.route,
            "principal": self.principal,
            "groups": self.groups,
        });
        match std::str::from_utf8(payload).ok().filter(|_| is_text) {
            Some(text) => envelope["text"] = json!(text),
            None => envelope["base64"] = json!(STANDARD.encode(payload)),
        }
        envelope.to_string().into_bytes()
    }
}

/// A value as it can stand in a header: what would end it, or separate two of a list, and `%` are
/// percent-encoded.
fn escaped(value: &str, in_list: bool) -> String {
    let mut text = String::with_capacity(value.len());
    for letter in value.chars() {
        match letter.is_control() || letter == '%' || (in_list && letter == ',') {
            true => {
                let mut bytes = [0; 4];
                let bytes = letter.encode_utf8(&mut bytes).bytes();
                bytes.for_each(|byte| text.push_str(&format!("%{byte:02X}")));
            }
            false => text.push(letter),
        }
    }
    text
}

/// `Bytes` as other blobs of a hand-over are written.
mod as_blob {
    use bytes::Bytes;
    use serde::{Deserializer, Serializer};

    use crate::base::blob;

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        blob::serialize(bytes, to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        blob::deserialize(from).map(Into::into)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::io::broker::outlet) fn sender(envelope: bool) -> Sender {
        Sender {
            name: "in.7".into(),
            session: "S1".to_owned(),
            route: "chat".to_owned(),
            principal: Some("ann\r\nPUB x".into()),
            groups: vec!["a,b".to_owned(), "größe".to_owned()],
            envelope,
            wait: Duration::from_secs(10),
            drops: false,
        }
    }

    #[test]
    fn i12_headers_hold_nothing_that_ends_them() {
        let headers = sender(false).headers(true);
        let value = |name: &str| {
            let found = headers.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(value("Sessile-Subject"), Some("ann%0D%0APUB x"));
        assert_eq!(value("Sessile-Groups"), Some("a%2Cb,größe"));
        assert_eq!(value("Sessile-Session"), Some("S1"));
        assert_eq!(value("Sessile-Message-Type"), Some("text"));
        assert_eq!(escaped("100%, a", false), "100%25, a");
    }

    #[test]
    fn an_envelope_has_the_payload_and_its_sender() {
        let read = |is_text, payload: &[u8]| -> serde_json::Value {
            let message = sender(true).encode(is_text, payload.to_vec());
            let message = message.expect("it fits");
            assert_eq!(message.headers, []);
            serde_json::from_slice(&message.payload).expect("JSON")
        };
        let text = read(true, "größe".as_bytes());
        assert_eq!(text["text"], "größe");
        assert_eq!(text["principal"], "ann\r\nPUB x");
        assert_eq!(text["groups"], json!(["a,b", "größe"]));
        let binary = read(false, b"text");
        assert_eq!(binary["base64"], json!("dGV4dA=="));
        assert_eq!(binary["text"], json!(null));
    }

    #[test]
    fn i8_messages_and_their_senders_fit_into_what_brokers_take() {
        let most = sender(false).message_max();
        assert!(most < MESSAGE_MAX && most > MESSAGE_MAX - 400, "{most}");
        let whole = sender(false).encode(false, vec![0; most]);
        assert_eq!(whole.expect("it fits").payload.len(), most);
        // Control characters take six bytes each in JSON.
        let most = sender(true).message_max();
        assert!(sender(true).encode(true, vec![b'x'; most]).is_ok());
        assert_eq!(sender(true).encode(true, vec![1; most]), Err(TooLarge));
    }
}
