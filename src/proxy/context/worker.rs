//! What one worker holds. It lives on the worker's thread alone, so it is counted and borrowed
//! without locks.

use std::cell::{RefCell, RefMut};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch;

use crate::base::clock;
use crate::base::names::{AuthenticatorName, RouteName, UpstreamName};
use crate::base::session_id::SessionId;
use crate::core::auth::Authenticator;
use crate::core::session::details::{Details, SharedDetails};
use crate::core::session::record::Record;
use crate::core::session::wheel::Tick;
use crate::io::ends::{EndServices, Functions};
use crate::io::relay::ReadBuffer;
use crate::live::{Live, WorkerLoad};
use crate::proxy::clock::{TICK, WorkerClock};
use crate::proxy::context::shared::Shared;
use crate::proxy::functions::calls::FunctionCalls;
use crate::proxy::streams::pool::Pool;
use crate::proxy::verifiers::services::ServiceClients;
use crate::proxy::verifiers::text::KeyWaiters;
use crate::telemetry::metrics::{self, AuthMetrics, RouteMetrics};
use crate::telemetry::records::RequestRecord;

/// Bytes of one read of a session: a whole number of TLS records, and few enough to stay in cache.
const READ_BYTES: usize = 64 * 1024;

/// What a connection that is not a session may still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerPhase {
    /// Send further requests.
    Serving,
    /// Finish its request, and become a session: another process takes the next requests.
    HandingOver,
    /// Get the answer to its request, at most.
    Stopping,
}

/// The state of one worker.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Shared,
    pub(crate) load: Arc<WorkerLoad>,
    pub(crate) clock: Rc<WorkerClock>,
    /// Idle connections to backends.
    pub(crate) pool: Rc<Pool>,
    /// Requests that wait for an issuer's keys.
    pub(crate) key_waiters: KeyWaiters,
    /// Connections to forward-auth services.
    pub(crate) service_clients: ServiceClients,
    /// Calls of functions.
    pub(crate) functions: FunctionCalls,
    /// The same, as ends of sessions have it.
    end_functions: Arc<dyn Functions>,
    read_buffer: RefCell<ReadBuffer>,
    routes: RefCell<HashMap<(RouteName, UpstreamName), Rc<RouteMetrics>>>,
    authenticators: RefCell<HashMap<AuthenticatorName, AuthMetrics>>,
    details: RefCell<SharedDetails>,
    phase: watch::Sender<WorkerPhase>,
}

impl Worker {
    /// A worker that serves nothing yet.
    pub(crate) fn new(index: usize, shared: Shared, load: Arc<WorkerLoad>) -> Rc<Self> {
        let functions = FunctionCalls::new(
            Arc::clone(&shared.live),
            Arc::clone(&shared.functions),
            Arc::clone(&shared.metrics),
        );
        Rc::new(Self {
            index,
            shared,
            load,
            clock: WorkerClock::start(),
            pool: Rc::default(),
            key_waiters: KeyWaiters::default(),
            service_clients: ServiceClients::default(),
            end_functions: Arc::new(functions.clone()),
            functions,
            read_buffer: RefCell::new(ReadBuffer::new(READ_BYTES)),
            routes: RefCell::default(),
            authenticators: RefCell::default(),
            details: RefCell::default(),
            phase: watch::Sender::new(WorkerPhase::Serving),
        })
    }

    /// What both planes share.
    pub(crate) fn live(&self) -> &Live {
        &self.shared.live
    }

    /// The quotas' time at tick 0, and nanoseconds of a tick.
    pub(crate) fn rate_clock(&self) -> (u64, u64) {
        let tick = u64::try_from(TICK.as_nanos()).expect("a tenth of a second");
        (self.live().quotas.nanos(self.clock.began()), tick)
    }

    /// What ends of sessions are made with.
    pub(crate) fn end_services(&self) -> EndServices<'_> {
        EndServices {
            outlet: &self.shared.outlet,
            functions: &self.end_functions,
        }
    }

    /// The worker's coarse time.
    pub(crate) fn tick(&self) -> Tick {
        self.clock.tick()
    }

    /// The buffer that all sessions of the worker read into.
    pub(crate) fn read_buffer(&self) -> RefMut<'_, ReadBuffer> {
        self.read_buffer.borrow_mut()
    }

    /// What the gateways' own names at the broker begin with.
    pub(crate) fn broker_prefix(&self) -> &str {
        self.live().messages().map_or("", |setup| &setup.prefix)
    }

    /// The metrics of a route, made at first use.
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

    /// The metrics of requests that no route took.
    pub(crate) fn no_route_metrics(&self) -> Rc<RouteMetrics> {
        self.route_metrics(&RouteName::from(""), &UpstreamName::from(""))
    }

    /// Drops metrics whose names have left the table and that no session uses, so that their series
    /// can be removed.
    pub(crate) fn drop_stale_metrics(&self) {
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

    /// The value that sessions with the same details share.
    pub(crate) fn share_details(&self, details: Details) -> Arc<Details> {
        self.details.borrow_mut().share(details)
    }

    /// Counts the outcome of an authenticator.
    pub(crate) fn authenticated(&self, authenticator: &Authenticator, outcome: &'static str) {
        let name = &authenticator.config.name;
        let mut known = self.authenticators.borrow_mut();
        let metrics = known
            .entry(name.clone())
            .or_insert_with(|| AuthMetrics::new(&self.shared.metrics, name));
        metrics.verified(outcome);
    }

    /// Writes the record of a session that ended, and its event (I6).
    pub(crate) fn session_ended(&self, record: &Record) {
        self.shared.records.session(record);
        self.live().events().session_ended(record);
    }

    /// Writes the record of a request that became no session, and its event if it was refused.
    pub(crate) fn request_ended(&self, record: &RequestRecord<'_>) {
        self.shared.records.request(record);
        self.live().events().request_ended(record);
    }

    /// A new id for a request and for the session that may come of it.
    pub(crate) fn name_request(&self) -> SessionId {
        let random = fastrand::u128(..);
        SessionId::new(clock::unix_millis(clock::wall()), random)
    }

    /// What the worker's connections may still do, and its changes.
    pub(crate) fn phase(&self) -> watch::Receiver<WorkerPhase> {
        self.phase.subscribe()
    }

    /// Changes what the worker's connections may still do.
    pub(crate) fn set_phase(&self, phase: WorkerPhase) {
        self.phase.send_replace(phase);
    }

    /// Whether a connection may be used for one more request after this.
    pub(crate) fn keeps_connections(&self) -> bool {
        *self.phase.borrow() == WorkerPhase::Serving
    }
}
