//! Where control plane and data plane meet: what the data plane reads (the routing table, the
//! phase) and how it is asked and told (a queue per worker). Neither side knows the other; both
//! know this.

mod handover;
mod own;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use serde::Serialize;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::base::clock;
use crate::base::names::ListenerName;
use crate::base::names::{BackendId, RouteName, UpstreamName};
use crate::base::right::Right;
use crate::base::session_id::SessionId;
use crate::base::traffic::Traffic;
use crate::config::limits::{AddressRules, PrefixLengths, Priority};
use crate::config::snapshot::{Admission, Snapshot};
use crate::core::auth::{Claims, Revocations};
use crate::core::limits::{Load, Quotas};
use crate::core::routing::{Route, RoutingTable};
use crate::core::session::admission::Gate;
use crate::core::session::drain::Profile;
use crate::core::session::orders::{CloseOrder, LeaveOrder};
use crate::core::session::record::{EndOrder, Facts};
use crate::core::session::resume::Moves;
use crate::core::session::stick::Sticks;

pub use handover::{Adopted, Packed, Parcel, TakenOver};
pub use own::Own;

/// Commands that may wait for a worker; a worker that is this far behind is asked again later.
const COMMANDS_MAX: usize = 64;

/// What both planes share.
#[derive(Debug)]
pub struct Live {
    table: ArcSwap<RoutingTable>,
    phase: AtomicU8,
    workers: OnceLock<Vec<WorkerHandle>>,
    /// Rights that were taken away.
    pub revocations: Revocations,
    /// Somebody brought a token whose key is not known.
    keys_wanted: Notify,
    /// Counts readings of issuers' keys.
    keys_read: watch::Sender<u64>,
    edge: ArcSwap<Edge>,
    /// Live counts and rates of clients.
    pub quotas: Quotas,
    /// What the node has taken on.
    pub load: Arc<Load>,
    /// Memory that the node may take where the operator does not say.
    memory_allowance: AtomicU64,
    /// Where the keys of sticky routes have their live sessions.
    sticks: Arc<Sticks>,
    /// In front of new sessions, where a ramp is configured.
    gate: OnceLock<Gate>,
    started: (Instant, SystemTime),
    accepting: watch::Sender<bool>,
    taken_over: ArcSwapOption<TakenOver>,
    own: OnceLock<Own>,
    instance: u64,
    /// The process that hands over to this one, or that this one hands over to; 0 if none does.
    other_process: AtomicU32,
}

/// What is asked of clients before a route is known. It takes effect with each configuration.
#[derive(Debug, Default)]
pub struct Edge {
    /// Whose network an address counts for.
    pub address_prefix: PrefixLengths,
    listeners: Vec<(ListenerName, AddressRules)>,
}

impl Edge {
    /// Whether a client of this address may come in at a listener.
    pub fn admits(&self, listener: &ListenerName, address: IpAddr) -> bool {
        let mut rules = self.listeners.iter().filter(|(name, _)| name == listener);
        rules.all(|(_, rules)| rules.admits(address))
    }
}

/// Where a gateway is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Phase {
    /// Not all listeners are open yet.
    Starting = 0,
    /// Takes clients.
    Ready = 1,
    /// Takes clients still, but says that it will not for long (`shutdown.delay`).
    Leaving = 2,
    /// Takes no new ones, closes those that it has.
    Stopping = 3,
}

impl Phase {
    /// The name that the admin API shows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Leaving => "leaving",
            Self::Stopping => "stopping",
        }
    }
}

impl Live {
    /// With the first table; workers are added when they run.
    pub fn new(table: RoutingTable) -> Arc<Self> {
        Arc::new(Self {
            table: ArcSwap::from_pointee(table),
            phase: AtomicU8::new(Phase::Starting as u8),
            workers: OnceLock::new(),
            revocations: Revocations::default(),
            keys_wanted: Notify::new(),
            keys_read: watch::Sender::new(0),
            edge: ArcSwap::default(),
            quotas: Quotas::new(clock::now()),
            load: Arc::default(),
            memory_allowance: AtomicU64::new(0),
            sticks: Arc::default(),
            gate: OnceLock::new(),
            started: (clock::now(), clock::wall()),
            accepting: watch::Sender::new(true),
            taken_over: ArcSwapOption::empty(),
            own: OnceLock::new(),
            instance: fastrand::u64(..),
            other_process: AtomicU32::new(0),
        })
    }

    /// Whether connections are accepted; while they are not, they wait in the queues of sockets
    /// that stay open.
    pub fn accepting(&self) -> watch::Receiver<bool> {
        self.accepting.subscribe()
    }

    /// Accepts connections, or leaves them to the process that shares the sockets.
    pub fn accept(&self, accepting: bool) {
        self.accepting.send_replace(accepting);
    }

    /// What came from the process before this one, if something did.
    pub fn taken_over(&self) -> Option<Arc<TakenOver>> {
        self.taken_over.load_full()
    }

    /// Makes known what came from the process before this one.
    pub fn set_taken_over(&self, taken_over: TakenOver) {
        self.taken_over.store(Some(Arc::new(taken_over)));
    }

    /// The process at the other end of a hand-over; it is the same gateway.
    pub fn other_process(&self) -> Option<u32> {
        Some(self.other_process.load(Ordering::Relaxed)).filter(|pid| *pid > 0)
    }

    /// Makes known which process is at the other end of a hand-over.
    pub fn set_other_process(&self, pid: u32) {
        self.other_process.store(pid, Ordering::Relaxed);
    }

    /// The table in force, for the time of one request; cheap, and never kept across an await that
    /// waits for a peer.
    pub fn table(&self) -> Guard<Arc<RoutingTable>> {
        self.table.load()
    }

    /// The table in force, to keep for a while.
    pub fn table_arc(&self) -> Arc<RoutingTable> {
        self.table.load_full()
    }

    /// The one atomic swap; only the supervisor calls it.
    pub fn swap(&self, table: RoutingTable) {
        self.table.store(Arc::new(table));
    }

    /// What is asked of clients before a route is known.
    pub fn edge(&self) -> Guard<Arc<Edge>> {
        self.edge.load()
    }

    /// Memory that the system gives the node, 0 if it does not say; for the next `set_edge`.
    pub fn set_memory_allowance(&self, bytes: u64) {
        self.memory_allowance.store(bytes, Ordering::Relaxed);
    }

    /// Puts what `snapshot` says about the node's limits and its listeners' addresses into force.
    pub fn set_edge(&self, snapshot: &Snapshot) {
        let listeners = snapshot.listeners.iter();
        let listeners = listeners.map(|one| (one.name.clone(), one.addresses.clone()));
        let mut routes = snapshot.routes.iter();
        let reserve = routes.any(|route| route.priority == Priority::High);
        let limits = snapshot.limits;
        let allowance = self.memory_allowance.load(Ordering::Relaxed);
        self.load
            .configure(limits, limits.memory_max.unwrap_or(allowance), reserve);
        self.edge.store(Arc::new(Edge {
            address_prefix: limits.address_prefix,
            listeners: listeners.collect(),
        }));
    }

    /// Where the gateway is in its life.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            2 => Phase::Leaving,
            _ => Phase::Stopping,
        }
    }

    /// Goes on to a later phase; there is no way back.
    pub fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }

    /// Where the keys of sticky routes have their live sessions.
    pub fn sticks(&self) -> &Arc<Sticks> {
        &self.sticks
    }

    /// Takes new sessions by this ramp, from now on.
    pub fn begin_ramp(&self, ramp: Admission) {
        self.gate.get_or_init(|| Gate::new(ramp, clock::now()));
    }

    /// Lets one more new session in.
    ///
    /// # Errors
    /// How long the ramp of a gateway that just started still lasts, for one too many.
    pub fn admit_session(&self) -> Result<(), Duration> {
        let gate = self.gate.get();
        gate.map_or(Ok(()), |gate| gate.admit(clock::now()))
    }

    /// How long the gateway has run.
    pub fn uptime(&self) -> Duration {
        clock::now().duration_since(self.started.0)
    }

    /// When the gateway started.
    pub fn started(&self) -> SystemTime {
        self.started.1
    }

    /// The workers; none before they run.
    pub fn workers(&self) -> &[WorkerHandle] {
        self.workers.get().map_or(&[], Vec::as_slice)
    }

    /// Makes the workers known, once.
    pub fn set_workers(&self, workers: Vec<WorkerHandle>) {
        self.workers.set(workers).expect("workers are made once");
    }

    /// Asks the control plane to look for keys that are wanted.
    pub fn want_keys(&self) {
        self.keys_wanted.notify_one();
    }

    /// Waits until keys are wanted.
    pub async fn keys_wanted(&self) {
        self.keys_wanted.notified().await;
    }

    /// Says that some issuer's keys were read, or could not be.
    pub fn keys_were_read(&self) {
        self.keys_read.send_modify(|count| *count += 1);
    }

    /// Follows the readings of issuers' keys.
    pub fn keys_read(&self) -> watch::Receiver<u64> {
        self.keys_read.subscribe()
    }

    /// Live sessions of all workers.
    pub fn sessions(&self) -> usize {
        self.workers()
            .iter()
            .map(|worker| worker.load.sessions.load(Ordering::Relaxed))
            .sum()
    }

    /// Client connections of all workers, sessions among them.
    pub fn connections(&self) -> usize {
        self.workers()
            .iter()
            .map(|worker| worker.load.connections.load(Ordering::Relaxed))
            .sum()
    }
}

/// How much a worker has; written by it, read when a new connection looks for a place.
#[derive(Debug, Default)]
pub struct WorkerLoad {
    /// Client connections, sessions among them.
    pub connections: AtomicUsize,
    /// Live sessions.
    pub sessions: AtomicUsize,
}

/// A worker as the control plane sees it.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    commands: mpsc::Sender<WorkerCommand>,
    /// How much it has.
    pub load: Arc<WorkerLoad>,
}

impl WorkerHandle {
    /// A handle and the other end of its queue.
    pub fn new() -> (Self, mpsc::Receiver<WorkerCommand>) {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        (
            Self {
                commands,
                load: Arc::default(),
            },
            receiver,
        )
    }

    /// Asks the worker something and waits for its answer; `None` if the worker is gone.
    pub async fn ask<A>(
        &self,
        command: impl FnOnce(oneshot::Sender<A>) -> WorkerCommand,
    ) -> Option<A> {
        let (sender, answer) = oneshot::channel();
        self.commands.send(command(sender)).await.ok()?;
        answer.await.ok()
    }
}

/// What a worker can be asked and told.
#[derive(Debug)]
pub enum WorkerCommand {
    /// The first `limit` sessions that `query` takes, in the order of their ids.
    Sessions {
        /// Which.
        query: SessionQuery,
        /// How many at most.
        limit: usize,
        /// Where the answer goes.
        answer: oneshot::Sender<Vec<SessionView>>,
    },
    /// Closes all sessions that `query` takes; answers how many. A session that is already closing
    /// is not closed again.
    Close {
        /// Which.
        query: SessionQuery,
        /// How.
        order: CloseOrder,
        /// For the records.
        given: Option<Arc<EndOrder>>,
        /// Where the answer goes.
        answer: oneshot::Sender<usize>,
    },
    /// Extends, or shortens, the right of sessions; answers of how many.
    Renew {
        /// Which.
        query: SessionQuery,
        /// What it is now.
        renewal: Renewal,
        /// Where the answer goes.
        answer: oneshot::Sender<usize>,
    },
    /// Looks at all sessions again and ends those whose right was taken away; answers how many.
    Revoke {
        /// Where the answer goes.
        answer: oneshot::Sender<usize>,
    },
    /// What plans need to know of all sessions that `query` takes, in the order of their ids.
    Briefs {
        /// Which.
        query: SessionQuery,
        /// Where the answer goes.
        answer: oneshot::Sender<Vec<SessionBrief>>,
    },
    /// Makes sessions leave their backend: those that may are moved to the one that their key is
    /// placed on now, the others are closed. Answers before any has moved.
    Leave {
        /// Which.
        which: Leavers,
        /// How.
        order: LeaveOrder,
        /// Where the answer goes.
        answer: oneshot::Sender<Departures>,
    },
    /// Brings the counters of live sessions into the metrics.
    Gather {
        /// Told when it is done.
        answer: oneshot::Sender<()>,
    },
    /// Holds sessions that can go to another process: nothing moves in them until `Release`.
    /// Connections that are no sessions end with the answer to their request.
    Pack {
        /// Only those after this one.
        after: Option<SessionId>,
        /// So many at most.
        limit: usize,
        /// Where the answer goes.
        answer: oneshot::Sender<Packed>,
    },
    /// Lets go of held sessions that another process has taken, and goes on with all others that
    /// are held; answers how many went.
    Release {
        /// Those that it has.
        taken: Vec<SessionId>,
        /// Whether nothing more is to be handed over: the worker goes on as before.
        resume: bool,
        /// Where the answer goes.
        answer: oneshot::Sender<usize>,
    },
    /// Makes sessions of what another process gave.
    Adopt {
        /// Their states and sockets.
        parcels: Vec<Parcel>,
        /// They begin when this says so, and are dropped without a trace if it is dropped.
        go: oneshot::Receiver<()>,
        /// Where the answer goes, before they begin.
        answer: oneshot::Sender<Adopted>,
    },
    /// Closes everything with 1001, as `profile` says; answers when nothing is left, or when the
    /// time is over, how many sessions were cut.
    Shutdown {
        /// The time for all of it.
        grace: Duration,
        /// How sessions are spread over it.
        profile: Profile,
        /// Where the answer goes.
        answer: oneshot::Sender<usize>,
    },
}

/// The right of a session, anew.
#[derive(Clone, Debug)]
pub enum Renewal {
    /// As a new credential of the same subject says. Sessions of others stay as they are, and so
    /// do those that the route's conditions would not let it begin.
    Credential {
        /// What it gives.
        right: Right,
        /// What the conditions look at.
        claims: Arc<Claims>,
        /// Whose conditions; `None` if the route is gone.
        route: Option<Arc<Route>>,
    },
    /// As an operator says; `None` is for ever.
    Until(Option<SystemTime>),
}

/// Which sessions; what is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct SessionQuery {
    /// Only this one.
    pub id: Option<SessionId>,
    /// Only those after this one.
    pub after: Option<SessionId>,
    /// By route.
    pub route: Option<String>,
    /// By upstream.
    pub upstream: Option<String>,
    /// By backend id.
    pub backend: Option<String>,
    /// By principal.
    pub principal: Option<String>,
}

impl SessionQuery {
    /// Whether the session with these facts is meant.
    pub fn takes(&self, facts: &Facts) -> bool {
        let same =
            |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        self.id.is_none_or(|id| id == facts.id)
            && self.after.is_none_or(|after| facts.id > after)
            && same(&self.route, &facts.route)
            && same(&self.upstream, &facts.upstream)
            && same(&self.backend, &facts.backend)
            && self
                .principal
                .as_deref()
                .is_none_or(|wanted| facts.principal.as_deref() == Some(wanted))
    }
}

/// Which sessions leave their backend.
#[derive(Clone, Debug)]
pub enum Leavers {
    /// All that this takes.
    Query(SessionQuery),
    /// These; those that a worker does not have are passed over.
    Ids(Arc<[SessionId]>),
}

/// What became of an order to leave. Sessions that are closing or moving already are in neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Departures {
    /// Begin to move. One that comes to no message boundary in time stays where it is and may be
    /// told again.
    pub moving: usize,
    /// Begin to close.
    pub closing: usize,
}

/// What plans need to know of a live session.
#[derive(Clone, Debug)]
pub struct SessionBrief {
    /// Its name.
    pub id: SessionId,
    /// The rule that took it.
    pub route: RouteName,
    /// The group that it belongs to.
    pub upstream: UpstreamName,
    /// The member that holds it.
    pub backend: BackendId,
    /// Since the 101.
    pub age: Duration,
    /// Since the last byte in either direction.
    pub idle: Duration,
    /// What its place hangs on; `None` where its route has no affinity.
    pub key: Option<Box<[u8]>>,
    /// It can go on with another backend.
    pub movable: bool,
    /// Its end has begun, or its move.
    pub busy: bool,
}

/// A live session as it is now.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// What it is.
    pub facts: Arc<Facts>,
    /// Which worker has it.
    pub worker: usize,
    /// Since the 101.
    pub age: Duration,
    /// Since the last byte in either direction; coarse, to a tenth of a second.
    pub idle: Duration,
    /// From the client.
    pub to_backend: Traffic,
    /// From the backend.
    pub to_client: Traffic,
    /// Its changes of backend.
    pub moves: Moves,
    /// A close frame has passed, or the end has come in another way.
    pub closing: bool,
}
