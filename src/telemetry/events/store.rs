//! All events in memory: numbered, by class, and read with cursors.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::telemetry::events::event::{Class, Emitted, Event, EventId};
use crate::telemetry::events::filter::Filter;
use crate::telemetry::events::ring::{Bounds, Numbered, Ring};

/// Events that one call looks at.
const SLICE: usize = 256;
/// Events are kept in the order in which they arrive, which differs from that of their times by so
/// much at most: of another process they are read a little later.
const DISORDER_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Store {
    instance: u64,
    rings: [Ring; Class::ALL.len()],
    /// The number of the newest event.
    newest: u64,
    /// Classes of which files hold older events than memory.
    cut: [bool; Class::ALL.len()],
}

/// Where a reader is: the place of the next event in each ring. An event is returned at most once,
/// and one that was evicted before it could be returned is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    next: [u64; Class::ALL.len()],
    instance: u64,
    /// The number of the last event that was looked at.
    last: u64,
    /// What the reader had of another process: events of that process up to this one are skipped.
    had: Option<EventId>,
}

impl Cursor {
    /// The id to resume with.
    pub fn id(&self) -> EventId {
        EventId {
            instance: self.instance,
            number: self.last,
        }
    }
}

/// Events that a reader cannot get any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// How many, of the classes that the reader asked for; `None` if that is unknown.
    pub events: Option<u64>,
    /// Why.
    pub reason: &'static str,
}

impl Lost {
    const EVICTED: &'static str = "evicted";
    const OTHER_INSTANCE: &'static str = "other_instance";
}

/// Where reading goes on, and what is missing before.
#[derive(Clone, Copy, Debug)]
pub struct Resumed {
    /// For `Events::read`.
    pub cursor: Cursor,
    /// Set if events are missing.
    pub lost: Option<Lost>,
}

/// The outcome of one slice.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Set if events were evicted before this reader could get them; they came before `events`.
    pub lost: Option<Lost>,
    /// In the order of their numbers.
    pub events: Vec<Sent>,
    /// Whether there may be more at once.
    pub more: bool,
}

/// An event for a reader.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The id to resume with: of an event of another process not its own.
    pub resume: EventId,
    /// The event.
    pub event: Arc<Event>,
}

/// A page of the past.
#[derive(Clone, Debug)]
pub struct Page {
    /// The newest first.
    pub events: Vec<Arc<Event>>,
    /// The event that was looked at last, to go on before it; `None` at the oldest.
    pub next: Option<Before>,
}

/// What is in memory of a class of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Events.
    pub events: usize,
    /// Bytes that they take, roughly.
    pub bytes: usize,
    /// When the oldest happened.
    pub oldest: Option<SystemTime>,
    /// Older events, which were evicted.
    pub evicted: u64,
}

/// A place in the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    number: u64,
    /// The event that was looked at last.
    pub id: Option<EventId>,
}

impl Store {
    pub(super) fn new(instance: u64, bounds: Bounds) -> Self {
        Self {
            instance,
            rings: Class::ALL.map(|class| Ring::new(bounds.of(class))),
            newest: 0,
            cut: Default::default(),
        }
    }

    pub(super) fn set_bounds(&mut self, bounds: Bounds) {
        for class in Class::ALL {
            self.rings[class as usize].set_bounds(bounds.of(class));
        }
    }

    /// Numbers an event and keeps it.
    pub(super) fn push(&mut self, emitted: Emitted) -> Arc<Event> {
        let id = EventId {
            instance: self.instance,
            number: self.newest + 1,
        };
        let Emitted { at, kind, body } = emitted;
        let event = Arc::new(Event { id, at, kind, body });
        self.keep(Arc::clone(&event));
        event
    }

    /// Keeps events of processes before this one, in their order, and goes on behind the highest of
    /// their numbers. `cut` are the classes of which there are older ones in files. Only before the
    /// first own event.
    pub(super) fn restore(&mut self, events: Vec<Event>, cut: [bool; Class::ALL.len()]) {
        let highest = events.iter().map(|event| event.id.number).max();
        // A number that leaves no room for own ones is no process's.
        let highest = highest.filter(|number| *number < u64::MAX / 2);
        let count = events.len() as u64;
        self.newest = highest.unwrap_or(0).max(count) - count;
        self.cut = cut;
        events.into_iter().for_each(|event| self.insert(event));
    }

    /// Keeps an event of another process.
    pub(super) fn insert(&mut self, event: Event) {
        self.keep(Arc::new(event));
    }

    pub(super) fn instance(&self) -> u64 {
        self.instance
    }

    fn keep(&mut self, event: Arc<Event>) {
        self.newest += 1;
        let ring = &mut self.rings[event.kind.class() as usize];
        let number = self.newest;
        ring.push(Numbered { number, event });
    }

    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    pub(super) fn behind_newest(&self) -> Cursor {
        self.cursor(|ring| ring.end(), self.newest)
    }

    fn cursor(&self, place: impl Fn(&Ring) -> u64, last: u64) -> Cursor {
        Cursor {
            next: self.rings.each_ref().map(place),
            instance: self.instance,
            last,
            had: None,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Numbered> {
        self.rings.iter().flat_map(Ring::iter)
    }

    /// The number here of an event, if it can be known.
    fn number(&self, id: EventId) -> Option<u64> {
        if id.instance == self.instance {
            return Some(id.number.min(self.newest));
        }
        let found = self.all().find(|one| one.event.id == id);
        found.map(|one| one.number)
    }

    pub(super) fn resume(&self, after: Option<EventId>, filter: &Filter) -> Resumed {
        match after {
            None => Resumed {
                cursor: self.cursor(Ring::start, 0),
                lost: None,
            },
            Some(id) if id.instance == self.instance => {
                let from = id.number.min(self.newest);
                Resumed {
                    cursor: self.cursor(|ring| ring.place_after(from), from),
                    lost: self.evicted_after(from, filter),
                }
            }
            Some(id) => self.resume_of_other(id, filter),
        }
    }

    /// The id is of another process: what comes after it is everything later of that process, and
    /// everything of the processes after that one.
    fn resume_of_other(&self, id: EventId, filter: &Filter) -> Resumed {
        let same = |one: &&Numbered| one.event.id.instance == id.instance;
        let Some(first) = self.all().filter(same).map(|one| one.number).min() else {
            return Resumed {
                cursor: self.cursor(Ring::start, 0),
                lost: Some(Lost {
                    events: None,
                    reason: Lost::OTHER_INSTANCE,
                }),
            };
        };
        let is_later = |one: &&Numbered| match same(one) {
            true => one.event.id.number > id.number,
            false => one.number > first,
        };
        let next = self.all().filter(is_later).map(|one| one.number).min();
        let from = next.map_or(self.newest, |next| next - 1);
        let wanted = Class::ALL.into_iter().filter(|class| filter.wants(*class));
        let lost = wanted.into_iter().any(|class| {
            let ring = &self.rings[class as usize];
            let mut known = ring.iter().filter(same);
            let whole = !self.cut[class as usize] && ring.start() == 0;
            !whole && !known.any(|one| one.event.id.number <= id.number)
        });
        Resumed {
            cursor: Cursor {
                had: Some(id),
                ..self.cursor(|ring| ring.place_after(from), from)
            },
            lost: lost.then_some(Lost {
                events: None,
                reason: Lost::EVICTED,
            }),
        }
    }

    fn evicted_after(&self, number: u64, filter: &Filter) -> Option<Lost> {
        let wanted = |class: &Class| filter.wants(*class);
        let evicted = |class: Class| self.rings[class as usize].evicted() > number;
        if !Class::ALL.into_iter().filter(wanted).any(evicted) {
            return None;
        }
        let all = Class::ALL.iter().all(wanted);
        let later = self.newest - number;
        let kept = |ring: &Ring| ring.end() - ring.place_after(number);
        let kept = self.rings.iter().map(kept).sum::<u64>();
        Some(Lost {
            events: all.then(|| later - kept),
            reason: Lost::EVICTED,
        })
    }

    pub(super) fn read(&self, cursor: &mut Cursor, filter: &Filter) -> Batch {
        let mut lost = 0;
        for class in Class::ALL {
            let (ring, next) = (
                &self.rings[class as usize],
                &mut cursor.next[class as usize],
            );
            if !filter.wants(class) {
                *next = ring.end();
            } else if *next < ring.start() {
                lost += ring.start() - *next;
                *next = ring.start();
            }
        }
        let mut events = Vec::new();
        let mut looked = 0;
        while looked < SLICE {
            let heads = Class::ALL.map(|class| {
                let ring = &self.rings[class as usize];
                ring.at(cursor.next[class as usize])
            });
            let heads = Class::ALL.into_iter().zip(heads);
            let heads = heads.filter_map(|(class, head)| Some((class, head?)));
            let Some((class, head)) = heads.min_by_key(|(_, head)| head.number) else {
                cursor.last = self.newest;
                break;
            };
            cursor.next[class as usize] += 1;
            cursor.last = head.number;
            looked += 1;
            let had = cursor.had.is_some_and(|had| {
                let id = head.event.id;
                id.instance == had.instance && id.number <= had.number
            });
            if !had && filter.takes(&head.event) {
                events.push(Sent {
                    resume: cursor.id(),
                    event: Arc::clone(&head.event),
                });
            }
        }
        Batch {
            lost: (lost > 0).then_some(Lost {
                events: Some(lost),
                reason: Lost::EVICTED,
            }),
            events,
            more: looked == SLICE,
        }
    }

    /// Before this event, or behind the newest.
    pub(super) fn before(&self, id: Option<EventId>) -> Before {
        let number = match id {
            None => self.newest + 1,
            // The event may have been evicted meanwhile; then so are all before it.
            Some(id) => self.number(id).unwrap_or(0),
        };
        Before { number, id }
    }

    pub(super) fn read_back(&self, before: Before, filter: &Filter, limit: usize) -> Page {
        let from = before.number.saturating_sub(1);
        let mut place = Class::ALL.map(|class| match filter.wants(class) {
            true => self.rings[class as usize].place_after(from),
            false => 0,
        });
        let mut page = Page {
            events: Vec::new(),
            next: None,
        };
        for _ in 0..SLICE {
            let heads = Class::ALL.into_iter().filter_map(|class| {
                let before = place[class as usize].checked_sub(1)?;
                Some((class, self.rings[class as usize].at(before)?))
            });
            let Some((class, head)) = heads.max_by_key(|(_, head)| head.number) else {
                page.next = None;
                return page;
            };
            let since = filter
                .since
                .and_then(|since| since.checked_sub(DISORDER_MAX));
            if since.is_some_and(|since| head.event.at < since) {
                page.next = None;
                return page;
            }
            place[class as usize] -= 1;
            page.next = Some(Before {
                number: head.number,
                id: Some(head.event.id),
            });
            if filter.takes(&head.event) {
                page.events.push(Arc::clone(&head.event));
                if page.events.len() == limit {
                    break;
                }
            }
        }
        page
    }

    /// What is in memory of a class.
    pub(super) fn fill(&self, class: Class) -> Fill {
        let ring = &self.rings[class as usize];
        let oldest = ring.at(ring.start());
        Fill {
            events: ring.len(),
            bytes: ring.bytes(),
            oldest: oldest.map(|one| one.event.at),
            evicted: ring.start(),
        }
    }
}
