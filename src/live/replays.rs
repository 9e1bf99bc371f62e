//! Sessions that wait for the messages that they have missed, between the workers, which have the
//! sessions, and the control plane, which has the history.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::base::group::GroupName;
use crate::base::history_id::HistoryId;
use crate::base::session_id::SessionId;

/// Milliseconds by which the clock of a log may be ahead of this gateway's.
const AHEAD_MAX: u64 = 60_000;

/// A session that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayRequest {
    /// Which.
    pub id: SessionId,
    /// Its groups.
    pub groups: Vec<GroupName>,
    /// The last message that its client has.
    pub since: HistoryId,
    /// Whether the client learns that messages may be missing.
    pub tells_gap: bool,
}

/// The sessions that wait; no more than there are sessions.
#[derive(Debug, Default)]
pub struct Replays {
    waiting: Mutex<VecDeque<ReplayRequest>>,
    arrived: Notify,
    /// The newest message of the history.
    last: Mutex<HistoryId>,
    /// Whether a log of the fleet gives the ids: another gateway may have read more of it.
    logged: AtomicBool,
}

impl Replays {
    /// Adds a session.
    pub fn push(&self, request: ReplayRequest) {
        self.lock().push_back(request);
        self.arrived.notify_one();
    }

    /// Waits for a session, and takes it out.
    pub async fn next(&self) -> ReplayRequest {
        loop {
            if let Some(request) = self.lock().pop_front() {
                return request;
            }
            self.arrived.notified().await;
        }
    }

    /// The newest message of the history.
    pub fn last(&self) -> HistoryId {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The history has a newer message.
    pub fn set_last(&self, id: HistoryId) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    /// A log of the fleet gives the ids.
    pub fn set_logged(&self) {
        self.logged.store(true, Ordering::Relaxed);
    }

    /// From where a client goes on that comes `now`, in milliseconds since 1970, and says that it
    /// has all up to `since`. What is published from now on is behind an id of the future too.
    pub fn place(&self, since: HistoryId, now: u64) -> HistoryId {
        let ahead = since.millis > now.saturating_add(AHEAD_MAX);
        match self.logged.load(Ordering::Relaxed) && !ahead {
            true => since,
            false => since.min(self.last()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<ReplayRequest>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i12_a_client_goes_on_from_no_place_that_is_yet_to_come() {
        let replays = Replays::default();
        let at = HistoryId::at;
        replays.set_last(at(50));
        assert_eq!(replays.place(at(40), 45), at(40));
        assert_eq!(replays.place(at(60), 45), at(50));
        // Another gateway has read more of the log.
        replays.set_logged();
        assert_eq!(replays.place(at(60), 45), at(60));
        assert_eq!(replays.place(at(45 + AHEAD_MAX), 45), at(45 + AHEAD_MAX));
        assert_eq!(replays.place(at(46 + AHEAD_MAX), 45), at(50));
    }
}
