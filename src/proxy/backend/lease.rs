//! A claim on a backend: it counts a session there, keeps its key there, and reports how it went.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::base::clock;
use crate::base::names::{BackendId, RouteName, UpstreamName};
use crate::config::snapshot::Passive;
use crate::core::health::{BackendState, Occupancy, Outcome, Witness};
use crate::core::routing::{Member, Upstream};
use crate::proxy::backend::sticking::{StickRule, Sticking, Sticky};
use crate::proxy::context::ejections::Ejections;
use crate::proxy::context::worker::Worker;

/// Passive health of a backend that is not in the table.
const UNTRACKED: Passive = Passive {
    failures: 0,
    clients: 0,
    ejection: Duration::ZERO,
    ejection_max: Duration::ZERO,
    ejected_share_max: 0.0,
    early_close: Duration::ZERO,
};

/// A session's or a request's claim on a backend. A session counts for as long as its lease is
/// held, from before the dial, so that a burst of handshakes spreads.
#[derive(Debug)]
pub(crate) struct BackendLease {
    state: Arc<BackendState>,
    ejections: Arc<Ejections>,
    /// Weak: a session must not keep an old table's ring alive.
    upstream: Weak<Upstream>,
    session: bool,
    /// Keeps further sessions of its key on this backend.
    sticky: Option<Box<Sticky>>,
}

/// What stands for a backend where the gateway itself is at its place.
pub(crate) fn local_backend() -> BackendId {
    BackendId::from("gateway")
}

impl BackendLease {
    /// A lease on `member`.
    pub(crate) fn take(
        worker: &Worker,
        upstream: &Arc<Upstream>,
        member: &Member,
        session: bool,
    ) -> Self {
        if session {
            member.state.session_began();
        }
        Self {
            state: Arc::clone(&member.state),
            ejections: Arc::clone(&worker.shared.ejections),
            upstream: Arc::downgrade(upstream),
            session,
            sticky: None,
        }
    }

    /// The same for a session that another process handed over, if its route is sticky.
    pub(crate) fn stick_as(self, worker: &Worker, route: &RouteName, key: Option<&[u8]>) -> Self {
        let table = worker.live().table();
        let route = table.route(route);
        let rule = route.and_then(|route| StickRule::of(&route.config));
        let upstream = self.upstream.upgrade();
        let sticking = rule.zip(upstream).zip(key);
        let sticking = sticking
            .map(|((rule, upstream), key)| Sticking::new(worker, rule, upstream.name(), key));
        self.stick(worker, sticking.as_ref(), false)
    }

    /// Makes further sessions of this key follow this one. If it `moves`, so does the key.
    pub(crate) fn stick(
        mut self,
        worker: &Worker,
        sticking: Option<&Sticking>,
        moves: bool,
    ) -> Self {
        match sticking {
            Some(key) if self.session => {
                self.sticky = Some(Box::new(key.join(worker, self.backend(), moves)));
            }
            Some(key) => key.keep(worker, self.backend()),
            None => {}
        }
        self
    }

    /// The lease of a session that another process handed over. A backend that is not in the table
    /// keeps its sessions, which are counted; its health is not tracked.
    pub(crate) fn inherit(worker: &Worker, upstream: &UpstreamName, backend: &BackendId) -> Self {
        let table = worker.live().table();
        if let Some(upstream) = table.upstream(upstream)
            && let Some(member) = upstream.member(backend)
        {
            return Self::take(worker, upstream, member, true);
        }
        let occupancy = table.residents().occupancy(upstream, backend, None);
        let state = BackendState::with(occupancy, None, &UNTRACKED, clock::now());
        state.session_began();
        Self {
            state: Arc::new(state),
            ejections: Arc::clone(&worker.shared.ejections),
            upstream: Weak::new(),
            session: true,
            sticky: None,
        }
    }

    /// The lease of a session without a backend: the gateway is at its place, so that it is neither
    /// counted for a backend nor tracked.
    pub(crate) fn local(worker: &Worker) -> Self {
        let occupancy = Arc::new(Occupancy::new(local_backend()));
        let state = BackendState::with(occupancy, None, &UNTRACKED, clock::now());
        state.session_began();
        Self {
            state: Arc::new(state),
            ejections: Arc::clone(&worker.shared.ejections),
            upstream: Weak::new(),
            session: true,
            sticky: None,
        }
    }

    /// The backend's id.
    pub(crate) fn backend(&self) -> &BackendId {
        self.state.id()
    }

    /// Reports an outcome to passive health. Outcomes of a removed upstream are dropped.
    pub(crate) fn report(&self, outcome: Outcome, witness: Witness) {
        if let Some(upstream) = self.upstream.upgrade() {
            let now = clock::now();
            let may_eject = upstream.may_eject(now);
            let ejected = self.state.report(outcome, witness, now, may_eject);
            if let Some(until) = ejected {
                let length = until.duration_since(now);
                let name = &upstream.config.name;
                let backend = self.backend();
                self.ejections.report(name, backend, outcome, length);
            }
        }
    }

    /// The backend granted the session.
    pub(crate) fn established(&self) {
        self.state.session_established();
    }

    /// How soon after its 101 a lost session counts against the backend.
    pub(crate) fn early_close(&self) -> Duration {
        self.upstream.upgrade().map_or(Duration::ZERO, |upstream| {
            upstream.config.passive.early_close
        })
    }
}

impl Drop for BackendLease {
    fn drop(&mut self) {
        if self.session {
            self.state.session_ended();
        }
    }
}
