//! Sessions that wait for the messages that they have missed, between the workers, which have the
//! sessions, and the control plane, which has the history.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::base::group::GroupName;
use crate::base::history_id::HistoryId;
use crate::base::session_id::SessionId;

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

    fn lock(&self) -> MutexGuard<'_, VecDeque<ReplayRequest>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
