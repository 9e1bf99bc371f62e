//! DNS as a source: its follower, and its status.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use crate::base::source_id::SourceId;
use crate::config::snapshot::Dns;
use crate::control::dns::follow::Follower;
use crate::control::dns::state::DnsState;
use crate::control::sources::{NameStatuses, Source, SourceStatus, Work};
use crate::control::state_dir::StateDir;
use crate::control::supervisor::Supervisor;
use crate::live::Live;

/// The names in DNS of all upstreams.
pub struct DnsSource {
    state: Arc<DnsState>,
    /// Until it is run.
    follower: Mutex<Option<Follower>>,
    /// How long a start waits for the first answers; `None` if there is no name.
    patience: Option<Duration>,
}

impl fmt::Debug for DnsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsSource").finish_non_exhaustive()
    }
}

impl DnsSource {
    /// Puts what DNS answered last into force, if the directory has it.
    pub async fn open(
        settings: Dns,
        state_dir: Option<&Arc<StateDir>>,
        supervisor: Arc<Supervisor>,
        live: Arc<Live>,
    ) -> Self {
        let patience = settings.timeout;
        let follower = Follower::new(settings, state_dir, supervisor, live).await;
        Self {
            state: follower.state(),
            patience: follower.has_names().then_some(patience),
            follower: Mutex::new(Some(follower)),
        }
    }
}

impl Source for DnsSource {
    fn id(&self) -> SourceId {
        SourceId::Dns
    }

    fn status(&self) -> SourceStatus {
        SourceStatus::Followed(Box::new(self.state.followed().status()))
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
        let (state, patience) = (Arc::clone(&self.state), self.patience);
        Box::pin(async move {
            let Some(patience) = patience else {
                return true;
            };
            timeout(patience, state.followed().synced(usize::MAX)).await == Ok(true)
        })
    }

    fn accept(&self) -> Option<usize> {
        Some(self.state.followed().accept())
    }

    fn names(&self) -> Option<NameStatuses> {
        Some(self.state.statuses())
    }
}
