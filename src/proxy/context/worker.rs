//! What everything on one worker shares. It lives on the worker's thread alone, so it is counted
//! and borrowed without locks.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::base::addr::ListenAddr;
use crate::base::clock;
use crate::base::names::{AuthenticatorName, ListenerName, RouteName, UpstreamName};
use crate::base::session_id::SessionId;
use crate::config::snapshot::Listener;
use crate::core::auth::Authenticator;
use crate::core::limits::Permit;
use crate::core::session::wheel::Tick;
use crate::io::relay::Scratch;
use crate::live::{Live, WorkerLoad};
use crate::proxy::session::Sessions;
use crate::proxy::stages::guard::SessionPermits;
use crate::proxy::streams::pool::Pool;
use crate::proxy::verifiers::Judges;
use crate::telemetry::metrics::{
    self, AuthMetrics, ListenerMetrics, Metrics, NodeMetrics, RouteMetrics,
};
use crate::telemetry::records::Records;

/// One step of a worker's wheel.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// Where a worker's time begins: sessions from another process were silent before, by 310 days at
/// most.
const FIRST_TICK: Tick = 1 << 28;
/// Bytes of one read of a session: a whole number of TLS records, and few enough to stay in cache.
const READ_BYTES: usize = 64 * 1024;

/// Requests of a worker that wait for an issuer's keys at most.
const WAITING_MAX: usize = 64;

/// What all workers of a gateway are given alike.
#[derive(Clone)]
pub struct Shared {
    /// The table, the phase, the workers.
    pub live: Arc<Live>,
    /// Where clients come in.
    pub listeners: Arc<[ListenerContext]>,
    /// Where session and request records go.
    pub records: Records,
    /// What judges passwords, and asks services.
    pub judges: Arc<Judges>,
    /// All numbers.
    pub metrics: Arc<Metrics>,
    /// What is counted for the node.
    pub node: Arc<NodeMetrics>,
}

/// A listener as its connections see it.
pub struct ListenerContext {
    /// As configured.
    pub config: Listener,
    /// Where it really listens.
    pub addresses: Vec<ListenAddr>,
    /// Set where TLS ends here.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Its client connections now.
    pub open: AtomicUsize,
    /// What is counted for it.
    pub metrics: ListenerMetrics,
}

/// What a connection that is no session may go on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The next request.
    Open,
    /// Its request, and a session if one comes of it: another process takes the next ones.
    HandingOver,
    /// The answer to its request, at most.
    Stopping,
}

/// One worker's own.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Shared,
    pub(crate) load: Arc<WorkerLoad>,
    pub(crate) sessions: Sessions,
    pub(crate) pool: Pool,
    scratch: RefCell<Scratch>,
    routes: RefCell<HashMap<(RouteName, UpstreamName), Rc<RouteMetrics>>>,
    authenticators: RefCell<HashMap<AuthenticatorName, AuthMetrics>>,
    /// Requests that wait for an issuer's keys.
    waiting: Rc<Cell<usize>>,
    began: Instant,
    tick: Cell<Tick>,
    standing: watch::Sender<Standing>,
}

impl Worker {
    pub(crate) fn new(index: usize, shared: Shared, load: Arc<WorkerLoad>) -> Rc<Self> {
        Rc::new(Self {
            index,
            shared,
            load,
            sessions: Sessions::new(FIRST_TICK),
            pool: Pool::default(),
            scratch: RefCell::new(Scratch::new(READ_BYTES)),
            routes: RefCell::default(),
            authenticators: RefCell::default(),
            waiting: Rc::default(),
            began: clock::now(),
            tick: Cell::new(FIRST_TICK),
            standing: watch::Sender::new(Standing::Open),
        })
    }

    pub(crate) fn live(&self) -> &Live {
        &self.shared.live
    }

    /// The node's time for rates at tick 0, and nanoseconds of a tick.
    pub(crate) fn rate_clock(&self) -> (u64, u64) {
        let tick = u64::try_from(TICK.as_nanos()).expect("a tenth of a second");
        (self.shared.live.quotas.nanos(self.began), tick)
    }

    /// The worker's coarse time.
    pub(crate) fn tick(&self) -> Tick {
        self.tick.get()
    }

    /// Brings the coarse time up to date; the ticker calls it, nobody else reads the clock for it.
    pub(crate) fn advance(&self) -> Tick {
        let passed = clock::now().duration_since(self.began).as_millis() / TICK.as_millis();
        let passed = Tick::try_from(passed).unwrap_or(Tick::MAX);
        let ticks = FIRST_TICK.saturating_add(passed);
        self.tick.set(ticks);
        ticks
    }

    pub(crate) fn scratch(&self) -> RefMut<'_, Scratch> {
        self.scratch.borrow_mut()
    }

    /// The counters of a route, made at its first use.
    pub(crate) fn route_metrics(
        &self,
        route: &RouteName,
        upstream: &UpstreamName,
    ) -> Rc<RouteMetrics> {
        let key = (route.clone(), upstream.clone());
        let mut routes = self.routes.borrow_mut();
        Rc::clone(
            routes.entry(key).or_insert_with(|| {
                Rc::new(RouteMetrics::new(&self.shared.metrics, route, upstream))
            }),
        )
    }

    /// Lets go of counters whose names have left the table and which no session needs, so that
    /// their series can be removed.
    pub(crate) fn forget_metrics(&self) {
        let table = self.live().table();
        self.routes.borrow_mut().retain(|(route, upstream), set| {
            let upstream = Some(upstream.as_str()).filter(|name| !name.is_empty());
            let known =
                route.as_str().is_empty() || metrics::is_route(&table, route.as_str(), upstream);
            known || Rc::strong_count(set) > 1
        });
        let mut authenticators = self.authenticators.borrow_mut();
        authenticators.retain(|name, _| table.authenticator(name.as_str()).is_some());
    }

    /// Counts what an authenticator said; its counters are made at its first use.
    pub(crate) fn authenticated(&self, authenticator: &Authenticator, outcome: &'static str) {
        let name = &authenticator.config.name;
        let mut known = self.authenticators.borrow_mut();
        let metrics = known
            .entry(name.clone())
            .or_insert_with(|| AuthMetrics::new(&self.shared.metrics, name));
        metrics.judged(outcome);
    }

    /// A place among those who wait for an issuer's keys, while there is one.
    pub(crate) fn wait_for_keys(&self) -> Option<WaitingSeat> {
        if self.waiting.get() >= WAITING_MAX {
            return None;
        }
        self.waiting.set(self.waiting.get() + 1);
        Some(WaitingSeat(Rc::clone(&self.waiting)))
    }

    /// A name for a request and for the session that may come of it.
    pub(crate) fn name_request(&self) -> SessionId {
        let random = fastrand::u128(..);
        SessionId::new(clock::unix_millis(clock::wall()), random)
    }

    /// What the worker's connections may go on to.
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Tells connections what they may go on to.
    pub(crate) fn stand(&self, standing: Standing) {
        self.standing.send_replace(standing);
    }

    /// Whether a connection is to be used for one more request after this.
    pub(crate) fn keeps_connections(&self) -> bool {
        *self.standing.borrow() == Standing::Open
    }

    /// Counters for what no route took.
    pub(crate) fn no_route_metrics(&self) -> Rc<RouteMetrics> {
        self.route_metrics(&RouteName::from(""), &UpstreamName::from(""))
    }
}

/// Counts a request for as long as it waits.
pub(crate) struct WaitingSeat(Rc<Cell<usize>>);

impl Drop for WaitingSeat {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Counts a client connection for as long as it is open, as a request's or as a session's.
pub(crate) struct ConnectionSeat {
    load: Arc<WorkerLoad>,
    listeners: Arc<[ListenerContext]>,
    /// `None` for a session from another process whose listener this one does not have.
    listener: Option<usize>,
    /// What it takes up of what is limited, as a connection and as the session that it becomes.
    permits: SessionPermits,
}

impl ConnectionSeat {
    /// A place on the worker with this load.
    pub(crate) fn take(shared: &Shared, listener: usize, load: &Arc<WorkerLoad>) -> Self {
        load.connections.fetch_add(1, Ordering::Relaxed);
        let listeners = Arc::clone(&shared.listeners);
        listeners[listener].open.fetch_add(1, Ordering::Relaxed);
        listeners[listener].metrics.accepted();
        Self {
            load: Arc::clone(load),
            listeners,
            listener: Some(listener),
            permits: SessionPermits::default(),
        }
    }

    /// A place for a session that another process accepted, at the listener of this name.
    pub(crate) fn inherit(
        shared: &Shared,
        name: &ListenerName,
        load: &Arc<WorkerLoad>,
        permits: SessionPermits,
    ) -> Self {
        load.connections.fetch_add(1, Ordering::Relaxed);
        let listeners = Arc::clone(&shared.listeners);
        let same = |listener: &ListenerContext| listener.config.name == *name;
        let listener = listeners.iter().position(same);
        if let Some(listener) = listener {
            listeners[listener].open.fetch_add(1, Ordering::Relaxed);
            listeners[listener].metrics.inherited();
        }
        Self {
            load: Arc::clone(load),
            listeners,
            listener,
            permits,
        }
    }

    /// What it takes up of what is limited.
    pub(crate) fn permits(&self) -> &SessionPermits {
        &self.permits
    }

    /// Holds the client's permit for as long as the connection is open.
    pub(crate) fn hold(&mut self, permit: Option<Permit>) {
        self.permits.add(permit);
    }

    /// The same for what the session takes up that comes of it.
    pub(crate) fn hold_session(&mut self, permits: SessionPermits) {
        self.permits.join(permits);
    }

    /// Moves to the worker with this load. Everything else about the connection was counted when it
    /// was accepted, and is not counted again.
    pub(crate) fn move_to(&mut self, load: &Arc<WorkerLoad>) {
        self.load.connections.fetch_sub(1, Ordering::Relaxed);
        load.connections.fetch_add(1, Ordering::Relaxed);
        self.load = Arc::clone(load);
    }
}

impl Drop for ConnectionSeat {
    fn drop(&mut self) {
        self.load.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(listener) = self.listener {
            let listener = &self.listeners[listener];
            listener.open.fetch_sub(1, Ordering::Relaxed);
            listener.metrics.closed();
        }
    }
}

/// A time in ticks, one more than it fills, since the tick it begins in is partly over.
pub(crate) fn ticks(time: Duration) -> Tick {
    let ticks = time.as_millis().div_ceil(TICK.as_millis());
    Tick::try_from(ticks).unwrap_or(Tick::MAX).saturating_add(1)
}
