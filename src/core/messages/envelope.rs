//! What gateways send one another through a broker: a line of JSON that says what it is, and behind
//! it the payload if it is a published message.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::base::message::Message;
use crate::base::target::Target;
use crate::core::messages::delivery::{EXCEPT_MAX, Publication, Recipient, TARGETS_MAX};
use crate::core::messages::signal::Signal;

/// Version of the format. A gateway drops what it does not know, and counts it.
const VERSION: u32 = 1;
/// Longest id, which begins with the publisher's name, in bytes.
const ID_MAX: usize = 512;
/// Longest line of JSON, in bytes.
const HEAD_MAX: usize = 4 << 20;

/// What is sent, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The process that sent it. It has delivered a message to its own sessions already.
    pub from: Arc<str>,
    /// What it is.
    pub content: Content,
}

/// What gateways send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A published message.
    Message {
        /// The message.
        publication: Publication,
        /// The number of the question what becomes of it, where its publisher waits for that.
        ask: Option<u64>,
    },
    /// Anything else.
    Signal(Signal),
}

/// What came is no envelope.
#[derive(Debug, thiserror::Error)]
pub enum NotAnEnvelope {
    /// The line is missing or too long.
    #[error("it does not begin with a line that describes it")]
    Head,
    /// The line is not understood.
    #[error("its description cannot be parsed: {0}")]
    Json(#[from] serde_json::Error),
    /// Another version wrote it.
    #[error("it is of version {0}, this gateway reads version {VERSION}")]
    Version(u32),
    /// A text message that is no text.
    #[error("its text is not UTF-8")]
    Text,
    /// Beyond the bounds.
    #[error("it has too many targets or none, or a text in it is too long")]
    Bounds,
}

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    from: Arc<str>,
    /// Where it is no message; the fields below are absent then. A gateway that does not know
    /// signals finds no targets and drops it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signal: Option<Signal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ask: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    to: Vec<Target>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    except: Vec<Target>,
    #[serde(default, skip_serializing_if = "is_client")]
    side: Recipient,
    #[serde(default)]
    binary: bool,
    /// Milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_client(side: &Recipient) -> bool {
    *side == Recipient::Client
}

impl Head {
    fn new(from: &Arc<str>) -> Self {
        Self {
            version: VERSION,
            from: Arc::clone(from),
            signal: None,
            ask: None,
            id: None,
            to: Vec::new(),
            except: Vec::new(),
            side: Recipient::Client,
            binary: false,
            expires: None,
        }
    }
}

impl Envelope {
    /// As it is carried.
    pub fn encode(&self) -> Vec<u8> {
        let (publication, ask) = match &self.content {
            Content::Message { publication, ask } => (publication, *ask),
            Content::Signal(signal) => {
                let head = Head {
                    signal: Some(signal.clone()),
                    ..Head::new(&self.from)
                };
                return line(&head);
            }
        };
        let since_1970 = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).ok();
        let millis = |since: Duration| u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let (binary, payload) = match &publication.message {
            Message::Text(text) => (false, text.as_bytes()),
            Message::Binary(bytes) => (true, &bytes[..]),
        };
        let head = Head {
            ask,
            id: publication.id.clone(),
            to: publication.to.clone(),
            except: publication.except.clone(),
            side: publication.side,
            binary,
            expires: publication.expires.and_then(since_1970).map(millis),
            ..Head::new(&self.from)
        };
        let mut bytes = line(&head);
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
        if let Some(signal) = head.signal {
            return match short(&head.from) && signal.is_bounded() {
                true => Ok(Self {
                    from: head.from,
                    content: Content::Signal(signal),
                }),
                false => Err(NotAnEnvelope::Bounds),
            };
        }
        let bounded = (1..=TARGETS_MAX).contains(&head.to.len()) && head.except.len() <= EXCEPT_MAX;
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
        let publication = Publication {
            id: head.id,
            to: head.to,
            except: head.except,
            side: head.side,
            message,
            expires: head.expires.and_then(at),
        };
        Ok(Self {
            from: head.from,
            content: Content::Message {
                publication,
                ask: head.ask,
            },
        })
    }
}

fn line(head: &Head) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(head).expect("plain data serialises");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::group::GroupName;
    use crate::base::session_id::SessionId;
    use crate::core::messages::delivery::DeliveryCounts;
    use crate::core::messages::member::MembersPage;
    use crate::core::messages::signal::{Answer, Found, Question};

    fn target() -> impl Strategy<Value = Target> {
        prop_oneof![
            any::<u128>().prop_map(|id| Target::Session(SessionId::new(7, id))),
            "[^\\p{Cc}]{1,20}".prop_map(|text| Target::Principal(text.into())),
            "[^\\p{Cc}]{1,20}".prop_map(|text| format!("group:{text}").parse().expect("a group")),
            Just(Target::All),
        ]
    }

    proptest! {
        #[test]
        fn what_is_sent_arrives(
            to in prop::collection::vec(target(), 1..5),
            except in prop::collection::vec(target(), 0..3),
            payload in prop::collection::vec(any::<u8>(), 0..200),
            text in ".{0,50}",
            binary in any::<bool>(),
            id in prop::option::of("[a-z\n\"]{1,20}"),
            expires in prop::option::of(0_u64..10_000_000_000_000),
            ask in prop::option::of(any::<u64>()),
        ) {
            let message = match binary {
                true => Message::Binary(payload.into()),
                false => Message::Text(text.into()),
            };
            let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
            let publication = Publication {
                id: id.map(Into::into),
                to,
                except,
                side: Recipient::Backend,
                message,
                expires: expires.map(at),
            };
            let envelope = Envelope {
                from: "edge-1".into(),
                content: Content::Message { publication, ask },
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

    fn signals() -> Vec<Signal> {
        let id = SessionId::new(1, 2);
        let group = GroupName::parse("lobby").expect("a name");
        let to = vec![Target::Group(group.clone()), Target::Principal("7".into())];
        let question = |question| Signal::Question { ask: 7, question };
        let answer = |answer| Signal::Answer { ask: 7, answer };
        let found = Found {
            granted_ms: 1,
            active_ms: 2,
            client: "192.0.2.1:1".into(),
        };
        vec![
            Signal::Hello {
                name: "edge".into(),
            },
            Signal::Alive {
                name: "edge".into(),
            },
            Signal::Goodbye,
            Signal::Census { ask: 7, to },
            question(Question::Find { id }),
            question(Question::Leave { id, group }),
            answer(Answer::NotHere),
            answer(Answer::Found(found)),
            answer(Answer::Counts {
                counts: DeliveryCounts::default(),
                unanswered: 1,
            }),
            answer(Answer::Members(MembersPage::default())),
        ]
    }

    #[test]
    fn signals_arrive_and_other_versions_drop_them() {
        /// What a gateway without signals requires.
        #[derive(Debug, Deserialize)]
        struct OldHead {
            #[allow(dead_code, reason = "it is required, not read")]
            to: Vec<Target>,
        }
        for signal in signals() {
            let envelope = Envelope {
                from: "edge-1".into(),
                content: Content::Signal(signal),
            };
            let bytes = envelope.encode();
            assert_eq!(Envelope::decode(&bytes).expect("an envelope"), envelope);
            assert!(serde_json::from_slice::<OldHead>(&bytes).is_err());
            let text = String::from_utf8(bytes).expect("JSON");
            let newer = text.replace("\"kind\":\"", "\"kind\":\"newer_");
            let refused = Envelope::decode(newer.as_bytes());
            assert!(
                matches!(refused, Err(NotAnEnvelope::Json(_))),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn i12_bounds_hold_for_signals() {
        let decode = |signal| {
            let content = Content::Signal(signal);
            let from = "edge-1".into();
            Envelope::decode(&Envelope { from, content }.encode())
        };
        let long: Arc<str> = "x".repeat(ID_MAX + 1).into();
        let to = vec![Target::Principal("7".into()); TARGETS_MAX + 1];
        let question = Question::Close {
            id: SessionId::new(1, 2),
            by: Arc::clone(&long),
            with: None,
        };
        for signal in [
            Signal::Alive { name: long },
            Signal::Census { ask: 1, to },
            Signal::Question { ask: 1, question },
        ] {
            let refused = decode(signal);
            assert!(matches!(refused, Err(NotAnEnvelope::Bounds)), "{refused:?}");
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
