//! What is known of a session beyond its facts: how it was placed, what was negotiated, and its
//! moves. Most sessions of a route have the same details and share one value.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::base::names::BackendId;
use crate::core::session::resume::ResumeReason;

/// Moves that are kept: the last ones.
pub const MOVES_MAX: usize = 8;
/// Backends that are kept of a walk: the first ones that were passed over.
pub const PASSED_MAX: usize = 8;
/// Details that are kept for sharing.
const SHARED_MAX: usize = 64;

/// How a session came to its backend, and what happened since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// How its first backend was chosen.
    pub placement: Placement,
    /// Negotiated extensions, as the client got them.
    pub extensions: Option<Box<str>>,
    /// Its changes of backend; the last [`MOVES_MAX`].
    pub moves: Vec<Move>,
    /// The order that it follows, or followed last, to leave its backend.
    pub leaving: Option<Box<Leaving>>,
    /// Messages that were lost up to the last move.
    #[serde(skip_serializing_if = "is_zero")]
    pub lost_before: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// How a backend was chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Placement {
    /// The source of the affinity key, as it is written in the configuration.
    pub key_source: Option<Box<str>>,
    /// The key is not shown: it may be a credential.
    pub key_hidden: bool,
    /// The key was made by the gateway, which set a cookie with it.
    pub cookie_issued: bool,
    /// How.
    pub choice: Choice,
    /// The backends that were passed over; the first [`PASSED_MAX`].
    pub passed: Vec<PassedOver>,
    /// How many more were passed over.
    pub passed_more: u32,
    /// Where the backend is among the levels of its upstream; none if there is one level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<PlacedLevel>,
}

/// The level of a backend at the time of a placement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct PlacedLevel {
    /// The backend's zone.
    pub zone: Option<Box<str>>,
    /// The backend's priority.
    pub priority: u8,
    /// Why it is not of the first level; none if it is.
    pub spilled: Option<SpillTo>,
}

/// Where a session is that is not at a backend of the first level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpillTo {
    /// In another zone than the node's.
    Zone,
    /// At a backend of a higher priority number.
    Priority,
}

impl SpillTo {
    /// The name that metrics and the admin API show.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zone => "zone",
            Self::Priority => "priority",
        }
    }
}

/// How a backend was chosen, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// An older process placed the session and did not send this.
    #[default]
    Unknown,
    /// The first of the policy's order.
    FirstChoice,
    /// A later one, because others were passed over.
    Walk,
    /// The backend of a live session with the same key (`stick = "live"`).
    Stick,
    /// There is no backend: the gateway itself is at its place.
    Gateway,
    /// The backend that the fleet keeps for the key.
    Fleet,
}

/// A backend that was passed over.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PassedOver {
    /// Which.
    pub backend: BackendId,
    /// Why, in one word.
    pub reason: Box<str>,
}

/// A change of backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Move {
    /// The backend that was left.
    pub from: BackendId,
    /// The next one.
    pub to: BackendId,
    /// Why.
    pub reason: ResumeReason,
    /// The operator who ordered it, if one did.
    pub by: Option<Arc<str>>,
    /// When the next one took over.
    pub at: SystemTime,
    /// Messages of the client that were lost with the backend that was left.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub messages_lost: u64,
}

/// An order to leave a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Leaving {
    /// Why.
    pub reason: ResumeReason,
    /// The operator who gave it, if one did.
    pub by: Option<Arc<str>>,
    /// The backend to try first.
    pub to: Option<BackendId>,
}

impl Choice {
    /// As the admin API shows it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::FirstChoice => "first_choice",
            Self::Walk => "walk",
            Self::Stick => "stick",
            Self::Gateway => "gateway",
            Self::Fleet => "fleet",
        }
    }
}

impl Placement {
    /// Notes a backend that was passed over.
    pub fn pass(&mut self, backend: BackendId, reason: &str) {
        if self.passed.len() < PASSED_MAX {
            let reason = reason.into();
            self.passed.push(PassedOver { backend, reason });
        } else {
            self.passed_more = self.passed_more.saturating_add(1);
        }
    }
}

impl Details {
    /// The order that a move for this reason follows.
    pub fn order(&self, reason: ResumeReason) -> Option<&Leaving> {
        let leaving = self.leaving.as_deref();
        leaving.filter(|leaving| leaving.reason == reason)
    }

    /// Notes a change of backend, and that no order is under way any more; `lost` messages were
    /// lost since the session began.
    pub fn moved(&mut self, mut moved: Move, lost: u64) {
        moved.messages_lost = lost.saturating_sub(self.lost_before);
        self.lost_before = lost;
        if self.moves.len() == MOVES_MAX {
            self.moves.remove(0);
        }
        self.moves.push(moved);
        self.leaving = None;
    }
}

/// Details that sessions share.
#[derive(Debug, Default)]
pub struct SharedDetails(HashSet<Arc<Details>>);

impl SharedDetails {
    /// The shared value, if these details are likely to be those of other sessions.
    pub fn share(&mut self, details: Details) -> Arc<Details> {
        let ordinary = details.moves.is_empty() && details.placement.passed.is_empty();
        if !ordinary || details.leaving.is_some() {
            return Arc::new(details);
        }
        if let Some(known) = self.0.get(&details) {
            return Arc::clone(known);
        }
        if self.0.len() >= SHARED_MAX {
            self.0.clear();
        }
        let new = Arc::new(details);
        self.0.insert(Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(source: &str) -> Details {
        Details {
            placement: Placement {
                key_source: Some(source.into()),
                choice: Choice::FirstChoice,
                ..Placement::default()
            },
            ..Details::default()
        }
    }

    fn moved(to: &str) -> Move {
        Move {
            from: "a".into(),
            to: to.into(),
            reason: ResumeReason::Draining,
            by: None,
            at: SystemTime::UNIX_EPOCH,
            messages_lost: 0,
        }
    }

    #[test]
    fn ordinary_sessions_share_their_details() {
        let mut shared = SharedDetails::default();
        let one = shared.share(placed("claim:sub"));
        assert!(Arc::ptr_eq(&one, &shared.share(placed("claim:sub"))));
        assert!(!Arc::ptr_eq(&one, &shared.share(placed("path:room"))));
        let mut walked = placed("claim:sub");
        walked.placement.pass("b".into(), "unhealthy");
        let own = shared.share(walked.clone());
        assert!(!Arc::ptr_eq(&own, &shared.share(walked)));
    }

    #[test]
    fn i8_shared_details_are_bounded() {
        let mut shared = SharedDetails::default();
        for number in 0..10 * SHARED_MAX {
            shared.share(placed(&number.to_string()));
            assert!(shared.0.len() <= SHARED_MAX);
        }
    }

    #[test]
    fn i8_walks_and_moves_are_bounded() {
        let mut details = placed("claim:sub");
        for number in 0..MOVES_MAX + 2 {
            // Two more are lost with each backend.
            details.moved(moved(&number.to_string()), 2 * (number as u64 + 1));
            details.placement.pass("b".into(), "full");
        }
        assert_eq!(details.moves.len(), MOVES_MAX);
        let last = details.moves.last().map(|last| last.to.as_str());
        assert_eq!((details.moves[0].to.as_str(), last), ("2", Some("9")));
        assert!(details.moves.iter().all(|moved| moved.messages_lost == 2));
        let placement = &details.placement;
        assert_eq!((placement.passed.len(), placement.passed_more), (8, 2));
    }

    #[test]
    fn an_order_belongs_to_moves_for_its_reason() {
        let mut details = placed("claim:sub");
        details.leaving = Some(Box::new(Leaving {
            reason: ResumeReason::Moved,
            by: Some("alice".into()),
            to: None,
        }));
        assert!(details.order(ResumeReason::BackendLost).is_none());
        assert!(details.order(ResumeReason::Moved).is_some());
        details.moved(moved("b"), 0);
        assert!(details.order(ResumeReason::Moved).is_none(), "it is done");
    }

    #[test]
    fn details_of_a_later_version_are_read_as_far_as_they_are_known() {
        let text = r#"{"extensions":"x","news":1,"placement":{"choice":"stick","more":[]}}"#;
        let read: Details = serde_json::from_str(text).expect("unknown fields are skipped");
        assert_eq!(read.placement.choice, Choice::Stick);
        assert_eq!(read.extensions.as_deref(), Some("x"));
    }
}
