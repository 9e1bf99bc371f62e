//! What is in the files at a start: the newest events of each class, as many as memory may hold.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::time::SystemTime;

use crate::telemetry::events::event::{Class, Event};
use crate::telemetry::events::files::folder::{Folder, Segment, SegmentName};
use crate::telemetry::events::lines::read_line;
use crate::telemetry::events::ring::Bounds;

/// Bytes that are read of one file.
const READ_MAX: u64 = 64 << 20;

/// What other processes wrote.
#[derive(Debug, Default)]
pub(in crate::telemetry::events) struct History {
    /// In the order of time.
    pub(in crate::telemetry::events) events: Vec<Event>,
    /// Classes of which the files hold more than memory may.
    pub(in crate::telemetry::events) cut: [bool; Class::ALL.len()],
    /// Lines that are no events.
    pub(super) unreadable: usize,
    /// Where the whole lines of each file ended.
    pub(super) ends: BTreeMap<SegmentName, u64>,
}

/// Reads the newest events; those before `oldest` are skipped.
pub(super) fn read(
    folder: &Folder,
    bounds: Bounds,
    oldest: Option<SystemTime>,
) -> io::Result<History> {
    let segments = folder.list()?;
    let mut history = History::default();
    for class in Class::ALL {
        let mut reading = Reading {
            left: bounds.of(class),
            oldest,
            full: false,
            events: Vec::new(),
        };
        for segment in segments.iter().rev().filter(|one| one.name.is_of(class)) {
            reading.segment(folder, segment, &mut history)?;
        }
        history.cut[class as usize] = reading.full;
        history.events.extend(reading.events.into_iter().rev());
    }
    history
        .events
        .sort_by_key(|event| (event.at, event.id.number));
    Ok(history)
}

/// The events of one class, the newest first.
struct Reading {
    /// Events and bytes for which there is room.
    left: (usize, usize),
    oldest: Option<SystemTime>,
    full: bool,
    events: Vec<Event>,
}

impl Reading {
    fn segment(
        &mut self,
        folder: &Folder,
        segment: &Segment,
        history: &mut History,
    ) -> io::Result<()> {
        let (bytes, from) = match self.full {
            true => (Vec::new(), segment.bytes),
            false => tail(folder, segment.name, 0)?,
        };
        let whole = bytes.iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |at| at + 1);
        history.ends.insert(segment.name, from + whole as u64);
        // What follows the last line end was torn by a crash, or is being written.
        for line in bytes[..whole].rsplit(|byte| *byte == b'\n') {
            if self.full {
                break;
            }
            match read_line(line) {
                _ if line.is_empty() => {}
                Some(event) => self.take(event),
                None => history.unreadable += 1,
            }
        }
        Ok(())
    }

    fn take(&mut self, event: Event) {
        if self.oldest.is_some_and(|oldest| event.at < oldest) {
            return;
        }
        let left = (
            self.left.0.checked_sub(1),
            self.left.1.checked_sub(event.weight()),
        );
        match left {
            (Some(events), Some(bytes)) => {
                self.left = (events, bytes);
                self.events.push(event);
            }
            _ => self.full = true,
        }
    }
}

/// The last bytes of a file, from `from` on, and where they begin.
pub(super) fn tail(folder: &Folder, name: SegmentName, from: u64) -> io::Result<(Vec<u8>, u64)> {
    let mut file = match folder.read(name) {
        Ok(file) => file,
        // Another process has removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), from)),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let from = from.max(length.saturating_sub(READ_MAX));
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(READ_MAX).read_to_end(&mut bytes)?;
    Ok((bytes, from))
}
