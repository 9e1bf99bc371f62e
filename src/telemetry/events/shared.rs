//! What the handle of events and the collector share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{Semaphore, mpsc, watch};

use crate::telemetry::events::event::{Class, Emitted};
use crate::telemetry::events::files::Files;
use crate::telemetry::events::queues::Queues;
use crate::telemetry::events::store::Store;

/// The queues, the rings, and what is counted.
pub(super) struct Shared {
    pub(super) queues: [mpsc::Sender<Emitted>; Class::ALL.len()],
    /// Taken by the collector.
    pub(super) waiting: Mutex<Option<Queues>>,
    /// Events that found their queue full, by class.
    pub(super) dropped: [AtomicU64; Class::ALL.len()],
    pub(super) store: Mutex<Store>,
    /// Set if events are written to files.
    pub(super) files: OnceLock<Files>,
    /// The number of the newest event, for readers that wait.
    pub(super) newest: watch::Sender<u64>,
    pub(super) closed: AtomicBool,
    /// One permit for each reader of a stream.
    pub(super) subscribers: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn dropped(&self, class: Class) -> u64 {
        self.dropped[class as usize].load(Ordering::Relaxed)
    }

    pub(super) fn notify(&self, newest: u64) {
        self.newest.send_replace(newest);
    }
}
