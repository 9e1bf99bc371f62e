//! What the admin API does only so often at the same time, and what it has counted.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::Semaphore;

use crate::admin::rights_seen::RightsSeen;

/// Measurements over all sessions: each keeps some bytes of every session for its interval.
const MEASURING_MAX: usize = 2;

/// Sessions that are watched. Each keeps a connection and up to some hundred frames.
const TAPS_MAX: usize = 8;

/// The places for work that holds memory or sessions while it goes on.
#[derive(Debug)]
pub struct Desk {
    /// Measurements over all sessions. More wait.
    pub(super) measuring: Arc<Semaphore>,
    /// Sessions that are watched. More are refused.
    pub(super) taps: Arc<Semaphore>,
    /// The rights of live sessions, as they were counted last.
    rights: ArcSwapOption<RightsSeen>,
}

impl Desk {
    /// The rights of live sessions, as they were counted last; `None` before the first count.
    pub fn rights(&self) -> Option<Arc<RightsSeen>> {
        self.rights.load_full()
    }

    /// Stores a count of the rights of live sessions.
    pub fn set_rights(&self, seen: RightsSeen) {
        self.rights.store(Some(Arc::new(seen)));
    }
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            measuring: Arc::new(Semaphore::new(MEASURING_MAX)),
            taps: Arc::new(Semaphore::new(TAPS_MAX)),
            rights: ArcSwapOption::empty(),
        }
    }
}
