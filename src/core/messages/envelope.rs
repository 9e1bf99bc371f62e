//! A published message as gateways send it to one another through a broker: a line of JSON that
//! says what it is, then the payload.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::base::message::Message;
use crate::base::target::Target;
use crate::core::messages::delivery::{EXCEPT_MAX, Publication, Recipient, TARGETS_MAX};

/// Version of the format. A gateway drops what it does not know, and counts it.
const VERSION: u32 = 1;
/// Longest id, which begins with the publisher's name, in bytes.
const ID_MAX: usize = 512;
/// Longest line of JSON, in bytes.
const HEAD_MAX: usize = 4 << 20;

/// A message and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The process that took it from its publisher. It has delivered to its own sessions already.
    pub from: Arc<str>,
    /// The message.
    pub publication: Publication,
}

/// What came is no envelope.
#[derive(Debug, thiserror::Error)]
pub enum NotAnEnvelope {
    /// The line is missing or too long.
    #[error("it does not begin with a line that describes it")]
    Head,
    /// The line is not understood.
    #[error("its description is not understood: {0}")]
    Json(#[from] serde_json::Error),
    /// Another version wrote it.
    #[error("it is of version {0}, this gateway reads version {VERSION}")]
    Version(u32),
    /// A text message that is no text.
    #[error("its text is not UTF-8")]
    Text,
    /// Beyond the bounds.
    #[error("it has too many targets, or its id is too long")]
    Bounds,
}

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    from: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Arc<str>>,
    to: Vec<Target>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    except: Vec<Target>,
    #[serde(default)]
    side: Recipient,
    binary: bool,
    /// Milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
}

impl Envelope {
    /// As it is carried.
    pub fn encode(&self) -> Vec<u8> {
        let publication = &self.publication;
        let since_1970 = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).ok();
        let millis = |since: Duration| u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let (binary, payload) = match &publication.message {
            Message::Text(text) => (false, text.as_bytes()),
            Message::Binary(bytes) => (true, &bytes[..]),
        };
        let head = Head {
            version: VERSION,
            from: Arc::clone(&self.from),
            id: publication.id.clone(),
            to: publication.to.clone(),
            except: publication.except.clone(),
            side: publication.side,
            binary,
            expires: publication.expires.and_then(since_1970).map(millis),
        };
        let mut bytes = serde_json::to_vec(&head).expect("plain data serialises");
        bytes.push(b'\n');
        bytes.extend_from_slice(payload);
        bytes
    }

    /// Reads what a broker carried, which anyone with access to it may have written.
    ///
    /// # Errors
    /// When it is no envelope, or one beyond the bounds.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotAnEnvelope> {
        let line = memchr::memchr(b'\n', &bytes[..bytes.len().min(HEAD_MAX)]);
        let line = line.ok_or(NotAnEnvelope::Head)?;
        let head: Head = serde_json::from_slice(&bytes[..line])?;
        if head.version != VERSION {
            return Err(NotAnEnvelope::Version(head.version));
        }
        let short = |id: &Arc<str>| id.len() <= ID_MAX;
        let bounded = head.to.len() <= TARGETS_MAX && head.except.len() <= EXCEPT_MAX;
        if !bounded || !head.id.as_ref().is_none_or(short) || !short(&head.from) {
            return Err(NotAnEnvelope::Bounds);
        }
        let payload = &bytes[line + 1..];
        let message = match head.binary {
            true => Message::Binary(payload.into()),
            false => {
                let text = std::str::from_utf8(payload).map_err(|_| NotAnEnvelope::Text)?;
                Message::Text(text.into())
            }
        };
        let at = |millis| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis));
        Ok(Self {
            from: head.from,
            publication: Publication {
                id: head.id,
                to: head.to,
                except: head.except,
                side: head.side,
                message,
                expires: head.expires.and_then(at),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target() -> impl Strategy<Value = Target> {
        prop_oneof![
            any::<u128>()
                .prop_map(|id| Target::Session(crate::base::session_id::SessionId::new(7, id))),
            "[^\\p{Cc}]{1,20}".prop_map(|text| Target::Principal(text.into())),
            "[^\\p{Cc}]{1,20}".prop_map(|text| format!("group:{text}").parse().expect("a group")),
            Just(Target::All),
        ]
    }

    proptest! {
        #[test]
        fn what_is_sent_arrives(
            to in prop::collection::vec(target(), 0..5),
            except in prop::collection::vec(target(), 0..3),
            payload in prop::collection::vec(any::<u8>(), 0..200),
            text in ".{0,50}",
            binary in any::<bool>(),
            id in prop::option::of("[a-z\n\"]{1,20}"),
            expires in prop::option::of(0_u64..10_000_000_000_000),
        ) {
            let message = match binary {
                true => Message::Binary(payload.into()),
                false => Message::Text(text.into()),
            };
            let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
            let envelope = Envelope {
                from: "edge-1".into(),
                publication: Publication {
                    id: id.map(Into::into),
                    to,
                    except,
                    side: Recipient::Backend,
                    message,
                    expires: expires.map(at),
                },
            };
            let came = Envelope::decode(&envelope.encode()).expect("an envelope");
            prop_assert_eq!(came, envelope);
        }

        /// I12: whatever a stranger puts into the broker is read or refused.
        #[test]
        fn i12_nonsense_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Envelope::decode(&bytes).is_err());
        }
    }

    #[test]
    fn i12_bounds_hold_for_what_a_broker_carries() {
        let line = |to: &str| {
            format!("{{\"version\":1,\"from\":\"x\",\"to\":[{to}],\"binary\":false}}\nhi")
        };
        assert!(Envelope::decode(line("\"all\"").as_bytes()).is_ok());
        let many = vec!["\"all\""; TARGETS_MAX + 1].join(",");
        let refused = Envelope::decode(line(&many).as_bytes());
        assert!(matches!(refused, Err(NotAnEnvelope::Bounds)), "{refused:?}");
        let newer = line("\"all\"").replace("\"version\":1", "\"version\":2");
        assert!(matches!(
            Envelope::decode(newer.as_bytes()),
            Err(NotAnEnvelope::Version(2))
        ));
        let text = [line("\"all\"").as_bytes(), &[0xFF]].concat();
        assert!(matches!(Envelope::decode(&text), Err(NotAnEnvelope::Text)));
    }
}
