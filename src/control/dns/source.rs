//! DNS as a source: its follower, and its status.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use crate::base::source_id::SourceId;
use crate::config::dns_name::DnsName;
use crate::config::snapshot::Dns;
use crate::control::dns::follow::Follower;
use crate::control::sources::followed::FollowState;
use crate::control::sources::{NameStatuses, Source, SourceStatus, Work};
use crate::control::state_dir::StateDir;
use crate::control::supervisor::Supervisor;
use crate::core::discovery::NameStatus;
use crate::live::Live;

/// What the follower shares with those who look at it.
#[derive(Debug)]
pub(super) struct DnsState {
    followed: Arc<FollowState>,
    names: Mutex<BTreeMap<DnsName, NameStatus>>,
    /// Lookups with an answer, and without.
    counts: [AtomicU64; 2],
}

impl DnsState {
    pub(super) fn new(followed: Arc<FollowState>) -> Self {
        Self {
            followed,
            names: Mutex::default(),
            counts: Default::default(),
        }
    }

    pub(super) fn followed(&self) -> &FollowState {
        &self.followed
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<DnsName, NameStatus>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_names(&self, names: BTreeMap<DnsName, NameStatus>) {
        *self.names() = names;
    }

    /// Whether the last lookup of a name failed.
    pub(super) fn is_failing(&self, name: &DnsName) -> bool {
        let names = self.names();
        names.get(name).is_some_and(|status| status.fault.is_some())
    }

    /// The fault of the first name that has one.
    pub(super) fn first_fault(&self) -> Option<String> {
        self.names().iter().find_map(|(name, status)| {
            let fault = status.fault.as_ref()?;
            Some(format!("{name}: {fault}"))
        })
    }

    pub(super) fn count(&self, answered: bool) {
        self.counts[usize::from(!answered)].fetch_add(1, Ordering::Relaxed);
    }
}

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
        let [answered, failed] = &self.state.counts;
        Some(NameStatuses {
            names: self.state.names().clone(),
            answered: answered.load(Ordering::Relaxed),
            failed: failed.load(Ordering::Relaxed),
        })
    }
}
