//! A published message on its way to sessions, and what became of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::base::group::GroupName;
use crate::base::message::Message;
use crate::base::names::RouteName;
use crate::base::session_id::SessionId;
use crate::base::target::Target;
use crate::core::messages::index::Membership;

/// Most targets of a message.
pub const TARGETS_MAX: usize = 1000;
/// Most exceptions of a message.
pub const EXCEPT_MAX: usize = 1000;
/// Longest id that a publisher gives a message, in bytes.
pub const MESSAGE_ID_MAX: usize = 128;

/// A published message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The publisher's name of it: what is sent again with the same id within a window is not
    /// delivered again.
    pub id: Option<Arc<str>>,
    /// Who gets it; a session that several targets name gets it once.
    pub to: Vec<Target>,
    /// Who of those does not.
    pub except: Vec<Target>,
    /// Which side of each session.
    pub side: Recipient,
    /// The payload.
    pub message: Message,
    /// It is delivered to no session from then on.
    pub expires: Option<SystemTime>,
}

/// A side of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipient {
    /// The client.
    #[default]
    Client,
    /// The backend, which takes it for a message of the client's.
    Backend,
}

/// What became of a message in the sessions that it was for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryCounts {
    /// Sessions whose socket has it.
    pub delivered: u64,
    /// Sessions in whose queue it waits, behind what their client has not taken.
    pub queued: u64,
    /// Sessions that do not get it: the queue is full, the session ends or is being handed over, or
    /// an extension is in force that the gateway does not know.
    pub dropped: u64,
}

impl DeliveryCounts {
    /// Of these and of other sessions.
    pub fn plus(self, other: Self) -> Self {
        Self {
            delivered: self.delivered.saturating_add(other.delivered),
            queued: self.queued.saturating_add(other.queued),
            dropped: self.dropped.saturating_add(other.dropped),
        }
    }
}

/// Who does not get a message, for a quick look at each session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exclusions {
    all: bool,
    sessions: HashSet<SessionId>,
    principals: HashSet<Arc<str>>,
    groups: HashSet<GroupName>,
    routes: HashSet<RouteName>,
}

impl Exclusions {
    /// The sessions of these targets.
    pub fn new(targets: Vec<Target>) -> Self {
        let mut exclusions = Self::default();
        for target in targets {
            match target {
                Target::Session(id) => drop(exclusions.sessions.insert(id)),
                Target::Principal(subject) => drop(exclusions.principals.insert(subject)),
                Target::Group(name) => drop(exclusions.groups.insert(name)),
                Target::Route(name) => drop(exclusions.routes.insert(name)),
                Target::All => exclusions.all = true,
            }
        }
        exclusions
    }

    /// Whether a session is among them. `groups` are those of the session.
    pub fn contains(
        &self,
        id: SessionId,
        principal: Option<&str>,
        route: &str,
        groups: &[Membership],
    ) -> bool {
        let listed = |one: &Membership| self.groups.contains(&one.group);
        self.all
            || self.sessions.contains(&id)
            || principal.is_some_and(|subject| self.principals.contains(subject))
            || self.routes.contains(route)
            || (!self.groups.is_empty() && groups.iter().any(listed))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusions_are_found_by_every_kind_of_target() {
        let id = SessionId::new(1, 2);
        let group = |name: &str| GroupName::parse(name).expect("a name");
        let groups = [
            Membership::for_good(group("a")),
            Membership::for_good(group("b")),
        ];
        for (target, excepted) in [
            (Target::Session(id), true),
            (Target::Session(SessionId::new(1, 3)), false),
            (Target::Principal("ann".into()), true),
            (Target::Principal("bob".into()), false),
            (Target::Group(group("b")), true),
            (Target::Group(group("c")), false),
            (Target::Route("chat".into()), true),
            (Target::Route("room".into()), false),
            (Target::All, true),
        ] {
            let exclusions = Exclusions::new(vec![target.clone()]);
            let found = exclusions.contains(id, Some("ann"), "chat", &groups);
            assert_eq!(found, excepted, "{target}");
            assert!(!exclusions.is_empty());
        }
        assert!(Exclusions::default().is_empty());
    }
}
