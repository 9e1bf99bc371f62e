//! How many sessions a backend has. The count is kept under the backend's id as long as sessions
//! live there, also while the backend is removed, returns, or moves to another address.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::base::names::BackendId;

/// Live sessions of one backend, and all that it ever had.
#[derive(Debug)]
pub struct Occupancy {
    backend: BackendId,
    sessions: AtomicU64,
    sessions_total: AtomicU64,
}

impl Occupancy {
    /// Of a backend without sessions.
    pub const fn new(backend: BackendId) -> Self {
        Self {
            backend,
            sessions: AtomicU64::new(0),
            sessions_total: AtomicU64::new(0),
        }
    }

    /// The backend.
    pub const fn backend(&self) -> &BackendId {
        &self.backend
    }

    /// Live sessions.
    pub fn sessions(&self) -> u64 {
        self.sessions.load(Relaxed)
    }

    /// Sessions established.
    pub fn sessions_total(&self) -> u64 {
        self.sessions_total.load(Relaxed)
    }

    /// A session is about to be established; `ended` follows once, established or not.
    pub(super) fn began(&self) {
        self.sessions.fetch_add(1, Relaxed);
    }

    /// The backend granted a session that began.
    pub(super) fn established(&self) {
        self.sessions_total.fetch_add(1, Relaxed);
    }

    /// A session that began is over.
    pub(super) fn ended(&self) {
        let before = self.sessions.fetch_sub(1, Relaxed);
        debug_assert!(before > 0, "a session ended that never began");
    }
}
