//! Messages that two processes of one gateway keep while one hands over to the other, each under
//! an id of its own.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::history_id::HistoryId;

/// Milliseconds by which the broker may deliver a message later to one process than to another.
pub(super) const LAG_MAX: u64 = 10_000;
/// Milliseconds within which one name means one message.
const SAME_WITHIN: u64 = 60_000;

/// Messages that another process of this gateway may keep too.
#[derive(Debug, Default)]
pub(super) struct Twins {
    /// The ids of messages by what the fleet calls them.
    names: HashMap<Arc<str>, HistoryId>,
    /// From then on nothing of it is to come.
    until: Option<u64>,
}

impl Twins {
    /// Nothing of the other process is to come, but what the broker still has for this one.
    pub(super) fn end_after(&mut self, now: u64) {
        self.until = Some(now.saturating_add(LAG_MAX));
    }

    pub(super) fn is_over(&self, now: u64) -> bool {
        self.until.is_some_and(|until| now > until)
    }

    /// The id that another process gave a message with this name, or `None`, and `id` is noted.
    pub(super) fn known(&mut self, id: HistoryId, name: &Arc<str>) -> Option<HistoryId> {
        let known = self.names.get(name).copied();
        let near = |known: &HistoryId| known.millis.abs_diff(id.millis) < SAME_WITHIN;
        let known = known.filter(near).filter(|known| *known != id);
        if known.is_none() {
            self.names.insert(Arc::clone(name), id);
        }
        known
    }
}
