//! etcd as a source: its follower, its status, and its writer.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use crate::base::source_id::SourceId;
use crate::config::snapshot::Etcd;
use crate::control::etcd::follow::Follower;
use crate::control::etcd::writer::writer;
use crate::control::sources::followed::FollowState;
use crate::control::sources::{Source, SourceStatus, Work, Writer};
use crate::control::state_dir::StateDir;
use crate::control::supervisor::Supervisor;
use crate::live::Live;

/// The etcd of `[sources.etcd]`.
pub struct EtcdSource {
    state: Arc<FollowState>,
    /// Until it is run.
    follower: Mutex<Option<Follower>>,
    writer: Writer,
    /// How long a start waits for the first answer, and for how many attempts.
    patience: Duration,
    attempts: usize,
}

impl fmt::Debug for EtcdSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdSource").finish_non_exhaustive()
    }
}

impl EtcdSource {
    /// Puts last known good into force, if there is any in the directory.
    pub async fn open(
        settings: Etcd,
        state_dir: Option<&Arc<StateDir>>,
        supervisor: Arc<Supervisor>,
        live: Arc<Live>,
    ) -> Self {
        let writer = writer(&settings);
        let follower = Follower::new(settings, state_dir, supervisor, live).await;
        Self {
            state: follower.state(),
            patience: follower.patience(),
            attempts: follower.attempts(),
            follower: Mutex::new(Some(follower)),
            writer,
        }
    }
}

impl Source for EtcdSource {
    fn id(&self) -> SourceId {
        SourceId::Etcd
    }

    fn status(&self) -> SourceStatus {
        SourceStatus::Followed(Box::new(self.state.status()))
    }

    fn follow(self: Arc<Self>) -> Work<()> {
        let follower = self.follower.lock();
        let follower = follower.unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async move {
            if let Some(follower) = follower {
                follower.run().await;
            }
        })
    }

    fn first_answer(&self) -> Work<bool> {
        let (state, patience, attempts) = (Arc::clone(&self.state), self.patience, self.attempts);
        Box::pin(async move { timeout(patience, state.synced(attempts)).await == Ok(true) })
    }

    fn writer(&self) -> Option<&Writer> {
        Some(&self.writer)
    }

    fn accept(&self) -> Option<usize> {
        Some(self.state.accept())
    }
}
