//! The status of a source that is followed at another machine. Its follower writes it, the admin
//! API and the metrics read it, and an operator's orders reach the follower through it.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use crate::control::sources::status::FollowStatus;

/// What a follower shares with those who look at it.
#[derive(Debug)]
pub struct FollowState {
    status: Mutex<FollowStatus>,
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

impl Default for FollowState {
    fn default() -> Self {
        Self {
            status: Mutex::default(),
            accept: Notify::new(),
            synced: watch::Sender::default(),
        }
    }
}

impl FollowState {
    /// The status now.
    pub fn status(&self) -> FollowStatus {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.clone()
    }

    /// Changes the status.
    pub fn show(&self, change: impl FnOnce(&mut FollowStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Orders the follower to delete the documents whose absence is in doubt; returns how many they
    /// are.
    pub fn accept(&self) -> usize {
        self.accept.notify_one();
        self.status().doubted.len()
    }

    /// Waits for [`accept`](Self::accept).
    pub async fn accepted(&self) {
        self.accept.notified().await;
    }

    /// What is in force has been compared with the source.
    pub fn set_synced(&self) {
        self.synced.send_modify(|attempts| attempts.synced = true);
    }

    /// Whether [`set_synced`](Self::set_synced) was called.
    pub fn is_synced(&self) -> bool {
        self.synced.borrow().synced
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_start_waits_for_the_comparison_or_for_so_many_failed_attempts() {
        let state = FollowState::default();
        let outcome = |attempts| state.synced(attempts).now_or_never();
        assert_eq!(outcome(2), None);
        state.attempt_failed();
        assert_eq!((outcome(2), outcome(1)), (None, Some(false)));
        state.attempt_failed();
        assert_eq!((outcome(2), outcome(3)), (Some(false), None));
        state.set_synced();
        assert_eq!((outcome(2), outcome(3)), (Some(true), Some(true)));
    }

    #[test]
    fn an_order_to_accept_reaches_the_follower_once_and_counts_what_is_in_doubt() {
        let state = FollowState::default();
        assert_eq!(state.accepted().now_or_never(), None);
        let key = "backends/chat/one".into();
        state.show(|status| status.doubted.extend([key]));
        assert_eq!(state.accept(), 1);
        assert_eq!(state.accepted().now_or_never(), Some(()));
        assert_eq!(state.accepted().now_or_never(), None);
    }
}
