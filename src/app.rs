//! Puts the gateway together: the only file that uses all parts. `Gateway::bind` opens every
//! socket or fails; `Bound::run` serves until it is stopped, and returns how it ended.

mod acme;
mod addresses;
mod change_watch;
mod event_log;
mod fleet_membership;
mod handover_lifecycle;
mod opening;
mod publishing;
mod signals;
mod sources;
mod state;
mod stopping;
mod ticket_keys;
mod traces;

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use anyhow::Context;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};

use crate::admin::api_socket::ApiSocket;
use crate::admin::fleet::client::FleetClient;
use crate::admin::{self, ListenerView};
use crate::app::addresses::gateway_addresses;
use crate::app::change_watch::watched;
use crate::app::event_log::EventLog;
use crate::app::fleet_membership::FleetMembership;
use crate::app::handover_lifecycle::{HandoverLifecycle, operator_orders, settle};
use crate::app::opening::{Opened, open_all, open_ticket_keys};
use crate::app::signals::Signals;
use crate::app::stopping::close_sessions;
use crate::app::ticket_keys::keep_ticket_keys;
use crate::app::traces::Traces;
use crate::base::addr::ListenAddr;
use crate::base::names::ListenerName;
use crate::config::snapshot::{ListenerTls, Node, Snapshot};
use crate::control::acme::AcmeCertificates;
use crate::control::certs;
use crate::control::fleet::Fleet;
use crate::control::handover::{Handover, HandoverOutcome, HandoverRequest, Inherited};
use crate::control::jwks;
use crate::control::load::Loaded;
use crate::control::memory;
use crate::control::messages::Messages;
use crate::control::revocations::RevocationStore;
use crate::control::scaling::ScalingWatch;
use crate::control::series;
use crate::control::sources::Sources;
use crate::control::state_dir::StateDir;
use crate::control::supervisor::composition::resolved;
use crate::control::supervisor::{self, Configuration, Supervisor};
use crate::control::ticket_keys::TicketKeyStore;
use crate::io::broker::Outlet;
use crate::io::cpus;
use crate::io::net::listener;
use crate::io::tls::server::Resolver;
use crate::live::{Live, Phase};
use crate::proxy::worker::{self, Ejections, Shared};
use crate::telemetry::log::LogLevel;
use crate::telemetry::metrics::{MessageMetrics, Metrics, NodeMetrics};
use crate::telemetry::records::{Records, RecordsGuard};

pub use stopping::End;

/// Listeners with TLS, and the certificates that they show.
type Certificates = Vec<(ListenerName, ListenerTls, Arc<Resolver>)>;

/// TLS towards clients, beside the sockets.
struct ClientsTls {
    certificates: Certificates,
    acme: Arc<AcmeCertificates>,
    ticket_keys: Arc<TicketKeyStore>,
}

/// A gateway whose sockets are open and whose table is compiled; clients queue already.
pub struct Bound {
    shared: Shared,
    traces: Option<Traces>,
    sockets: Vec<(usize, listener::Bound)>,
    admin: admin::server::Bound,
    publish: Option<ApiSocket>,
    tls: ClientsTls,
    handover: Option<Handover>,
    supervisor: Arc<Supervisor>,
    revocations: Arc<RevocationStore>,
    log: LogLevel,
    _records: RecordsGuard,
}

impl Bound {
    /// Opens everything that `loaded` asks for; what the process before this one left, if `request`
    /// has something, is not opened again.
    ///
    /// # Errors
    /// When a socket, a certificate, a record file or the state directory cannot be opened; nothing
    /// is left open then.
    pub fn open(
        configuration: Configuration,
        loaded: Loaded,
        log: LogLevel,
        mut request: Option<&mut HandoverRequest>,
    ) -> anyhow::Result<Self> {
        let mut nothing = Inherited::default();
        // Names that only documents of other sources bring are looked up when those are there.
        let resolved = resolved(&loaded);
        let snapshot = &resolved.snapshot;
        let state_dir = snapshot.node.state_dir.as_deref();
        let state_dir = state_dir.map(StateDir::open).transpose()?;
        let metrics = Metrics::new();
        let traces = traces::open(snapshot, &metrics);
        let (records, records_guard) = Records::open(&snapshot.log, &snapshot.node.name)?;
        let first = supervisor::first_generation(snapshot, memory::allowance())?;
        let node = Arc::new(NodeMetrics::new(&metrics, first.table.generation));

        let inherited = match &mut request {
            Some(request) => &mut request.inherited,
            None => &mut nothing,
        };
        let ticket_keys = Arc::new(open_ticket_keys(snapshot, inherited.ticket_keys.take())?);
        let challenges = acme::challenges(snapshot);
        let keys = (&*ticket_keys, &challenges);
        let Opened {
            contexts,
            sockets,
            certificates,
            shares,
            admin,
            publish,
        } = open_all(snapshot, keys, &metrics, &mut inherited.sockets)?;
        let acme = acme::open(snapshot, &certificates, &challenges, state_dir.as_ref());
        let handover = match request {
            Some(request) => Some(settle(request, shares, &ticket_keys).context("hand-over")?),
            None => None,
        };
        let live = Live::new(first);
        state::prepare(&live, snapshot, &metrics);
        let workers = worker_count(snapshot.node.workers);
        publishing::prepare(&live, snapshot, &metrics, workers);
        let door = handover.as_ref().map(Handover::address);
        live.set_gateway_addresses(gateway_addresses(&contexts, &admin, publish.as_ref(), door));
        let shared = Shared {
            live: Arc::clone(&live),
            listeners: contexts.into(),
            records,
            tracer: traces.as_ref().map(Traces::tracer),
            challenges: Arc::clone(&challenges),
            verifiers: Arc::default(),
            functions: Arc::default(),
            outlet: Arc::new(Outlet::new(MessageMetrics::new(&metrics).sent_by_clients())),
            metrics,
            ejections: Ejections::new(&node, live.events()),
            node: Arc::clone(&node),
        };
        let revocations = Arc::new(RevocationStore::open(Arc::clone(&live), state_dir.as_ref()));
        let supervisor = Supervisor::new(live, configuration, loaded, node, state_dir);
        Ok(Self {
            shared,
            traces,
            sockets,
            admin,
            publish,
            tls: ClientsTls {
                certificates,
                acme,
                ticket_keys,
            },
            handover,
            supervisor,
            revocations,
            log,
            _records: records_guard,
        })
    }

    /// Where each listener really listens, in the order of the configuration.
    pub fn addresses(&self) -> Vec<ListenAddr> {
        self.shared
            .listeners
            .iter()
            .flat_map(|listener| listener.addresses.clone())
            .collect()
    }

    /// Where the admin API really listens.
    pub fn admin_address(&self) -> &ListenAddr {
        self.admin.address()
    }

    /// Serves until SIGTERM or SIGINT, then closes sessions over the grace time; a second signal
    /// cuts that short. SIGHUP reloads.
    ///
    /// # Errors
    /// When threads or signals are not to be had.
    pub async fn run(self) -> anyhow::Result<End> {
        let Self {
            shared,
            traces,
            sockets,
            admin,
            publish,
            tls,
            handover,
            supervisor,
            revocations,
            log,
            _records,
        } = self;
        let mut signals = Signals::new().context("signals")?;
        let configured = supervisor.loaded();
        let (workers, cores) = placement(&configured.snapshot.node);
        let live = Arc::clone(&shared.live);
        let takes_over = handover.as_ref().is_some_and(Handover::takes_over);
        let event_log = begin_events(&live, &configured.snapshot, handover.as_ref()).await;
        let mut background = JoinSet::new();
        // Before the first client is served; until then they queue.
        let sources = sources::open(&supervisor, &live).await;
        revocations.set_sources(sources.clone());
        sources::follow(&sources, &mut background).await;
        let (handles, threads) =
            worker::start(&shared, (workers, &cores), sockets).context("workers")?;
        live.set_workers(handles);
        supervisor.start().await;

        state::begin(&live, &mut background);
        let control = (&supervisor, &revocations);
        keep_busy(&mut background, control, &shared, traces);
        keep_tls(&mut background, &tls, &shared, &configured.snapshot);
        sources::follow_file(&sources, &mut background);
        let settings = (&configured.snapshot, takes_over);
        let publishing = publishing::begin(publish, &shared, settings, &mut background);
        let (stop_admin, admin_stopped) = oneshot::channel::<()>();
        let membership = FleetMembership::join(&supervisor, &live, admin.address(), &sources);
        let parts = (sources.clone(), membership.fleet(), publishing.hub());
        let api = watched(
            &mut background,
            operated(&shared, control, log, parts, tls)?,
        );
        let admin_address = admin.address().clone();
        let admin = tokio::spawn(admin.serve(api, async { drop(admin_stopped.await) }));
        begin_ramp(&live, &configured.snapshot, handover.as_ref());
        live.enter(Phase::Ready);
        event_log::report_ready(&shared, workers, &admin_address);

        let kept = (operator_orders(&supervisor, &revocations), publishing.hub());
        let mut lifecycle = HandoverLifecycle::begin(handover, &shared, kept);
        let outcome = tokio::select! {
            () = signals.serve_until_stop(&supervisor, &shared.records) => None,
            outcome = lifecycle.outcome() => Some(outcome),
        };
        lifecycle.end(outcome.as_ref()).await;
        let shutdown = supervisor.loaded().snapshot.shutdown;
        if outcome.is_none() {
            signals.leave(&live, shutdown.delay).await;
        }
        let messages = publishing.end().await;
        let end = close_sessions(&live, threads, &mut signals, shutdown).await;
        publishing::leave(messages, &shared.outlet).await;
        leave_others(membership, &sources).await;
        revocations.tickets().leave(outcome.is_some()).await;
        state::leave(&live, background).await;
        event_log.end().await;
        drop(stop_admin);
        report_api(admin.await);
        end.log();
        taken(outcome).map(|()| end)
    }
}

/// Ends what other gateways would wait for.
async fn leave_others(membership: FleetMembership, sources: &Sources) {
    membership.leave().await;
    sources::leave(sources).await;
}

/// Reports the failure of the admin API.
fn report_api(ended: Result<io::Result<()>, JoinError>) {
    if let Ok(Err(error)) = ended {
        tracing::error!(%error, "the admin API failed");
    }
}

/// Begins to collect events, and makes known which process this one takes over from.
async fn begin_events(live: &Live, snapshot: &Snapshot, handover: Option<&Handover>) -> EventLog {
    let predecessor = handover.and_then(Handover::predecessor_pid);
    if let Some(pid) = predecessor {
        live.set_other_process(pid);
    }
    EventLog::begin(live, snapshot, predecessor).await
}

/// Admits sessions slowly at first. Clients of a process that is taken over do not come in a crowd.
fn begin_ramp(live: &Live, snapshot: &Snapshot, handover: Option<&Handover>) {
    let takes_over = handover.is_some_and(Handover::takes_over);
    if let Some(ramp) = snapshot.admission.filter(|_| !takes_over) {
        live.begin_ramp(ramp);
    }
}

/// What goes on beside the workers for as long as the gateway runs.
fn keep_busy(
    background: &mut JoinSet<()>,
    (supervisor, revocations): (&Arc<Supervisor>, &Arc<RevocationStore>),
    shared: &Shared,
    traces: Option<Traces>,
) {
    let live = || Arc::clone(&shared.live);
    background.spawn(jwks::follow(live(), Arc::clone(&shared.node)));
    background.spawn(memory::watch(live()));
    background.spawn(Arc::clone(revocations.tickets()).run());
    background.spawn(Arc::clone(revocations).forget_expired());
    if let Some(state_dir) = supervisor.state_dir() {
        background.spawn(Arc::clone(state_dir).watch());
    }
    background.spawn(Arc::clone(supervisor.drainer()).run());
    background.spawn(Arc::clone(supervisor.rebalancer()).run());
    background.spawn(series::keep(Arc::clone(&shared.metrics), live()));
    if let Some(traces) = traces {
        traces.export(background, shared);
    }
}

/// Keeps certificates and ticket keys fresh.
fn keep_tls(background: &mut JoinSet<()>, tls: &ClientsTls, shared: &Shared, snapshot: &Snapshot) {
    for (listener, tls, resolver) in tls.certificates.iter().cloned() {
        background.spawn(certs::follow(listener, tls, resolver));
    }
    let own = shared.live.gateway_addresses().admin.clone();
    background.spawn(Arc::clone(&tls.acme).keep(own, Arc::clone(&shared.node)));
    keep_ticket_keys(background, &tls.ticket_keys, snapshot);
}

/// The gateway as the admin API sees it.
///
/// # Errors
/// When the authorities of `admin.fleet` cannot be read.
fn operated(
    shared: &Shared,
    (supervisor, revocations): (&Arc<Supervisor>, &Arc<RevocationStore>),
    log: LogLevel,
    (sources, fleet, messages): (Sources, Option<Arc<Fleet>>, Option<Arc<Messages>>),
    tls: ClientsTls,
) -> anyhow::Result<admin::Gateway> {
    let (own, snapshot) = (&shared.live.gateway_addresses().admin, supervisor.loaded());
    let fleet_client = FleetClient::new(&snapshot.snapshot.admin.fleet, own.clone());
    let fleet_client = fleet_client.context("admin.fleet")?;
    let certificates = tls.certificates.into_iter();
    let certificates = certificates.map(|(name, _, resolver)| (name.to_string(), resolver));
    let listeners = shared.listeners.iter().map(|listener| ListenerView {
        name: listener.config.name.to_string(),
        tls: listener.tls.is_some(),
        addresses: listener.addresses.iter().map(ToString::to_string).collect(),
    });
    Ok(admin::Gateway {
        node: Arc::clone(&supervisor.loaded().snapshot.node.name),
        live: Arc::clone(&shared.live),
        metrics: Arc::clone(&shared.metrics),
        records: shared.records.clone(),
        log: Some(log),
        listeners: listeners.collect(),
        certificates: certificates.collect(),
        acme: tls.acme,
        supervisor: Arc::clone(supervisor),
        revocations: Arc::clone(revocations),
        fleet,
        fleet_client,
        connections: listener_connections(shared),
        scaling: ScalingWatch::new(Arc::clone(&shared.live)),
        sources,
        messages,
        tokens: admin::token_ends::ends(&supervisor.loaded().snapshot),
        desk: admin::Desk::default(),
    })
}

/// Counts the connections of a listener for the admin API.
fn listener_connections(shared: &Shared) -> admin::ListenerConnections {
    let listeners = Arc::clone(&shared.listeners);
    Box::new(move |name| {
        let mut listeners = listeners.iter();
        let listener = listeners.find(|listener| listener.config.name.as_str() == name)?;
        Some(listener.open.load(Ordering::Relaxed))
    })
}

/// An error if another process was to take over and did not.
fn taken(outcome: Option<HandoverOutcome>) -> anyhow::Result<()> {
    match outcome {
        Some(HandoverOutcome::NotTaken(reason)) => anyhow::bail!(reason),
        _ => Ok(()),
    }
}

/// How many workers there are, and the cores that they stay on; none: the system places them.
fn placement(node: &Node) -> (usize, Vec<usize>) {
    let workers = worker_count(node.workers);
    if !node.pin_workers {
        return (workers, Vec::new());
    }
    let cores = cpus::allowed().unwrap_or_else(|error| {
        tracing::warn!(%error, "workers are not pinned");
        Vec::new()
    });
    (workers, cores)
}

fn worker_count(configured: usize) -> usize {
    match configured {
        0 => thread::available_parallelism().map_or(1, NonZeroUsize::get),
        count => count,
    }
}
