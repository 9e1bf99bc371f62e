//! Where control plane and data plane meet: what the data plane reads (the generation in force,
//! the phase) and how it is commanded (a queue per worker). Neither plane imports the other; both
//! import this.

mod commands;
mod edge;
mod gateway_addresses;
mod generation;
mod handover;
mod messages;
mod presence;
mod query;
mod replays;
mod responses;
mod rights;
mod slice;
mod tap;
mod views;
mod workers;

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{Notify, watch};

use crate::base::addr::OwnAddresses;
use crate::base::clock;
use crate::config::snapshot::Admission;
use crate::core::limits::{Load, Quotas};
use crate::core::routing::RoutingTable;
use crate::core::session::admission::Gate;
use crate::core::session::stick::Sticks;
use crate::io::state::FleetState;
use crate::telemetry::events::Events;

pub use commands::{
    LeaveCounts, LookCommand, MoveAnswer, OperatorCommand, Renewal, SendCounts, WorkerCommand,
};
pub use edge::Edge;
pub use gateway_addresses::GatewayAddresses;
pub use generation::{Generation, Swap};
pub use handover::{
    Adopted, EndTransfer, HandingOver, SessionTransfer, TakenOver, TakingOver, TransferBatch,
};
pub use messages::{
    Delivery, Destination, GroupSlice, Interest, InterestChange, MessageCommand, MessagesSetup,
    RecordedAt,
};
pub use presence::{PresenceFeed, PresenceNote, RosterAsk};
pub use query::{KeyFilter, Measured, MoreFilters, SessionQuery, fingerprint};
pub use replays::{ReplayRequest, Replays};
pub use responses::{Flight, Responses, StoredResponse};
pub use rights::{RightCounts, Rights};
pub use slice::{SLICE_MAX, Slice, Sliced};
pub use tap::{TapAnswer, TapReader, TapReporter, TappedFrame, tap};
pub use views::{DirectionView, SessionBrief, SessionSample, SessionView, SortKey};
pub use workers::{ANSWER_MAX, Answers, QueuedCommands, Walked, WorkerHandle, WorkerLoad, Workers};

/// What both planes share.
#[derive(Debug)]
pub struct Live {
    generation: ArcSwap<Generation>,
    /// Held while the next generation is made, so that no change is lost.
    publishing: Mutex<()>,
    phase: AtomicU8,
    workers: OnceLock<Workers>,
    /// A token named a key that is not in force.
    keys_wanted: Notify,
    /// Counts readings of issuers' keys.
    keys_read: watch::Sender<u64>,
    /// Live counts and rates of clients.
    pub quotas: Quotas,
    /// What the node has taken on.
    pub load: Arc<Load>,
    /// Where the keys of sticky routes have their live sessions.
    sticks: Arc<Sticks>,
    /// In front of new sessions, where a ramp is configured.
    gate: OnceLock<Gate>,
    started: (Instant, SystemTime),
    accepting: watch::Sender<bool>,
    taken_over: ArcSwapOption<TakenOver>,
    taking_over: ArcSwapOption<TakingOver>,
    handing_over: ArcSwapOption<HandingOver>,
    gateway_addresses: OnceLock<GatewayAddresses>,
    instance: u64,
    /// Responses of backends that are kept in memory.
    pub responses: Responses,
    /// What happens, for operators.
    events: Events,
    /// What clients get who ask for the list of gateways.
    gateway_list: ArcSwap<Bytes>,
    /// Where the fleet counts together, if it does.
    state: OnceLock<Arc<FleetState>>,
    /// Set where messages are published.
    messages: OnceLock<Arc<MessagesSetup>>,
    /// The process that hands over to this one, or that this one hands over to; 0 if none does.
    other_process: AtomicU32,
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
    /// Still accepts clients, but reports that it will stop (`shutdown.delay`).
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
    /// With the first generation; workers are added when they run.
    pub fn new(first: Generation) -> Arc<Self> {
        let instance = fastrand::u64(..);
        Arc::new(Self {
            generation: ArcSwap::from_pointee(first),
            publishing: Mutex::default(),
            phase: AtomicU8::new(Phase::Starting as u8),
            workers: OnceLock::new(),
            keys_wanted: Notify::new(),
            keys_read: watch::Sender::new(0),
            quotas: Quotas::new(clock::now()),
            load: Arc::default(),
            sticks: Arc::default(),
            gate: OnceLock::new(),
            started: (clock::now(), clock::wall()),
            accepting: watch::Sender::new(true),
            taken_over: ArcSwapOption::empty(),
            taking_over: ArcSwapOption::empty(),
            handing_over: ArcSwapOption::empty(),
            gateway_addresses: OnceLock::new(),
            instance,
            responses: Responses::default(),
            events: Events::new(instance),
            gateway_list: ArcSwap::from_pointee(Bytes::from_static(b"{\"gateways\":[]}")),
            state: OnceLock::new(),
            messages: OnceLock::new(),
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

    /// The hand-over to another process, while one runs.
    pub fn handing_over(&self) -> Option<Arc<HandingOver>> {
        self.handing_over.load_full()
    }

    /// Makes a hand-over known, or that it broke off.
    pub fn set_handing_over(&self, handing_over: Option<HandingOver>) {
        self.handing_over.store(handing_over.map(Arc::new));
    }

    /// How far the take-over is, while one runs.
    pub fn taking_over(&self) -> Option<Arc<TakingOver>> {
        self.taking_over.load_full()
    }

    /// Makes known how far the take-over is.
    pub fn set_taking_over(&self, taking_over: TakingOver) {
        self.taking_over.store(Some(Arc::new(taking_over)));
    }

    /// Makes known what came from the process before this one; the take-over is done.
    pub fn set_taken_over(&self, taken_over: TakenOver) {
        self.taken_over.store(Some(Arc::new(taken_over)));
        self.taking_over.store(None);
    }

    /// The list of gateways for clients, as JSON.
    pub fn gateway_list(&self) -> Bytes {
        Bytes::clone(&self.gateway_list.load())
    }

    /// Replaces the list of gateways for clients.
    pub fn set_gateway_list(&self, list: Bytes) {
        self.gateway_list.store(Arc::new(list));
    }

    /// How messages are published, if they are.
    pub fn messages(&self) -> Option<&Arc<MessagesSetup>> {
        self.messages.get()
    }

    /// Has messages published. Without effect once workers run.
    pub fn set_messages(&self, setup: MessagesSetup) {
        // A second call changes nothing: workers have read the first.
        let _ = self.messages.set(Arc::new(setup));
    }

    /// The process at the other end of a hand-over; it is the same gateway.
    pub fn other_process(&self) -> Option<u32> {
        Some(self.other_process.load(Ordering::Relaxed)).filter(|pid| *pid > 0)
    }

    /// Makes known which process is at the other end of a hand-over.
    pub fn set_other_process(&self, pid: u32) {
        self.other_process.store(pid, Ordering::Relaxed);
    }

    /// What is in force, for a look that waits for nothing.
    pub fn generation(&self) -> Guard<Arc<Generation>> {
        self.generation.load()
    }

    /// What is in force, to keep for a while. A request loads it once and passes it from stage to
    /// stage; a session keeps nothing of it.
    pub fn generation_arc(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    /// The table in force.
    pub fn table(&self) -> Arc<RoutingTable> {
        Arc::clone(&self.generation().table)
    }

    /// Puts the next generation into force, which `change` makes of the one before. This is the
    /// only swap. Changes come one after the other; `change` must not wait.
    pub fn publish<T>(&self, change: impl FnOnce(&mut Generation) -> T) -> (Swap, T) {
        let publishing = self.publishing.lock();
        let _turn = publishing.unwrap_or_else(PoisonError::into_inner);
        let old = self.generation.load_full();
        let mut next = Generation::clone(&old);
        let outcome = change(&mut next);
        let new = Arc::new(next);
        self.generation.store(Arc::clone(&new));
        self.responses.resize(new.edge.cache_memory);
        (Swap { old, new }, outcome)
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

    /// The store in which the fleet counts together, if there is one.
    pub fn state(&self) -> Option<&Arc<FleetState>> {
        self.state.get()
    }

    /// Counts in this store, from now on.
    pub fn set_state(&self, state: Arc<FleetState>) {
        self.state.get_or_init(|| state);
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
    pub fn workers(&self) -> &Workers {
        static NONE: Workers = Workers::none();
        self.workers.get().unwrap_or(&NONE)
    }

    /// Makes the workers known, once.
    pub fn set_workers(&self, workers: Vec<WorkerHandle>) {
        let set = self.workers.set(workers.into());
        set.expect("workers are made once");
    }

    /// Asks the control plane to look for keys that are wanted.
    pub fn want_keys(&self) {
        self.keys_wanted.notify_one();
    }

    /// Waits until keys are wanted.
    pub async fn keys_wanted(&self) {
        self.keys_wanted.notified().await;
    }

    /// Signals that some issuer's keys were fetched, or could not be.
    pub fn keys_were_read(&self) {
        self.keys_read.send_modify(|count| *count += 1);
    }

    /// Follows the readings of issuers' keys.
    pub fn keys_read(&self) -> watch::Receiver<u64> {
        self.keys_read.subscribe()
    }

    /// What this process calls itself on the requests that it forwards; another one each time.
    pub fn instance(&self) -> u64 {
        self.instance
    }

    /// What happens, for operators.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Sets where this gateway itself listens, once and before anything is dialled.
    pub fn set_gateway_addresses(&self, addresses: GatewayAddresses) {
        let _ = self.gateway_addresses.set(addresses);
    }

    /// Where this gateway itself listens.
    pub fn gateway_addresses(&self) -> &GatewayAddresses {
        static NOWHERE: GatewayAddresses = GatewayAddresses {
            all: OwnAddresses::new(Vec::new()),
            admin: OwnAddresses::new(Vec::new()),
        };
        self.gateway_addresses.get().unwrap_or(&NOWHERE)
    }
}
