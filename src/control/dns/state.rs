//! How the names in DNS stand, for those who look at the source.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::dns_name::DnsName;
use crate::control::sources::NameStatuses;
use crate::control::sources::followed::FollowState;
use crate::core::discovery::NameStatus;

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

    /// The fault of the first name that has one.
    pub(super) fn first_fault(&self) -> Option<String> {
        self.names().iter().find_map(|(name, status)| {
            let fault = status.fault.as_ref()?;
            Some(format!("{name}: {fault}"))
        })
    }

    /// How each name stands, and what came of lookups.
    pub(super) fn statuses(&self) -> NameStatuses {
        let [answered, failed] = &self.counts;
        NameStatuses {
            names: self.names().clone(),
            answered: answered.load(Ordering::Relaxed),
            failed: failed.load(Ordering::Relaxed),
        }
    }

    pub(super) fn count(&self, answered: bool) {
        self.counts[usize::from(!answered)].fetch_add(1, Ordering::Relaxed);
    }
}
