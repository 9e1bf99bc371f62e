//! What gateways send one another beside messages: signs of life, questions about sessions, and
//! answers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::group::GroupName;
use crate::base::metadata::Metadata;
use crate::base::session_id::SessionId;
use crate::base::target::Target;
use crate::core::messages::delivery::{DeliveryCounts, TARGETS_MAX};
use crate::core::messages::group_counts::{GROUPS_MAX, GroupCounts};
use crate::core::messages::member::MembersPage;
use crate::core::messages::presence::{ITEMS_MAX, Part};

/// Most members in one answer.
pub const MEMBERS_MAX: usize = 1001;
/// Most groups in one signal.
pub const WATCHED_MAX: usize = 500;
/// Longest text in a signal, in bytes.
const TEXT_MAX: usize = 512;

/// How a session is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseWith {
    /// The code of the close frame.
    pub code: u16,
    /// Its reason.
    pub reason: Arc<str>,
}

/// A signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Signal {
    /// The node begins, or is connected again. The others answer with `Alive`.
    Hello {
        /// `node.name`.
        name: Arc<str>,
    },
    /// A heartbeat.
    Alive {
        /// `node.name`.
        name: Arc<str>,
    },
    /// The node ends.
    Goodbye,
    /// A message that asks for counts travels to these targets. A node that gets none of their
    /// topics answers that it has none of their sessions.
    Census {
        /// The number of the question that travels with the message.
        ask: u64,
        /// Groups and principals only.
        to: Vec<Target>,
    },
    /// The sender watches these groups: it gets their members, and joins and leaves from then on.
    Watch {
        /// The groups.
        groups: Vec<GroupName>,
        /// It has missed something: the members are sent again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
    /// To a node that watches a group.
    Roster(Part),
    /// To every node.
    Question {
        /// Its number.
        ask: u64,
        /// What.
        question: Question,
    },
    /// To the node that asked.
    Answer {
        /// The number of the question.
        ask: u64,
        /// What.
        answer: Answer,
    },
}

/// A question, or an order, about the sessions of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Question {
    /// When it began, and was active last.
    Find {
        /// The session.
        id: SessionId,
    },
    /// Close it.
    Close {
        /// The session.
        id: SessionId,
        /// Who orders it, for the record.
        by: Arc<str>,
        /// With which code and reason; `None`: 1000, and none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        with: Option<CloseWith>,
    },
    /// Make it a member of a group.
    Join {
        /// The session.
        id: SessionId,
        /// The group.
        group: GroupName,
        /// Milliseconds; `None` until the session ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl_ms: Option<u64>,
        /// What it is described by there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata: Option<Metadata>,
    },
    /// End a membership.
    Leave {
        /// The session.
        id: SessionId,
        /// The group.
        group: GroupName,
    },
    /// The members of a group.
    Members {
        /// The group.
        group: GroupName,
        /// Only those behind this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<SessionId>,
        /// So many at most.
        most: usize,
    },
    /// The largest groups.
    Groups {
        /// Only those whose names begin like this.
        #[serde(default)]
        prefix: Arc<str>,
        /// So many at most.
        most: usize,
    },
}

/// An answer of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Answer {
    /// What became of a message there.
    Counts {
        /// Of its sessions.
        counts: DeliveryCounts,
        /// Workers that did not answer.
        #[serde(default)]
        unanswered: usize,
    },
    /// The node does not have the session.
    NotHere,
    /// It cannot answer now.
    Failed,
    /// It has the session.
    Found(Found),
    /// The order was carried out.
    Done {
        /// Whether it changed anything.
        changed: bool,
    },
    /// The session is there, and the order is refused.
    Refused {
        /// Why.
        why: Arc<str>,
    },
    /// Members of a group there.
    Members(MembersPage),
    /// Groups there.
    Groups(GroupCounts),
}

/// A session that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// When it began; milliseconds since 1970.
    pub granted_ms: u64,
    /// When it was active last; milliseconds since 1970.
    pub active_ms: u64,
    /// The client's address.
    pub client: Arc<str>,
}

impl Signal {
    /// Whether it is within the bounds.
    pub fn is_bounded(&self) -> bool {
        let short = |text: &str| text.len() <= TEXT_MAX;
        match self {
            Self::Hello { name } | Self::Alive { name } => short(name),
            Self::Goodbye => true,
            Self::Census { to, .. } => to.len() <= TARGETS_MAX,
            Self::Watch { groups, .. } => groups.len() <= WATCHED_MAX,
            Self::Roster(part) => part.items.len() <= ITEMS_MAX,
            Self::Question { question, .. } => match question {
                Question::Close { by, with, .. } => {
                    short(by) && with.as_ref().is_none_or(|with| short(&with.reason))
                }
                Question::Members { most, .. } => *most <= MEMBERS_MAX,
                Question::Groups { prefix, most } => short(prefix) && *most <= GROUPS_MAX,
                Question::Find { .. } | Question::Join { .. } | Question::Leave { .. } => true,
            },
            Self::Answer { answer, .. } => match answer {
                Answer::Found(found) => short(&found.client),
                Answer::Refused { why } => short(why),
                Answer::Members(page) => page.members.len() <= MEMBERS_MAX,
                Answer::Groups(counts) => counts.groups.len() <= GROUPS_MAX,
                Answer::Counts { .. } | Answer::NotHere | Answer::Failed | Answer::Done { .. } => {
                    true
                }
            },
        }
    }
}

impl Answer {
    /// Whether no other node can answer better: one node has a session.
    pub fn is_of_the_session(&self) -> bool {
        matches!(
            self,
            Self::Found(_) | Self::Done { .. } | Self::Refused { .. }
        )
    }
}
