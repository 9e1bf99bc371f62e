//! Presence: who is in the groups that somebody watches, over all nodes. A task owns the streams
//! that this node sends (`task`); `room` has the members of a group that is watched here, `hub` all
//! of them. `announcer` publishes joins and leaves at the broker.

mod announcer;
mod hub;
mod room;
mod task;
mod walks;

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::control::messages::fleet::Fleet;
use crate::control::messages::presence::announcer::Announcer;
use crate::control::messages::presence::task::Task;
use crate::io::broker::Broker;
use crate::live::Live;
use crate::telemetry::metrics::MessageMetrics;

pub(super) use hub::Presence;
pub use room::{Batch, MembersView, Place, Watcher};

/// Starts the task.
pub(super) fn start(
    presence: &Arc<Presence>,
    live: &Arc<Live>,
    fleet: Option<&Arc<Fleet>>,
    publishing: Option<(Broker, Arc<str>, Arc<MessageMetrics>)>,
    background: &mut JoinSet<()>,
) {
    let feed = live.messages().map(|setup| Arc::clone(&setup.presence));
    if let (Some(feed), Some(commands)) = (feed, presence.take_commands())
        && let Some(notes) = feed.take_notes()
    {
        let parts = (Arc::clone(live), fleet.cloned(), feed);
        let prefix = live.messages().map(|setup| Arc::clone(&setup.prefix));
        let announcer = publishing
            .zip(prefix)
            .map(|((broker, node, metrics), prefix)| {
                Announcer::start((broker, prefix), node, metrics, background)
            });
        let task = Task::new(Arc::clone(presence), parts, announcer);
        background.spawn(task.run(commands, notes));
    }
}
