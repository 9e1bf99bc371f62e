//! Presence: who is in the groups that somebody watches, over all nodes. A task owns the streams
//! that this node sends (`task`); `room` has the members of a group that is watched here, `hub` all
//! of them.

mod hub;
mod room;
mod task;
mod walks;

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::control::messages::fleet::Fleet;
use crate::control::messages::presence::task::Task;
use crate::live::Live;

pub(super) use hub::Presence;
pub use room::{Batch, MembersView, Place, Watcher};

/// Starts the task.
pub(super) fn start(
    presence: &Arc<Presence>,
    live: &Arc<Live>,
    fleet: Option<&Arc<Fleet>>,
    background: &mut JoinSet<()>,
) {
    let feed = live.messages().map(|setup| Arc::clone(&setup.presence));
    if let (Some(feed), Some(commands)) = (feed, presence.take_commands())
        && let Some(notes) = feed.take_notes()
    {
        let parts = (Arc::clone(live), fleet.cloned(), feed);
        background.spawn(Task::new(Arc::clone(presence), parts).run(commands, notes));
    }
}
