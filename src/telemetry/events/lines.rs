//! Events in files: one JSON object a line. Files may be torn or edited, so a line that cannot be
//! read is skipped and counted.

use crate::telemetry::events::event::Event;
use crate::telemetry::events::view::EventView;

/// Bytes of a line. A longer one is not written and not read.
const LINE_MAX: usize = 64 * 1024;

impl Event {
    /// The event as a line of a file, with its line end; `None` if it is too long.
    pub fn line(&self) -> Option<Vec<u8>> {
        let mut line = serde_json::to_vec(&self.view()).expect("plain data serialises");
        line.push(b'\n');
        (line.len() <= LINE_MAX).then_some(line)
    }
}

/// The events of a file, in its order, and the number of lines that cannot be read.
pub fn read_lines(file: &[u8]) -> (Vec<EventView>, usize) {
    let mut unreadable = 0;
    let lines = file.split(|byte| *byte == b'\n');
    let events = lines.filter(|line| !line.is_empty()).filter_map(|line| {
        let read = (line.len() < LINE_MAX).then(|| serde_json::from_slice(line).ok());
        let event = read.flatten();
        unreadable += usize::from(event.is_none());
        event
    });
    (events.collect(), unreadable)
}
