//! Who is in a group, over all nodes. A node that watches a group gets of each node a stream: a
//! snapshot of its members, then joins and leaves. `sent` numbers the streams, `roster` puts them
//! together. A lost part shows by its number, and the snapshot is asked for again.

mod roster;
mod sent;

use serde::{Deserialize, Serialize};

use crate::base::group::GroupName;
use crate::base::session_id::SessionId;
use crate::core::messages::member::Member;

pub use roster::{Change, Roster};
pub use sent::{Place, Streams, Watched};

/// Most items of one part.
pub const ITEMS_MAX: usize = 256;

/// A part of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The group.
    pub group: GroupName,
    /// Where it belongs.
    pub place: Place,
    /// What changed. Without items it only shows how far the stream is.
    pub items: Vec<Item>,
}

/// One change in a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Item {
    /// The node has this member, in a snapshot or since now.
    Member(Member),
    /// The node does not have it any more.
    Left {
        /// The session.
        id: SessionId,
        /// It was handed over to another process, which has it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        moved: bool,
    },
    /// The snapshot goes on: without it, joins and leaves would hide that its rest does not come.
    More,
    /// The snapshot is whole: members that were not in it have left.
    Whole,
}

#[cfg(test)]
mod tests;
