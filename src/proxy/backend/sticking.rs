//! A sticky key: where it sticks on this node, and in the fleet.

use std::sync::Arc;
use std::time::Duration;

use crate::base::names::{BackendId, UpstreamName};
use crate::config::snapshot::Route;
use crate::core::session::stick::{StickyKey, Stuck};
use crate::core::state::StateKey;
use crate::io::state::{FleetState, Share};
use crate::proxy::context::worker::Worker;

/// How the keys of a route stick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StickRule {
    /// Over the fleet, where it counts together.
    fleet: bool,
    /// For so long after the last session.
    keep: Duration,
}

impl StickRule {
    /// On this node, as long as there are sessions.
    #[cfg(test)]
    pub(crate) const HERE: Self = Self {
        fleet: false,
        keep: Duration::ZERO,
    };

    /// The rule of a route; `None` if its keys do not stick.
    pub(crate) fn of(route: &Route) -> Option<Self> {
        route.stick.then_some(Self {
            fleet: route.fleet,
            keep: route.stick_for,
        })
    }
}

/// A key that sticks.
pub(crate) struct Sticking {
    key: StickyKey,
    fleet: Option<(Arc<FleetState>, StateKey)>,
    keep: Duration,
}

impl Sticking {
    /// The key with these bytes, of that upstream.
    pub(crate) fn new(
        worker: &Worker,
        rule: StickRule,
        upstream: &UpstreamName,
        key: &[u8],
    ) -> Self {
        let state = worker.live().state().filter(|_| rule.fleet);
        let of_fleet = || StateKey::of_sticky(upstream, key);
        Self {
            key: StickyKey::new(upstream, key),
            fleet: state.map(|state| (Arc::clone(state), of_fleet())),
            keep: rule.keep,
        }
    }

    /// The key on this node.
    pub(crate) fn key(&self) -> StickyKey {
        self.key
    }

    /// Whether the fleet keeps its backend.
    pub(crate) fn is_of_fleet(&self) -> bool {
        self.fleet.is_some()
    }

    /// A session of the key is on this backend. If it `moves` there, so does the key.
    pub(crate) fn join(&self, worker: &Worker, backend: &BackendId, moves: bool) -> Sticky {
        let fleet = self.fleet.as_ref();
        Sticky {
            _here: worker.live().sticks().join(self.key, backend, self.keep),
            _fleet: fleet.map(|(state, key)| state.stick(*key, (backend, moves), self.keep)),
        }
    }

    /// An ordinary request of the key goes to this backend.
    pub(crate) fn keep(&self, worker: &Worker, backend: &BackendId) {
        worker.live().sticks().keep(self.key, backend, self.keep);
    }

    /// The backend of the key in the fleet; it becomes `own` if it has none, or one that is
    /// `useless`. `None` if the fleet does not keep it, or cannot be asked. An ordinary request
    /// claims a backend only where it is kept without sessions.
    pub(crate) async fn of_fleet(
        &self,
        session: bool,
        own: &BackendId,
        useless: Option<&BackendId>,
    ) -> Option<BackendId> {
        let (state, key) = self.fleet.as_ref()?;
        if !session && self.keep.is_zero() {
            return state.look(*key, self.keep).await?.map(BackendId::new);
        }
        let useless = useless.map(BackendId::as_str);
        let backend = state.backend(*key, (own, useless), self.keep).await?;
        Some(BackendId::new(backend))
    }
}

/// One session's part in keeping its key where it is.
#[derive(Debug)]
pub(crate) struct Sticky {
    _here: Stuck,
    _fleet: Option<Share>,
}
