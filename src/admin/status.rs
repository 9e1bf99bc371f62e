//! Liveness, readiness and status: for orchestrators, and as an overview for people.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::certificates::{self, CertificateView};
use crate::admin::gateway::VERSION;
use crate::admin::sources::Sources;
use crate::admin::{Gateway, ListenerView};
use crate::base::clock;
use crate::control::fleet::NodeView;
use crate::control::messages::{Messages, NodeStatus};
use crate::control::state_dir::StateDir;
use crate::control::supervisor::PendingChange;
use crate::core::session::staying::Staying;
use crate::io::broker::BrokerStatus;
use crate::io::state::FleetState;
use crate::live::{HandingOver, Phase, TakenOver, TakingOver};
use crate::telemetry::events::FilesStatus;

/// The status of a gateway.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StatusView {
    /// Its name.
    pub node: String,
    /// The failure zone that it is in.
    #[serde(default)]
    pub zone: Option<String>,
    /// Of the program.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Start time; RFC 3339.
    pub started: String,
    /// Since the start.
    pub uptime_seconds: u64,
    /// `starting`, `ready`, `leaving` or `stopping`.
    pub phase: String,
    /// Of the routing table; grows with each swap.
    pub generation: u64,
    /// Equal on all gateways with equal routes and upstreams.
    pub digest: String,
    /// The listeners, as bound.
    pub listeners: Vec<ListenerView>,
    /// The certificates that listeners and the admin API show.
    #[serde(default)]
    pub certificates: Vec<CertificateView>,
    /// The workers, in order.
    pub workers: Vec<WorkerView>,
    /// Live sessions of all workers.
    pub sessions: usize,
    /// Client connections, including those of sessions.
    pub connections: usize,
    /// What was taken over from the previous process, if `run --take-over` found one.
    pub taken_over: Option<TakenOverView>,
    /// How far the take-over from the previous process is; null when none runs.
    #[serde(default)]
    pub taking_over: Option<TakingOverView>,
    /// How far the hand-over to another process is; null when none runs.
    #[serde(default)]
    pub handing_over: Option<HandingOverView>,
    /// Where the configuration comes from.
    pub sources: Sources,
    /// What carries published messages between gateways; null without a broker.
    #[serde(default)]
    pub broker: Option<BrokerView>,
    /// Where the gateways of a fleet count together; null without `[state]`.
    #[serde(default)]
    pub state: Option<StateView>,
    /// The directory of state for the next start; null without `node.state_dir`.
    #[serde(default)]
    pub state_dir: Option<StateDirView>,
    /// The files of events; null without `events.persist`.
    #[serde(default)]
    pub event_files: Option<EventFilesView>,
    /// Settings of the file that take effect at the next start.
    #[serde(default)]
    pub restart_pending: Vec<String>,
    /// The same with the values in use and those of the next start, secrets masked.
    #[serde(default)]
    pub restart_changes: Vec<PendingChange>,
    /// The gateways that follow the same etcd, including this one, by name; empty without etcd.
    #[serde(default)]
    pub fleet: Vec<NodeView>,
    /// Seconds since the fleet was read; null before the first reading.
    #[serde(default)]
    pub fleet_age_seconds: Option<u64>,
    /// Why the last reading failed.
    #[serde(default)]
    pub fleet_fault: Option<String>,
}

/// The directory of state for the next start.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StateDirView {
    /// Its path.
    pub path: String,
    /// Why it cannot be written; null if it can.
    pub fault: Option<String>,
}

/// What carries published messages between gateways.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BrokerView {
    /// Whether it carries messages now.
    pub connected: bool,
    /// Since when; RFC 3339.
    pub since: String,
    /// Why it does not, where that is known.
    pub error: Option<String>,
    /// How often a connection was made.
    pub connects: u64,
    /// The other gateways that live, by their heartbeats at the broker.
    #[serde(default)]
    pub nodes: Vec<BrokerNodeView>,
}

/// Another gateway at the broker.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BrokerNodeView {
    /// Its name.
    pub node: String,
    /// The id of its process.
    pub process: String,
    /// Since its last heartbeat; without one for ten seconds it is gone.
    pub silent_seconds: f64,
}

impl From<NodeStatus> for BrokerNodeView {
    fn from(status: NodeStatus) -> Self {
        Self {
            node: status.name.to_string(),
            process: status.process.to_string(),
            silent_seconds: status.silent.as_secs_f64(),
        }
    }
}

impl BrokerView {
    /// The broker of a gateway that publishes; `None` without one.
    fn of(messages: &Messages) -> Option<Self> {
        let mut view = Self::from(messages.broker()?);
        view.nodes = messages.nodes().into_iter().map(Into::into).collect();
        Some(view)
    }
}

impl From<BrokerStatus> for BrokerView {
    fn from(status: BrokerStatus) -> Self {
        Self {
            connected: status.connected,
            since: clock::rfc3339(status.since),
            error: status.error,
            connects: status.connects,
            nodes: Vec::new(),
        }
    }
}

/// Where the gateways of a fleet count together.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StateView {
    /// `redis` or `memcached`.
    pub kind: String,
    /// Where it is.
    pub server: String,
    /// Whether there is a connection.
    pub connected: bool,
    /// Whether it answers in time, so that limits hold over the fleet.
    pub answers: bool,
    /// Since when it is connected or not; RFC 3339.
    pub since: String,
    /// Why it is not connected, where that is known.
    pub error: Option<String>,
    /// How often a connection was made.
    pub connects: u64,
}

impl StateView {
    fn of(state: &FleetState) -> Self {
        let status = state.status();
        Self {
            kind: state.kind().to_string(),
            server: state.server(),
            connected: status.connected,
            answers: state.answers(),
            since: clock::rfc3339(status.since),
            error: status.error,
            connects: status.connects,
        }
    }
}

impl StateDirView {
    fn of(state_dir: &StateDir) -> Self {
        Self {
            path: state_dir.path().display().to_string(),
            fault: state_dir.fault(),
        }
    }
}

/// The files in which events are kept for the next process.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EventFilesView {
    /// Their folder.
    pub path: String,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Events that could not be written since the start.
    pub unwritten: u64,
    /// Why the last ones could not be written; null if they could.
    pub fault: Option<String>,
}

impl From<FilesStatus> for EventFilesView {
    fn from(status: FilesStatus) -> Self {
        Self {
            path: status.path.display().to_string(),
            bytes: status.bytes,
            unwritten: status.unwritten.iter().sum(),
            fault: status.fault,
        }
    }
}

/// What was taken over from another process.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TakenOverView {
    /// The number of sessions.
    pub sessions: usize,
    /// The number of sessions that stayed with the other process, by reason.
    #[serde(default)]
    pub staying: Staying,
    /// The id of the other process.
    pub from_pid: u32,
    /// When the take-over ended; RFC 3339.
    pub at: String,
}

impl TakenOverView {
    fn of(taken_over: &TakenOver) -> Self {
        Self {
            sessions: taken_over.sessions,
            staying: taken_over.staying.clone(),
            from_pid: taken_over.from_pid,
            at: clock::rfc3339(taken_over.at),
        }
    }
}

/// How far a hand-over is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HandingOverView {
    /// The number of sessions that live here still.
    pub sessions_left: usize,
    /// The number of sessions when it began.
    pub total: usize,
    /// The id of the other process.
    pub to_pid: Option<u32>,
    /// When it began; RFC 3339.
    pub since: String,
}

impl HandingOverView {
    fn of(handing_over: &HandingOver, sessions: usize) -> Self {
        Self {
            sessions_left: sessions,
            total: handing_over.total,
            to_pid: handing_over.to_pid,
            since: clock::rfc3339(handing_over.since),
        }
    }
}

/// How far a take-over is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TakingOverView {
    /// The number of sessions that have arrived.
    pub sessions: usize,
    /// The id of the other process.
    pub from_pid: u32,
    /// When this process began to serve; RFC 3339.
    pub since: String,
}

impl TakingOverView {
    fn of(taking_over: &TakingOver) -> Self {
        Self {
            sessions: taking_over.sessions,
            from_pid: taking_over.from_pid,
            since: clock::rfc3339(taking_over.since),
        }
    }
}

/// The load of a worker.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WorkerView {
    /// Live sessions.
    pub sessions: usize,
    /// Client connections, including those of sessions.
    pub connections: usize,
}

/// What an orchestrator restarts a process by.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(super) struct Liveness {
    /// Always true: a process that does not live does not answer.
    live: bool,
}

/// What an orchestrator sends clients by.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Readiness {
    /// Whether it takes clients.
    ready: bool,
    /// `starting`, `ready`, `leaving` or `stopping`.
    phase: String,
}

pub(super) async fn livez() -> Json<Liveness> {
    Json(Liveness { live: true })
}

pub(super) async fn readyz(State(gateway): State<Arc<Gateway>>) -> (StatusCode, Json<Readiness>) {
    let phase = gateway.live.phase();
    let status = match phase {
        Phase::Ready => StatusCode::OK,
        Phase::Starting | Phase::Leaving | Phase::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    let readiness = Readiness {
        ready: phase == Phase::Ready,
        phase: phase.as_str().to_owned(),
    };
    (status, Json(readiness))
}

pub(super) async fn status(State(gateway): State<Arc<Gateway>>) -> Json<StatusView> {
    Json(StatusView::of(&gateway))
}

impl StatusView {
    /// As it is now.
    pub(super) fn of(gateway: &Gateway) -> Self {
        let live = &gateway.live;
        let table = live.table();
        let (fleet, now) = (gateway.fleet.as_deref(), clock::now());
        let workers = live.workers().loads().map(|load| WorkerView {
            sessions: load.sessions.load(Ordering::Relaxed),
            connections: load.connections.load(Ordering::Relaxed),
        });
        Self {
            node: gateway.node.to_string(),
            zone: live.generation().edge.zone.as_deref().map(str::to_owned),
            version: VERSION.to_owned(),
            pid: std::process::id(),
            started: clock::rfc3339(live.started()),
            uptime_seconds: live.uptime().as_secs(),
            phase: live.phase().as_str().to_owned(),
            generation: table.generation,
            digest: table.digest.to_string(),
            listeners: gateway.listeners.clone(),
            certificates: certificates::views(gateway),
            workers: workers.collect(),
            sessions: live.workers().sessions(),
            connections: live.workers().connections(),
            taken_over: live.taken_over().as_deref().map(TakenOverView::of),
            taking_over: live.taking_over().as_deref().map(TakingOverView::of),
            handing_over: live
                .handing_over()
                .map(|one| HandingOverView::of(&one, live.workers().sessions())),
            sources: Sources::of(gateway),
            broker: gateway
                .messages
                .as_ref()
                .and_then(|messages| BrokerView::of(messages)),
            state: live.state().map(|state| StateView::of(state)),
            state_dir: gateway
                .supervisor
                .state_dir()
                .map(|one| StateDirView::of(one)),
            event_files: live.events().files().map(EventFilesView::from),
            restart_pending: gateway.supervisor.restart_pending(),
            restart_changes: gateway.supervisor.restart_changes(),
            fleet: fleet.map(|fleet| fleet.view(now)).unwrap_or_default(),
            fleet_age_seconds: fleet.and_then(|fleet| Some(fleet.age(now)?.as_secs())),
            fleet_fault: fleet.and_then(|fleet| fleet.fault()),
        }
    }
}
