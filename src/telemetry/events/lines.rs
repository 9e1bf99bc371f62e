//! Events in files: one JSON object a line. Files may be torn or edited, so a line that cannot be
//! read is skipped.

use crate::telemetry::events::event::{Body, Event};
use crate::telemetry::events::view::EventView;

/// Bytes of a line. A longer one is not written and not read.
const LINE_MAX: usize = 64 * 1024;

impl Event {
    /// The event as a line of a file, with its line end; `None` if it is too long.
    pub(super) fn line(&self) -> Option<Vec<u8>> {
        let mut line = serde_json::to_vec(&self.view()).expect("plain data serialises");
        line.push(b'\n');
        (line.len() <= LINE_MAX).then_some(line)
    }
}

/// The event of a line without its line end; `None` if it is none.
pub(super) fn read_line(line: &[u8]) -> Option<Event> {
    let short = (line.len() < LINE_MAX).then_some(line)?;
    let view: EventView = serde_json::from_slice(short).ok()?;
    Some(Event {
        id: view.id.parse().ok()?,
        at: humantime::parse_rfc3339(&view.time).ok()?,
        kind: view.kind,
        body: Body::Fields(Box::new(view.fields)),
    })
}
