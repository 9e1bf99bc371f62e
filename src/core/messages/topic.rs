//! What a broker is asked to carry a message under. A gateway subscribes only to the topics of its
//! own sessions; the envelope names the exact targets, so a topic may be coarser than a target.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::base::group::GroupName;
use crate::base::target::Target;

/// Longest principal that is written out in a key; longer ones are digested.
const WRITTEN_MAX: usize = 128;

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// All gateways of the fleet: messages to sessions, routes and everyone.
    Fleet,
    /// One gateway, by the id of its process.
    Node(Arc<str>),
    /// The gateways with sessions of this group.
    Group(GroupName),
    /// The gateways with sessions of this principal.
    Principal(Arc<str>),
    /// Not the gateways' own: a name as the broker has it (a subject, channel, routing key or
    /// topic), under which other services publish.
    Foreign(Arc<str>),
}

impl Topic {
    /// The topic under which a broker carries messages to this target.
    pub fn of(target: &Target) -> Self {
        match target {
            Target::Group(name) => Self::Group(name.clone()),
            Target::Principal(subject) => Self::Principal(Arc::clone(subject)),
            Target::Session(_) | Target::Route(_) | Target::All => Self::Fleet,
        }
    }

    /// The topic within the gateways' own names, in characters that every broker takes as they are:
    /// `fleet`, `node.ID`, `group.NAME`, `principal.NAME`, the names in base64url. At most 200
    /// bytes. `None` for a name of the broker's.
    pub fn key(&self) -> Option<String> {
        Some(match self {
            Self::Fleet => "fleet".to_owned(),
            Self::Node(id) => format!("node.{}", part(id)),
            Self::Group(name) => format!("group.{}", part(name.as_str())),
            Self::Principal(name) => format!("principal.{}", part(name)),
            Self::Foreign(_) => return None,
        })
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet => f.write_str("the fleet"),
            Self::Node(id) => write!(f, "node {id}"),
            Self::Group(name) => write!(f, "group {name}"),
            Self::Principal(name) => write!(f, "principal {name}"),
            Self::Foreign(name) => f.write_str(name),
        }
    }
}

/// A name in base64url, or the first half of its SHA-256 where it is too long: two names that
/// share a digest share a topic, which costs traffic and delivers nothing wrong.
fn part(name: &str) -> String {
    if name.len() <= WRITTEN_MAX {
        return URL_SAFE_NO_PAD.encode(name);
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
    // `.` is in no base64, so that no written name equals it.
    format!("sha256.{}", URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_short_plain_and_distinct() {
        let group = |name: &str| Topic::Group(GroupName::parse(name).expect("a name"));
        let principal = |name: &str| Topic::Principal(name.into());
        let long = "x".repeat(4000);
        let topics = [
            Topic::Fleet,
            Topic::Node("edge-1".into()),
            group("edge-1"),
            group("a.b *>#/"),
            principal("edge-1"),
            principal(&long),
            principal(&format!("{long}x")),
        ];
        let keys: Vec<_> = topics.iter().filter_map(Topic::key).collect();
        assert_eq!(keys.len(), topics.len());
        for (place, key) in keys.iter().enumerate() {
            assert!(key.len() <= 200, "{key}");
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            assert!(key.bytes().all(plain), "{key}");
            assert!(!keys[..place].contains(key), "{key}");
        }
        assert_eq!(Topic::Foreign("chat.7".into()).key(), None);
    }
}
