//! The newest events of one class, bounded by number and by bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::config::snapshot;
use crate::telemetry::events::event::{Class, Event};

/// Bounds of all rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Events of each class.
    pub events: [usize; Class::ALL.len()],
    /// Bytes of all classes together.
    pub bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self::from(&snapshot::Events::default())
    }
}

impl From<&snapshot::Events> for Bounds {
    fn from(config: &snapshot::Events) -> Self {
        Self {
            events: Class::ALL.map(|class| match class {
                Class::Sessions => config.sessions,
                Class::Refusals => config.refusals,
                Class::Changes => config.changes,
            }),
            bytes: config.memory,
        }
    }
}

impl Bounds {
    /// Events and bytes of one class: sessions have half of the memory.
    pub(super) fn of(&self, class: Class) -> (usize, usize) {
        let share = match class {
            Class::Sessions => 2,
            Class::Refusals | Class::Changes => 4,
        };
        (self.events[class as usize], self.bytes / share)
    }
}

/// An event and its number in this process.
#[derive(Clone, Debug)]
pub(super) struct Numbered {
    pub(super) number: u64,
    pub(super) event: Arc<Event>,
}

/// A ring. Its events have places, counted from the first event of the class on; an evicted event
/// leaves its place empty.
#[derive(Debug)]
pub(super) struct Ring {
    entries: VecDeque<Numbered>,
    /// The place of the oldest event, which is also how many were evicted.
    start: u64,
    /// The number of the newest evicted event; 0 if there is none.
    evicted: u64,
    bytes: usize,
    events_max: usize,
    bytes_max: usize,
}

impl Ring {
    pub(super) fn new((events_max, bytes_max): (usize, usize)) -> Self {
        Self {
            entries: VecDeque::new(),
            start: 0,
            evicted: 0,
            bytes: 0,
            events_max,
            bytes_max,
        }
    }

    pub(super) fn set_bounds(&mut self, (events_max, bytes_max): (usize, usize)) {
        (self.events_max, self.bytes_max) = (events_max, bytes_max);
        self.evict();
    }

    pub(super) fn push(&mut self, entry: Numbered) {
        self.bytes += entry.event.weight();
        self.entries.push_back(entry);
        self.evict();
    }

    fn evict(&mut self) {
        while self.entries.len() > self.events_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.entries.pop_front() else {
                return;
            };
            self.bytes -= oldest.event.weight();
            self.start += 1;
            self.evicted = oldest.number;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that its events take, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The place of the oldest event.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// The place of the next event.
    pub(super) fn end(&self) -> u64 {
        self.start + self.entries.len() as u64
    }

    /// The number of the newest evicted event.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The place of the first event with a higher number.
    pub(super) fn place_after(&self, number: u64) -> u64 {
        let before = self.entries.partition_point(|one| one.number <= number);
        self.start + before as u64
    }

    /// The event at a place; `None` before the oldest and after the newest.
    pub(super) fn at(&self, place: u64) -> Option<&Numbered> {
        let index = usize::try_from(place.checked_sub(self.start)?).ok()?;
        self.entries.get(index)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Numbered> {
        self.entries.iter()
    }
}
