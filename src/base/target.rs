//! Who a message is for.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::base::group::{GroupName, NotAGroupName};
use crate::base::names::RouteName;
use crate::base::session_id::{NotASessionId, SessionId};

/// Longest subject of a principal, in bytes.
pub const PRINCIPAL_MAX: usize = 1024;
/// Longest name of a route, in bytes.
const ROUTE_MAX: usize = 256;

/// Some sessions: one, those of a principal, a group or a route, or all.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// `session:ID`
    Session(SessionId),
    /// `principal:SUBJECT`
    Principal(Arc<str>),
    /// `group:NAME`
    Group(GroupName),
    /// `route:NAME`
    Route(RouteName),
    /// `all`
    All,
}

/// The text names no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotATarget {
    /// It begins with no known kind.
    #[error("a target is `session:ID`, `principal:SUBJECT`, `group:NAME`, `route:NAME` or `all`")]
    Kind,
    /// The id is none.
    #[error(transparent)]
    Session(#[from] NotASessionId),
    /// The group is none.
    #[error(transparent)]
    Group(#[from] NotAGroupName),
    /// The subject is none.
    #[error("a principal is 1 to 1024 bytes of text without control characters")]
    Principal,
    /// The route is none.
    #[error("the name of a route is 1 to 256 bytes of text without control characters")]
    Route,
}

impl FromStr for Target {
    type Err = NotATarget;

    fn from_str(text: &str) -> Result<Self, NotATarget> {
        if text == "all" {
            return Ok(Self::All);
        }
        let (kind, name) = text.split_once(':').ok_or(NotATarget::Kind)?;
        Ok(match kind {
            "session" => Self::Session(name.parse()?),
            "principal" if is_name(name, PRINCIPAL_MAX) => Self::Principal(name.into()),
            "principal" => return Err(NotATarget::Principal),
            "group" => Self::Group(GroupName::parse(name)?),
            "route" if is_name(name, ROUTE_MAX) => Self::Route(name.into()),
            "route" => return Err(NotATarget::Route),
            _ => return Err(NotATarget::Kind),
        })
    }
}

fn is_name(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && !text.chars().any(char::is_control)
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(id) => write!(f, "session:{id}"),
            Self::Principal(subject) => write!(f, "principal:{subject}"),
            Self::Group(name) => write!(f, "group:{name}"),
            Self::Route(name) => write!(f, "route:{name}"),
            Self::All => f.write_str("all"),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_written_alike() {
        for text in [
            "session:01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "principal:7",
            "principal:https://issuer.example/ann:1",
            "group:room:lobby",
            "route:chat",
            "all",
        ] {
            let target: Target = text.parse().expect(text);
            assert_eq!(target.to_string(), text);
        }
    }

    #[test]
    fn i12_what_is_no_target_is_refused() {
        let long = format!("principal:{}", "x".repeat(PRINCIPAL_MAX + 1));
        for (text, error) in [
            ("", NotATarget::Kind),
            ("everyone", NotATarget::Kind),
            ("user:7", NotATarget::Kind),
            ("ALL", NotATarget::Kind),
            ("session:7", NotATarget::Session(NotASessionId)),
            ("group:", NotATarget::Group(NotAGroupName)),
            ("principal:", NotATarget::Principal),
            ("principal:a\r\nb", NotATarget::Principal),
            (&long, NotATarget::Principal),
            ("route:", NotATarget::Route),
        ] {
            assert_eq!(text.parse::<Target>(), Err(error), "{text:?}");
        }
    }
}
