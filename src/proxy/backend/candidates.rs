//! Which backend: the candidates of one request, one after the other, until one is reached or the
//! budget is spent.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::base::clock;
use crate::base::names::{BackendId, RouteName, UpstreamName};
use crate::config::snapshot::{Passive, ProxyVersion};
use crate::core::health::{Outcome, Vitals, Witness};
use crate::core::routing::{Member, Upstream};
use crate::core::session::stick::{StickyKey, Stuck};
use crate::core::wire::proxy_protocol::{self, Header};
use crate::io::carrier::Carrier;
use crate::io::net::dial::{DialError, DialOptions, dial};
use crate::io::tls::client::{ClientTls, ClientTlsError};
use crate::proxy::context::worker::Worker;
use crate::proxy::pipeline::Plan;
use crate::proxy::refusal::Refusal;
use crate::telemetry::metrics::NodeMetrics;

/// TCP keepalive towards backends, so that a half-open one is found even where nothing is sent.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// For a backend that no table has.
const NO_JUDGEMENT: Passive = Passive {
    failures: 0,
    clients: 0,
    ejection: Duration::ZERO,
    ejection_max: Duration::ZERO,
    ejected_share_max: 0.0,
    early_close: Duration::ZERO,
};

/// The candidates of one request.
pub(crate) struct Candidates<'r> {
    upstream: &'r Arc<Upstream>,
    key: Option<&'r [u8]>,
    tried: SmallVec<[usize; 4]>,
    /// How many of those were left out without a try.
    passed_over: usize,
    /// Set where the key sticks to where its live sessions are.
    sticky: Option<StickyKey>,
    /// A session that begins follows those of its key; one that moves does not.
    follows: bool,
    /// Whether what is placed is a session; an ordinary request is over too soon to count.
    session: bool,
    /// Who asks.
    witness: Witness,
    until: Instant,
    worker: &'r Worker,
    route: &'r RouteName,
    /// Why the last one was not reached.
    last: Option<NotReached>,
}

/// Addresses of a client's connection, for a PROXY header.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ends {
    pub(crate) client: Option<SocketAddr>,
    pub(crate) local: Option<SocketAddr>,
}

/// How to get to the backends of an upstream.
pub(crate) struct Road<'r> {
    pub(crate) ends: Ends,
    pub(crate) tls: Option<&'r ClientTls>,
    pub(crate) until: Instant,
}

/// Why a candidate was not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReached {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Tls(#[from] ClientTlsError),
}

impl NotReached {
    fn is_ours(&self) -> bool {
        match self {
            Self::Dial(error) => error.is_ours(),
            Self::Tls(_) => true,
        }
    }

    /// The label in metrics.
    fn reason(&self) -> &'static str {
        match self {
            Self::Dial(DialError::Name { .. }) => "name",
            Self::Dial(DialError::Refused { .. }) => "refused",
            Self::Dial(DialError::TimedOut { .. }) => "timed_out",
            Self::Dial(DialError::ProxyHeader { .. }) => "proxy_header",
            Self::Dial(DialError::Tls { .. }) | Self::Tls(_) => "tls",
            Self::Dial(DialError::Connect { .. }) => "connect",
            Self::Dial(DialError::Own { .. }) => "own_address",
        }
    }
}

/// One session's or request's place with a backend. A session's counts for as long as it is held,
/// from before the dial, so that a burst of handshakes spreads.
#[derive(Debug)]
pub(crate) struct BackendSeat {
    pub(crate) id: BackendId,
    vitals: Arc<Vitals>,
    node: Arc<NodeMetrics>,
    /// Weak: a session must not keep an old table's ring alive.
    upstream: Weak<Upstream>,
    session: bool,
    /// Holds its key where it is, for as long as it lives.
    stuck: Option<Box<Stuck>>,
}

impl<'r> Candidates<'r> {
    pub(crate) fn new(worker: &'r Worker, plan: &'r Plan, session: bool, until: Instant) -> Self {
        let (key, route) = (plan.key.as_deref(), &plan.route.config.name);
        let mut candidates = Self::of(worker, &plan.upstream, key, route, session, until);
        candidates.follows = true;
        candidates.ask_for(plan.witness());
        candidates.stick(plan.route.config.stick);
        candidates
    }

    /// Says who asks.
    pub(crate) const fn ask_for(&mut self, witness: Witness) {
        self.witness = witness;
    }

    /// Says that live sessions of the key count.
    pub(crate) fn stick(&mut self, stick: bool) {
        let key = self.key.filter(|_| stick);
        self.sticky = key.map(|key| StickyKey::new(self.upstream.name(), key));
    }

    /// For whom there is no plan of a request.
    pub(crate) fn of(
        worker: &'r Worker,
        upstream: &'r Arc<Upstream>,
        key: Option<&'r [u8]>,
        route: &'r RouteName,
        session: bool,
        until: Instant,
    ) -> Self {
        Self {
            upstream,
            key,
            until,
            worker,
            route,
            tried: SmallVec::new(),
            passed_over: 0,
            sticky: None,
            follows: false,
            session,
            witness: Witness::default(),
            last: None,
        }
    }

    /// Leaves this one out, if anybody else may.
    pub(crate) fn pass_over(&mut self, id: &BackendId) {
        let members = &self.upstream.members;
        if let Some(index) = members.iter().position(|member| member.id == *id) {
            let pick = |tried: &[usize]| {
                let random = fastrand::u64(..);
                self.upstream
                    .pick_for_session(self.key, tried, clock::now(), random)
            };
            if pick(&[index]).is_some() {
                self.tried.push(index);
                self.passed_over = 1;
            }
        }
    }

    /// Whether attempts or time are used up.
    fn is_spent(&self) -> bool {
        let tried = self.tried.len() - self.passed_over;
        tried >= self.upstream.config.attempts as usize || Instant::now() >= self.until
    }

    /// Whether there is another one to try after those that were.
    pub(crate) fn has_next(&self) -> bool {
        let (now, random) = (clock::now(), fastrand::u64(..));
        let next = || (self.upstream).pick_for_session(self.key, &self.tried, now, random);
        !self.is_spent() && next().is_some()
    }

    /// The next one to try, while the budget lasts.
    pub(crate) fn next(&mut self) -> Option<(&'r Member, BackendSeat)> {
        if self.is_spent() {
            return None;
        }
        let (now, random) = (clock::now(), fastrand::u64(..));
        let index = if let Some(index) = self.stuck(now) {
            index
        } else if self.session {
            let upstream = self.upstream;
            upstream.pick_for_session(self.key, &self.tried, now, random)?
        } else {
            self.upstream.pick(self.key, &self.tried, now, random)?
        };
        self.tried.push(index);
        let member = &self.upstream.members[index];
        Some((
            member,
            BackendSeat::take(self.worker, self.upstream, member, self.session)
                .stuck(self.worker, self.sticky),
        ))
    }

    /// Where live sessions of the key are, if that backend may take one more.
    fn stuck(&self, now: std::time::Instant) -> Option<usize> {
        let key = self.sticky.filter(|_| self.follows)?;
        let places = self.worker.live().sticks().places(key);
        let indexes = places.iter().filter_map(|id| self.upstream.index_of(id));
        let mut may = indexes.filter(|index| {
            self.upstream
                .may_take(*index, &self.tried, now, self.session)
        });
        may.next()
    }

    /// Goes on to the next candidate until one is connected to. Nothing has been sent but, where
    /// asked for, a PROXY header.
    pub(crate) async fn reach(
        &mut self,
        road: &Road<'_>,
    ) -> Result<(BackendSeat, Carrier), Refusal> {
        while let Some((member, seat)) = self.next() {
            match self.connect(member, road).await {
                Ok(carrier) => return Ok((seat, carrier)),
                Err(error) => self.not_reached(&seat, error),
            }
        }
        Err(self.exhausted())
    }

    /// Dials one member, within what is left of the time.
    pub(crate) async fn connect(
        &self,
        member: &Member,
        road: &Road<'_>,
    ) -> Result<Carrier, NotReached> {
        let upstream = &self.upstream.config;
        let header = upstream
            .proxy_protocol
            .map(|version| proxy_header(version, road.ends));
        let tls = road.tls.map(|tls| tls.to(&member.address)).transpose()?;
        let left = road.until.saturating_duration_since(Instant::now());
        member.vitals.connect_began();
        let options = DialOptions {
            timeout: upstream.connect_timeout.min(left),
            keepalive: Some(KEEPALIVE),
            proxy_header: header.as_deref().unwrap_or_default(),
            tls: tls.as_ref(),
            own: &self.worker.live().own().all,
        };
        Ok(dial(&member.address, options).await?)
    }

    /// A dial failed: it is counted, kept for the answer if none succeeds, and speaks against the
    /// backend, unless it is this machine that lacks something.
    pub(crate) fn not_reached(&mut self, seat: &BackendSeat, error: NotReached) {
        let upstream = &self.upstream.config.name;
        tracing::debug!(%upstream, %error, "backend not reached");
        let metrics = self.worker.route_metrics(self.route, upstream);
        metrics.connect_failed(error.reason());
        if !error.is_ours() {
            seat.report(Outcome::ConnectFailed, self.witness);
        }
        self.last = Some(error);
    }

    /// Why there is no next one.
    pub(crate) fn exhausted(&mut self) -> Refusal {
        match self.last.take() {
            _ if Instant::now() >= self.until => Refusal::TimedOut,
            Some(error) => Refusal::Unreachable(error),
            None => Refusal::NoBackend(self.upstream.config.name.to_string()),
        }
    }
}

fn proxy_header(version: ProxyVersion, ends: Ends) -> Vec<u8> {
    let header = match (ends.client, ends.local) {
        (Some(source), Some(destination)) => Header::Proxied {
            source,
            destination,
        },
        _ => Header::Unknown,
    };
    proxy_protocol::encode(version, &header)
}

impl BackendSeat {
    fn take(worker: &Worker, upstream: &Arc<Upstream>, member: &Member, session: bool) -> Self {
        if session {
            member.vitals.session_began();
        }
        Self {
            id: member.id.clone(),
            vitals: Arc::clone(&member.vitals),
            node: Arc::clone(&worker.shared.node),
            upstream: Arc::downgrade(upstream),
            session,
            stuck: None,
        }
    }

    /// Where the route of a session that another process brought is sticky, its key is here.
    pub(crate) fn stick_as(self, worker: &Worker, route: &RouteName, key: Option<&[u8]>) -> Self {
        let table = worker.live().table();
        let sticky = table.route(route).is_some_and(|route| route.config.stick);
        let upstream = self.upstream.upgrade().filter(|_| sticky);
        let key = upstream.zip(key);
        let key = key.map(|(upstream, key)| StickyKey::new(upstream.name(), key));
        drop(table);
        self.stuck(worker, key)
    }

    /// Further sessions of this key come here too.
    fn stuck(mut self, worker: &Worker, key: Option<StickyKey>) -> Self {
        if let Some(key) = key.filter(|_| self.session) {
            self.stuck = Some(Box::new(worker.live().sticks().join(key, &self.id)));
        }
        self
    }

    /// A place for a session that another process brought. A backend that the table does not have
    /// keeps its sessions, which count; its health is not judged.
    pub(crate) fn inherit(worker: &Worker, upstream: &UpstreamName, backend: &BackendId) -> Self {
        let table = worker.live().table();
        if let Some(upstream) = table.upstream(upstream)
            && let Some(member) = upstream.member(backend)
        {
            return Self::take(worker, upstream, member, true);
        }
        let occupancy = table.residents().occupancy(upstream, backend, None);
        let vitals = Vitals::with(occupancy, None, &NO_JUDGEMENT, clock::now());
        vitals.session_began();
        Self {
            id: backend.clone(),
            vitals: Arc::new(vitals),
            node: Arc::clone(&worker.shared.node),
            upstream: Weak::new(),
            session: true,
            stuck: None,
        }
    }

    /// Tells passive health how it went. Of a backend whose upstream is gone, nobody wants to know.
    pub(crate) fn report(&self, outcome: Outcome, witness: Witness) {
        if let Some(upstream) = self.upstream.upgrade() {
            let now = clock::now();
            let may_eject = upstream.may_eject(now);
            let ejected = self.vitals.report(outcome, witness, now, may_eject);
            if let Some(until) = ejected {
                self.node.ejected(&upstream.config.name);
                let seconds = until.duration_since(now).as_secs_f64();
                tracing::warn!(upstream = %upstream.config.name, backend = %self.id, cause = outcome.as_str(), seconds, "backend ejected");
            }
        }
    }

    /// The backend granted the session.
    pub(crate) fn established(&self) {
        self.vitals.session_established();
    }

    /// How soon after its 101 a lost session counts against the backend.
    pub(crate) fn early_close(&self) -> Duration {
        self.upstream.upgrade().map_or(Duration::ZERO, |upstream| {
            upstream.config.passive.early_close
        })
    }
}

impl Drop for BackendSeat {
    fn drop(&mut self) {
        if self.session {
            self.vitals.session_ended();
        }
    }
}
