//! How it stands with a source that is followed, as operators see it: the follower writes it, the
//! admin API and the metrics read it, and orders to the follower go through it.

use std::collections::BTreeSet;
use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::core::membership::{Key, backend_of};

/// A change to a source that the gateway itself makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stroke {
    /// A document, in place of one of the same key.
    Put {
        /// Below the source's prefix.
        key: String,
        /// JSON.
        text: String,
        /// After that it may go by itself.
        lives: Option<Duration>,
    },
    /// Takes a document out.
    Delete {
        /// Below the source's prefix.
        key: String,
    },
}

type Written = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Writes to a source.
pub struct Pen(Box<dyn Fn(Stroke) -> Written + Send + Sync>);

impl Pen {
    /// One that writes so.
    pub fn new<F>(write: impl Fn(Stroke) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self(Box::new(move |stroke| Box::pin(write(stroke))))
    }

    /// Writes.
    ///
    /// # Errors
    /// In a sentence; the source may have taken it all the same, if it only did not answer in time.
    pub async fn write(&self, stroke: Stroke) -> Result<(), String> {
        (self.0)(stroke).await
    }
}

impl fmt::Debug for Pen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pen").finish_non_exhaustive()
    }
}

/// What is shared with the follower.
#[derive(Debug)]
pub struct SourceState {
    seen: Mutex<Seen>,
    accept: Notify,
    synced: watch::Sender<Attempts>,
}

/// What became of the attempts to follow the source.
#[derive(Clone, Copy, Debug, Default)]
struct Attempts {
    /// One came to the point at which what is in force has been compared with the source.
    synced: bool,
    failed: usize,
}

/// How it stands.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Where the watch runs; `None` while there is none.
    pub endpoint: Option<String>,
    /// What went wrong last, until the next connection.
    pub fault: Option<String>,
    /// Which cluster it is; 0 if none is known.
    pub cluster: u64,
    /// Everything up to it has been taken.
    pub revision: i64,
    /// When the source last gave a sign of life.
    pub progress: Option<Instant>,
    /// What is in force was remembered, and has not been compared with the source yet.
    pub from_last_known_good: bool,
    /// Why last known good could not be read or written, if so.
    pub last_known_good_fault: Option<String>,
    /// Documents in force or refused.
    pub documents: usize,
    /// Full reads that were compared with what was known.
    pub rereads: u64,
    /// Watches that ended and were begun anew.
    pub watch_restarts: u64,
    /// Times that the source had been restored or replaced.
    pub restores: u64,
    /// Documents that a read lacked that is not believed.
    pub doubted: BTreeSet<Key>,
    /// Backends that lost their leases together with others.
    pub stale: BTreeSet<Key>,
    /// Keys under which no document can stand.
    pub ignored: BTreeSet<Key>,
}

impl Seen {
    /// Whether this backend is there although its lease is gone.
    pub fn is_stale(&self, upstream: &str, id: &str) -> bool {
        let mut stale = self.stale.iter();
        !self.stale.is_empty() && stale.any(|key| backend_of(key) == Some((upstream, id)))
    }
}

impl Default for SourceState {
    fn default() -> Self {
        Self {
            seen: Mutex::default(),
            accept: Notify::new(),
            synced: watch::Sender::default(),
        }
    }
}

impl SourceState {
    /// How it stands now.
    pub fn seen(&self) -> Seen {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }

    /// The follower has something to show.
    pub fn show(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Tells the follower that what is doubted is gone; answers how many documents that concerns.
    pub fn accept(&self) -> usize {
        self.accept.notify_one();
        self.seen().doubted.len()
    }

    /// Waits for [`accept`](Self::accept).
    pub async fn accepted(&self) {
        self.accept.notified().await;
    }

    /// What is in force has been compared with the source.
    pub fn set_synced(&self) {
        self.synced.send_modify(|attempts| attempts.synced = true);
    }

    /// The source could not be followed, or not any longer.
    pub fn attempt_failed(&self) {
        self.synced.send_modify(|attempts| attempts.failed += 1);
    }

    /// Waits until what is in force has been compared with the source, or so many attempts at that
    /// have failed; answers whether it has been compared.
    pub async fn synced(&self, attempts: usize) -> bool {
        let mut watched = self.synced.subscribe();
        let over = watched.wait_for(|now| now.synced || now.failed >= attempts);
        // The sender lives as long as `self`.
        over.await.is_ok_and(|now| now.synced)
    }
}
