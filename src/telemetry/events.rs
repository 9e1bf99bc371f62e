//! Events: what happened to sessions, requests and the gateway, for operators. Emitting never
//! waits: an event goes into a bounded queue, and one that finds it full is dropped and counted.
//! One collector numbers the events and keeps them in bounded rings, a ring for each class, so that
//! a storm of sessions or refusals never evicts a change.
//!
//! Readers use a cursor. They read in slices and share no lock with the threads that emit.

mod collect;
mod difference;
mod event;
mod fields;
mod files;
mod filter;
mod lines;
mod queues;
mod ring;
mod shared;
mod store;
mod view;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::base::clock;
use crate::config::snapshot;
use crate::core::session::record::{Facts, Record};
use crate::telemetry::records::RequestRecord;

pub use collect::Collector;
pub use difference::{DocumentChange, difference, differences};
pub use event::{Body, Class, Event, EventId, Kind};
pub use fields::Fields;
pub use files::{FilesStatus, Follower};
pub use filter::Filter;
pub use ring::Bounds;
pub use store::{Batch, Before, Cursor, Fill, Lost, Page, Resumed, Sent};
pub use view::EventView;

use event::Emitted;
use files::{Files, Opened};
use queues::Queues;
use shared::Shared;
use store::Store;

/// Events of a class that may wait for the collector.
const WAITING_MAX: [usize; Class::ALL.len()] = [8192, 4096, 4096];

/// Readers of streams at once.
const SUBSCRIBERS_MAX: usize = 32;

/// The events of a gateway; cheap to clone.
#[derive(Clone)]
pub struct Events(Arc<Shared>);

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// No events yet; `instance` distinguishes this process from others in the ids of events.
    pub fn new(instance: u64) -> Self {
        let (queues, waiting) = Queues::new(WAITING_MAX);
        Self(Arc::new(Shared {
            queues,
            waiting: Mutex::new(Some(waiting)),
            dropped: Default::default(),
            store: Mutex::new(Store::new(instance, Bounds::default())),
            files: OnceLock::new(),
            newest: watch::Sender::new(0),
            closed: AtomicBool::new(false),
            subscribers: Arc::new(Semaphore::new(SUBSCRIBERS_MAX)),
        }))
    }

    /// Sets the bounds of memory and files.
    pub fn configure(&self, config: &snapshot::Events) {
        self.0.store().set_bounds(Bounds::from(config));
        if let (Some(files), Some(config)) = (self.0.files.get(), config.files) {
            files.configure(config);
        }
    }

    /// Reads what other processes wrote to the state directory, and begins to write there, if the
    /// configuration asks for that. Once, and before the first event is collected. Blocks.
    pub fn open_files(&self, config: &snapshot::Events, state_dir: &Path) -> Option<Follower> {
        let instance = self.0.store().instance();
        let opened = Files::open(state_dir, config.files?, Bounds::from(config), instance);
        let Opened {
            files,
            history,
            follower,
        } = opened;
        self.0.store().restore(history.events, history.cut);
        self.0.files.set(files).ok()?;
        Some(follower)
    }

    /// The files, if events are written to files.
    pub fn files(&self) -> Option<FilesStatus> {
        self.0.files.get().map(Files::status)
    }

    /// Waits until what was collected is written.
    pub async fn end_files(&self) {
        if let Some(files) = self.0.files.get() {
            files.end().await;
        }
    }

    /// A session began.
    pub fn session_began(&self, facts: &Arc<Facts>) {
        self.emit(Kind::SessionBegan, Body::Began(Arc::clone(facts)));
    }

    /// A session ended; this is its record.
    pub fn session_ended(&self, record: &Record) {
        self.emit(Kind::SessionEnded, Body::Ended(Box::new(record.clone())));
    }

    /// A session goes on with another backend; its last move says which and why.
    pub fn session_moved(&self, facts: &Arc<Facts>) {
        self.emit(Kind::SessionMoved, Body::Moved(Arc::clone(facts)));
    }

    /// A request got no backend's whole answer; other requests leave no event.
    pub fn request_ended(&self, record: &RequestRecord<'_>) {
        if let Some(refused) = Fields::of_refusal(record) {
            self.emit(Kind::Refused, Body::Fields(Box::new(refused)));
        }
    }

    /// A change, with what is known of it.
    pub fn change(&self, kind: Kind, fields: Fields) {
        self.emit(kind, Body::Fields(Box::new(fields)));
    }

    fn emit(&self, kind: Kind, body: Body) {
        let class = kind.class() as usize;
        let at = clock::wall();
        if self.0.queues[class]
            .try_send(Emitted { at, kind, body })
            .is_err()
        {
            self.0.dropped[class].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Events of a class that were dropped because their queue was full.
    pub fn dropped(&self, class: Class) -> u64 {
        self.0.dropped(class)
    }

    /// The only collector; `None` if it was taken before.
    pub fn collector(&self) -> Option<Collector> {
        let waiting = self.0.waiting.lock();
        let queues = waiting.unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Collector::new(Arc::clone(&self.0), queues))
    }

    /// Adds events of the process before this one that came to be known only now.
    pub fn add_foreign(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let mut store = self.0.store();
        events.into_iter().for_each(|event| store.insert(event));
        let newest = store.newest();
        drop(store);
        self.0.notify(newest);
    }

    /// A cursor behind the newest event.
    pub fn behind_newest(&self) -> Cursor {
        self.0.store().behind_newest()
    }

    /// A cursor behind the event of this id, or before all events if there is no id.
    pub fn resume(&self, after: Option<EventId>, filter: &Filter) -> Resumed {
        self.0.store().resume(after, filter)
    }

    /// The next events for `filter`, out of at most one slice.
    pub fn read(&self, cursor: &mut Cursor, filter: &Filter) -> Batch {
        self.0.store().read(cursor, filter)
    }

    /// The place before an event, or behind the newest one.
    pub fn before(&self, id: Option<EventId>) -> Before {
        self.0.store().before(id)
    }

    /// Events for `filter`, the newest first, out of at most one slice.
    pub fn read_back(&self, before: Before, filter: &Filter, limit: usize) -> Page {
        self.0.store().read_back(before, filter, limit)
    }

    /// What is in memory of a class.
    pub fn fill(&self, class: Class) -> Fill {
        self.0.store().fill(class)
    }

    /// Lets one more reader of a stream in, while the permit is held; `None` if there are too many.
    pub fn subscribe(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.subscribers).try_acquire_owned().ok()
    }

    /// Readers of streams now.
    pub fn subscribers(&self) -> usize {
        SUBSCRIBERS_MAX - self.0.subscribers.available_permits()
    }

    /// Signals new events, until `close`.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.0.newest.subscribe()
    }

    /// Whether streams have to end.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// Ends all streams: the gateway stops.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.newest.send_modify(|_| {});
    }
}

#[cfg(test)]
mod tests;
