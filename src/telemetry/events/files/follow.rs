//! Events that the process before this one writes during and after a hand-over: of the sessions
//! that stay with it, and of its end.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::telemetry::events::event::Event;
use crate::telemetry::events::files::folder::{Folder, SegmentName};
use crate::telemetry::events::files::read::tail;
use crate::telemetry::events::files::state::State;
use crate::telemetry::events::lines::read_line;

/// Reads on in the files of another process.
pub struct Follower {
    state: Arc<State>,
    /// How far each file was read.
    ends: BTreeMap<SegmentName, u64>,
    /// This process, whose own events are not read.
    instance: u64,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").finish_non_exhaustive()
    }
}

impl Follower {
    pub(super) fn new(state: &Arc<State>, ends: BTreeMap<SegmentName, u64>, instance: u64) -> Self {
        Self {
            state: Arc::clone(state),
            ends,
            instance,
        }
    }

    /// What was written since. Blocks.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(&mut self) -> io::Result<Vec<Event>> {
        let folder = Folder::open(&self.state.state_dir)?;
        let mut events = Vec::new();
        for segment in folder.list()? {
            let known = self.ends.get(&segment.name).copied().unwrap_or(0);
            if segment.bytes <= known || self.state.is_writing(segment.name) {
                continue;
            }
            let (bytes, from) = tail(&folder, segment.name, known)?;
            let whole = bytes.iter().rposition(|byte| *byte == b'\n');
            let whole = whole.map_or(0, |at| at + 1);
            let lines = bytes[..whole].split(|byte| *byte == b'\n');
            events.extend(lines.filter_map(read_line));
            self.ends.insert(segment.name, from + whole as u64);
        }
        events.retain(|event| event.id.instance != self.instance);
        events.sort_by_key(|event| (event.at, event.id.number));
        Ok(events)
    }
}
