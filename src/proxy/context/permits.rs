//! The permits that requests and sessions hold of limited resources. A permit is given back when it
//! is dropped.

use crate::core::limits::{Holder, LoadPermit, Permit};
use crate::live::Live;

/// The permits of a request. Ordinary requests need none.
#[derive(Debug, Default)]
pub(crate) struct RequestPermits {
    /// Until the handshake is over.
    pub(crate) _handshake: Option<LoadPermit>,
    /// As long as the session lives.
    pub(crate) session: SessionPermits,
}

/// The permits of a session. Small, since every session has one: mostly there is only the node's.
#[derive(Debug, Default)]
pub(crate) struct SessionPermits {
    /// Of the node.
    load: Option<LoadPermit>,
    /// Of its route, its client's network, its principal.
    #[allow(
        clippy::box_collection,
        reason = "mostly there is none, which so takes 8 bytes of a session and not 24"
    )]
    held: Option<Box<Vec<Permit>>>,
}

impl SessionPermits {
    /// The node's permit and further ones.
    pub(crate) fn of(load: LoadPermit, held: Vec<Permit>) -> Self {
        Self {
            load: Some(load),
            held: (!held.is_empty()).then(|| Box::new(held)),
        }
    }

    /// Adds permits.
    pub(crate) fn add(&mut self, permit: impl IntoIterator<Item = Permit>) {
        for permit in permit {
            self.held.get_or_insert_default().push(permit);
        }
    }

    /// Takes over the permits of `other`.
    pub(crate) fn join(&mut self, other: Self) {
        self.load = self.load.take().or(other.load);
        self.add(other.held.into_iter().flat_map(|held| *held));
    }

    /// What the session is counted for, beside the node.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        let held = self.held.iter().flat_map(|held| held.iter());
        held.map(|held| held.holder().clone()).collect()
    }

    /// The permits of a session that another process admitted. They are granted whatever the limits
    /// are now.
    pub(crate) fn inherit(live: &Live, holders: Vec<Holder>) -> Self {
        let take = |holder| live.quotas.counts.take(holder, usize::MAX).ok();
        let mut permits = Self {
            load: Some(live.load.session_regardless()),
            held: None,
        };
        permits.add(holders.into_iter().filter_map(take));
        permits
    }
}
