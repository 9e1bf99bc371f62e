//! Puts the gateway together: the only file that knows everything. `Gateway::bind` opens every
//! socket or fails; `Bound::run` serves until it is told to stop, and says how that went.

mod addresses;
mod signals;

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use rustls::ServerConfig;
use sd_notify::NotifyState;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::admin::{self, ListenerView};
use crate::app::addresses::{listening, own};
use crate::app::signals::Signals;
use crate::base::addr::ListenAddr;
use crate::base::clock;
use crate::base::names::ListenerName;
use crate::config::snapshot::{Admin, Listener, ListenerTls, Shutdown, Snapshot};
use crate::control::certs;
#[cfg(feature = "etcd")]
use crate::control::etcd::announce::{self, Joined};
#[cfg(feature = "etcd")]
use crate::control::etcd::follow::Follower;
#[cfg(feature = "etcd")]
use crate::control::etcd::pen::pen;
use crate::control::fleet::Fleet;
use crate::control::handover::{self, Claim, Handover, Parting, Told};
use crate::control::jwks;
use crate::control::load::Loaded;
use crate::control::memory;
use crate::control::revocations::Docket;
use crate::control::series;
use crate::control::source::SourceState;
use crate::control::state_dir::StateDir;
use crate::control::supervisor::composition::resolved;
use crate::control::supervisor::{self, Configuration, Supervisor};
use crate::core::session::drain::Profile;
use crate::io::net::listener::{self, Inheritance, ListenOptions, Owner};
use crate::io::tls::client;
use crate::io::tls::server::{self, ClientAuthorities, Resolver};
use crate::live::{Live, Phase, WorkerCommand};
use crate::proxy::worker::{self, ListenerContext, Shared};
use crate::telemetry::log::LogLevel;
use crate::telemetry::metrics::{ListenerMetrics, Metrics, NodeMetrics};
use crate::telemetry::records::{Records, RecordsGuard};

/// What a worker may take beyond the grace time, for the last close frames and the last records.
const STOP_MARGIN: Duration = Duration::from_secs(60);

/// A gateway whose sockets are open and whose table is compiled; clients queue already.
pub struct Bound {
    shared: Shared,
    sockets: Vec<(usize, listener::Bound)>,
    admin: admin::server::Bound,
    certificates: Vec<(ListenerName, ListenerTls, Arc<Resolver>)>,
    handover: Option<Handover>,
    supervisor: Arc<Supervisor>,
    docket: Arc<Docket>,
    log: LogLevel,
    _records: RecordsGuard,
}

/// How a gateway's end went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every session had its close frame, or is with the next process.
    Orderly,
    /// So many sessions were cut off.
    Cut(usize),
}

impl End {
    fn log(self) {
        match self {
            Self::Orderly => tracing::info!("stopped"),
            Self::Cut(sessions) => tracing::warn!(sessions, "stopped; these sessions were cut off"),
        }
    }
}

impl Bound {
    /// Opens everything that `loaded` asks for; what the process before this one left, if `claim`
    /// has something, is not opened again.
    ///
    /// # Errors
    /// When a socket, a certificate, a record file or the state directory cannot be opened; nothing
    /// is left open then.
    pub fn open(
        configuration: Configuration,
        loaded: Loaded,
        log: LogLevel,
        mut claim: Option<&mut Claim>,
    ) -> anyhow::Result<Self> {
        let mut nothing = Inheritance::default();
        let claimed = claim.is_some();
        // Names that only documents of other sources bring are looked up when those are there.
        let resolved = resolved(&loaded);
        let snapshot = &resolved.snapshot;
        let state_dir = snapshot.node.state_dir.as_deref();
        let state_dir = state_dir.map(StateDir::open).transpose()?;
        let metrics = Metrics::new();
        let (records, records_guard) = Records::open(&snapshot.log, &snapshot.node.name)?;
        let first = supervisor::first_generation(snapshot, memory::allowance())?;
        let node = Arc::new(NodeMetrics::new(&metrics, first.table.generation));

        let mut contexts = Vec::new();
        let mut sockets = Vec::new();
        let mut certificates = Vec::new();
        let mut shares = Vec::new();
        let inheritance = match &mut claim {
            Some(claim) => &mut claim.inheritance,
            None => &mut nothing,
        };
        for (place, config) in snapshot.listeners.iter().enumerate() {
            let (context, bound, resolver) = open_listener(config, &metrics, inheritance)?;
            let owner = Owner::Listener(config.name.clone());
            let share = |socket: &listener::Bound| (owner.clone(), socket.share());
            shares.extend(bound.iter().filter(|_| claimed).map(share));
            contexts.push(context);
            sockets.extend(bound.into_iter().map(|socket| (place, socket)));
            let resolver = config.tls.clone().zip(resolver);
            let owned = |(tls, resolver)| (config.name.clone(), tls, resolver);
            certificates.extend(resolver.map(owned));
        }
        let (admin, resolver) = open_admin(&snapshot.admin, inheritance).context("admin API")?;
        let resolver = snapshot.admin.tls.clone().zip(resolver);
        certificates.extend(resolver.map(|(tls, resolver)| ("admin".into(), tls, resolver)));
        shares.push((Owner::Admin, admin.share()));
        let handover = match claim {
            Some(claim) => Some(settle(claim, shares).context("hand-over")?),
            None => None,
        };
        let live = Live::new(first);
        live.set_own(own(&contexts, &admin));
        let shared = Shared {
            live: Arc::clone(&live),
            listeners: contexts.into(),
            records,
            verifiers: Arc::default(),
            metrics,
            node: Arc::clone(&node),
        };
        let docket = Arc::new(Docket::open(Arc::clone(&live), state_dir.as_ref()));
        let supervisor = Supervisor::new(live, configuration, loaded, node, state_dir);
        Ok(Self {
            shared,
            sockets,
            admin,
            certificates,
            handover,
            supervisor,
            docket,
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
            sockets,
            admin,
            certificates,
            handover,
            supervisor,
            docket,
            log,
            _records,
        } = self;
        let mut signals = Signals::new().context("signals")?;
        let configured = supervisor.loaded();
        let node = &configured.snapshot.node;
        let workers = worker_count(node.workers);
        let live = Arc::clone(&shared.live);
        let mut background = JoinSet::new();
        // Before the first client is served; until then they queue.
        let etcd = follow_etcd(&supervisor, &docket, &live, &mut background).await;
        let (handles, threads) = worker::start(&shared, workers, sockets).context("workers")?;
        live.set_workers(handles);
        supervisor.start().await;

        let control = (&supervisor, &docket);
        keep_busy(&mut background, certificates, control, &shared);
        let (stop_admin, admin_stopped) = oneshot::channel::<()>();
        if let Some(pid) = handover.as_ref().and_then(Handover::predecessor_pid) {
            live.set_other_process(pid);
        }
        let company = Company::join(&supervisor, &live, admin.address(), etcd.as_ref());
        let api = Arc::new(operated(&shared, control, log, etcd, company.fleet()));
        let admin_address = admin.address().clone();
        let admin = tokio::spawn(admin.serve(api, async { drop(admin_stopped.await) }));
        begin_ramp(&live, &configured.snapshot, handover.as_ref());
        live.enter(Phase::Ready);
        let listeners = listening(&shared.listeners);
        tracing::info!(node = %node.name, workers, listeners, admin = %admin_address, "ready");

        let mut succession = Succession::begin(handover, &shared, told(&supervisor, &docket));
        let parting = tokio::select! {
            () = signals.serve_until_stop(&supervisor, &shared.records) => None,
            parting = succession.parted() => Some(parting),
        };
        succession.end(parting.as_ref()).await;
        let shutdown = supervisor.loaded().snapshot.shutdown;
        if parting.is_none() {
            signals.leave(&live, shutdown.delay).await;
        }
        live.enter(Phase::Stopping);
        let grace = clock::readable(shutdown.grace);
        tracing::info!(sessions = live.workers().sessions(), %grace, "stopping");
        let end = tokio::select! {
            cut = stop_workers(&live, &shutdown) => {
                join(threads).await;
                if cut == 0 { End::Orderly } else { End::Cut(cut) }
            }
            end = cut_short(&mut signals, &live, shutdown) => end,
        };
        company.leave().await;
        docket.tickets().leave(parting.is_some()).await;
        background.shutdown().await;
        drop(stop_admin);
        if let Ok(Err(error)) = admin.await {
            tracing::error!(%error, "the admin API failed");
        }
        end.log();
        if let Some(Parting::NotTaken(reason)) = parting {
            anyhow::bail!(reason);
        }
        Ok(end)
    }
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
    certificates: Vec<(ListenerName, ListenerTls, Arc<Resolver>)>,
    (supervisor, docket): (&Arc<Supervisor>, &Arc<Docket>),
    shared: &Shared,
) {
    for (listener, tls, resolver) in certificates {
        background.spawn(certs::follow(listener, tls, resolver));
    }
    if supervisor.loaded().snapshot.sources.watch_file {
        let supervisor = Arc::clone(supervisor);
        background.spawn(async move { supervisor.follow_files().await });
    }
    let live = || Arc::clone(&shared.live);
    background.spawn(jwks::follow(live(), Arc::clone(&shared.node)));
    background.spawn(memory::watch(live()));
    background.spawn(Arc::clone(docket.tickets()).run());
    background.spawn(Arc::clone(docket).forget_expired());
    if let Some(state_dir) = supervisor.state_dir() {
        background.spawn(Arc::clone(state_dir).watch());
    }
    background.spawn(Arc::clone(supervisor.drainer()).run());
    background.spawn(Arc::clone(supervisor.rebalancer()).run());
    background.spawn(series::keep(Arc::clone(&shared.metrics), live()));
}

/// The second signal: no more time, but every session still leaves its record.
async fn cut_short(signals: &mut Signals, live: &Live, shutdown: Shutdown) -> End {
    signals.stop().await;
    let left = live.workers().sessions();
    let at_once = Shutdown {
        grace: Duration::ZERO,
        ..shutdown
    };
    stop_workers(live, &at_once).await;
    End::Cut(left)
}

fn told(supervisor: &Supervisor, docket: &Arc<Docket>) -> Told {
    Told {
        docket: Arc::clone(docket),
        drainer: Arc::clone(supervisor.drainer()),
    }
}

/// Who comes after this process, and what the service manager hears of it.
struct Succession(Option<handover::Running>);

impl Succession {
    /// The gateway accepts clients; takes over from the process before, if there is one.
    fn begin(handover: Option<Handover>, shared: &Shared, told: Told) -> Self {
        let Some(handover) = handover else {
            notify(&[NotifyState::Ready]);
            return Self(None);
        };
        let took_over = handover.takes_over();
        // Only when the other process has ended its part: a manager that sees its main process fail
        // restarts it.
        let ready = move || match took_over {
            true => notify(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]),
            false => notify(&[NotifyState::Ready]),
        };
        let (live, node) = (Arc::clone(&shared.live), Arc::clone(&shared.node));
        Self(Some(handover.start(live, told, node, ready)))
    }

    /// Waits until another process has this one's place; for ever if none takes it.
    async fn parted(&mut self) -> Parting {
        match &mut self.0 {
            Some(running) => running.parted().await,
            None => std::future::pending().await,
        }
    }

    /// The gateway stops. Whoever has another process in its place does not tell the manager that
    /// the service stops.
    async fn end(self, parting: Option<&Parting>) {
        if let Some(running) = self.0 {
            running.stop().await;
        }
        if parting.is_none() {
            notify(&[NotifyState::Stopping]);
        }
    }
}

/// Tells the service manager, if there is one.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

type Shares = Vec<(Owner, io::Result<listener::Bound>)>;

fn settle(claim: &mut Claim, shares: Shares) -> anyhow::Result<Handover> {
    let shares = shares
        .into_iter()
        .map(|(owner, socket)| Ok((owner, socket?)));
    Ok(claim.settle(shares.collect::<io::Result<_>>()?)?)
}

/// The gateway as the admin API sees it.
fn operated(
    shared: &Shared,
    (supervisor, docket): (&Arc<Supervisor>, &Arc<Docket>),
    log: LogLevel,
    etcd: Option<Arc<SourceState>>,
    fleet: Option<Arc<Fleet>>,
) -> admin::Gateway {
    let listeners = shared.listeners.iter().map(|listener| ListenerView {
        name: listener.config.name.to_string(),
        tls: listener.tls.is_some(),
        addresses: listener.addresses.iter().map(ToString::to_string).collect(),
    });
    admin::Gateway {
        node: Arc::clone(&supervisor.loaded().snapshot.node.name),
        live: Arc::clone(&shared.live),
        metrics: Arc::clone(&shared.metrics),
        records: shared.records.clone(),
        log: Some(log),
        listeners: listeners.collect(),
        supervisor: Arc::clone(supervisor),
        docket: Arc::clone(docket),
        fleet,
        etcd,
    }
}

/// This gateway among those that follow the same etcd.
struct Company {
    #[cfg(feature = "etcd")]
    joined: Option<Joined>,
}

impl Company {
    #[cfg(feature = "etcd")]
    fn join(
        supervisor: &Supervisor,
        live: &Arc<Live>,
        admin: &ListenAddr,
        etcd: Option<&Arc<SourceState>>,
    ) -> Self {
        let configured = supervisor.loaded();
        let settings = configured.snapshot.sources.etcd.as_ref().zip(etcd);
        let node = &configured.snapshot.node.name;
        let joined = settings.map(|(settings, state)| {
            let admin = match configured.snapshot.admin.tls {
                Some(_) => format!("https://{admin}"),
                None => admin.to_string(),
            };
            announce::join(settings, live, node, admin, Arc::clone(state))
        });
        Self { joined }
    }

    #[cfg(feature = "etcd")]
    fn fleet(&self) -> Option<Arc<Fleet>> {
        Some(Arc::clone(&self.joined.as_ref()?.fleet))
    }

    #[cfg(feature = "etcd")]
    async fn leave(self) {
        if let Some(joined) = self.joined {
            joined.leave().await;
        }
    }
}

/// Nobody is known in a build without etcd.
#[cfg(not(feature = "etcd"))]
impl Company {
    fn join(_: &Supervisor, _: &Arc<Live>, _: &ListenAddr, _: Option<&Arc<SourceState>>) -> Self {
        Self {}
    }

    fn fleet(&self) -> Option<Arc<Fleet>> {
        None
    }

    async fn leave(self) {}
}

/// Puts what etcd says into force and follows it; waits for its first answer, but not for
/// long, and not at all where nobody answers.
async fn follow_etcd(
    supervisor: &Arc<Supervisor>,
    docket: &Docket,
    live: &Arc<Live>,
    background: &mut JoinSet<()>,
) -> Option<Arc<SourceState>> {
    let configured = supervisor.loaded();
    let settings = configured.snapshot.sources.etcd.clone()?;
    #[cfg(feature = "etcd")]
    {
        docket.set_pen(pen(&settings));
        let state_dir = supervisor.state_dir().cloned();
        let (supervisor, live) = (Arc::clone(supervisor), Arc::clone(live));
        let follower = Follower::new(settings, state_dir.as_ref(), supervisor, live).await;
        let state = follower.state();
        let (patience, attempts) = (follower.patience(), follower.attempts());
        background.spawn(follower.run());
        let synced = tokio::time::timeout(patience, state.synced(attempts));
        if synced.await != Ok(true) {
            let seen = state.seen();
            tracing::warn!(
                fault = seen.fault,
                from_last_known_good = seen.from_last_known_good,
                "etcd has not answered; starting without waiting for it any longer"
            );
        }
        Some(state)
    }
    #[cfg(not(feature = "etcd"))]
    {
        let _ = (settings, docket, live, background);
        unreachable!("validation refuses the table in a build without etcd");
    }
}

fn worker_count(configured: usize) -> usize {
    match configured {
        0 => thread::available_parallelism().map_or(1, NonZeroUsize::get),
        count => count,
    }
}

type OpenListener = (ListenerContext, Vec<listener::Bound>, Option<Arc<Resolver>>);

fn open_listener(
    config: &Listener,
    metrics: &Arc<Metrics>,
    inheritance: &mut Inheritance,
) -> anyhow::Result<OpenListener> {
    let name = &config.name;
    let options = ListenOptions {
        backlog: config.backlog,
        keepalive: config.tcp_keepalive,
        mode: config.socket_mode,
    };
    let owner = Owner::Listener(name.clone());
    let bound = listener::bind_all(&config.listen, options, &owner, inheritance)
        .with_context(|| format!("listener `{name}`"))?;
    let opened = config.tls.as_ref().map(|tls| open_tls(name, tls));
    let opened = opened.transpose();
    let (tls, resolver) = opened
        .with_context(|| format!("listener `{name}`"))?
        .unzip();
    let context = ListenerContext {
        config: config.clone(),
        addresses: bound
            .iter()
            .map(|socket| socket.address().clone())
            .collect(),
        tls,
        open: AtomicUsize::new(0),
        metrics: ListenerMetrics::new(metrics, name),
    };
    Ok((context, bound, resolver))
}

/// What the handshakes of a listener need, and the certificates in them, which can be replaced.
fn open_tls(
    name: &ListenerName,
    settings: &ListenerTls,
) -> anyhow::Result<(Arc<ServerConfig>, Arc<Resolver>)> {
    let resolver = certs::open(name, settings)?;
    let clients = match &settings.clients {
        Some((ca, required)) => Some(ClientAuthorities {
            roots: client::read_roots(ca)?,
            required: *required,
        }),
        None => None,
    };
    let config = server::server_config(Arc::clone(&resolver), settings.minimum, clients)?;
    Ok((config, resolver))
}

fn open_admin(
    admin: &Admin,
    inheritance: &mut Inheritance,
) -> anyhow::Result<(admin::server::Bound, Option<Arc<Resolver>>)> {
    let opened = admin.tls.as_ref().map(|tls| open_tls(&"admin".into(), tls));
    let (tls, resolver) = opened.transpose()?.unzip();
    Ok((admin::server::bind(admin, tls, inheritance)?, resolver))
}

/// Stops all workers at once; returns how many sessions were cut off.
async fn stop_workers(live: &Live, shutdown: &Shutdown) -> usize {
    let workers = live.workers();
    let (grace, all) = (shutdown.grace, workers.sessions());
    let loads: Vec<_> = workers.loads().collect();
    let cut = workers.ask_each(grace.saturating_add(STOP_MARGIN), |place, answer| {
        let own = loads[place].sessions.load(Ordering::Relaxed);
        Some(WorkerCommand::Shutdown {
            grace,
            profile: Profile::of_shutdown(shutdown, own, all),
            answer,
        })
    });
    cut.await.into_iter().sum()
}

async fn join(threads: Vec<JoinHandle<()>>) {
    let joined = tokio::task::spawn_blocking(|| {
        threads
            .into_iter()
            .map(JoinHandle::join)
            .filter(Result::is_err)
            .count()
    });
    let panicked = joined.await.unwrap_or_default();
    if panicked > 0 {
        tracing::error!(panicked, "a worker ended by a panic; please report it");
    }
}
