//! Is it alive, is it ready, what does it do: for orchestrators, and for people at first sight.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::admin::gateway::VERSION;
use crate::admin::sources::Sources;
use crate::admin::{Gateway, ListenerView};
use crate::base::clock;
use crate::control::fleet::NodeView;
use crate::control::state_dir::StateDir;
use crate::live::{Phase, TakenOver};

/// What a gateway says of itself.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StatusView {
    /// Its name.
    pub node: String,
    /// Of the program.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// RFC 3339.
    pub started: String,
    /// Since the start.
    pub uptime_seconds: u64,
    /// `starting`, `ready` or `stopping`.
    pub phase: String,
    /// Of the routing table; grows with each swap.
    pub generation: u64,
    /// Equal on all gateways that have equal routes and upstreams.
    pub digest: String,
    /// Where clients come in.
    pub listeners: Vec<ListenerView>,
    /// In their order.
    pub workers: Vec<WorkerView>,
    /// Live, of all workers.
    pub sessions: usize,
    /// Of clients, those of sessions among them.
    pub connections: usize,
    /// What came from the process before this one, if `run --take-over` found one.
    pub taken_over: Option<TakenOverView>,
    /// Where the configuration comes from.
    pub sources: Sources,
    /// The directory of what the next start must know; null without `node.state_dir`.
    #[serde(default)]
    pub state_dir: Option<StateDirView>,
    /// Settings of the file that take effect at the next start.
    #[serde(default)]
    pub restart_pending: Vec<String>,
    /// The gateways that follow the same etcd, this one among them, by name; empty without one.
    #[serde(default)]
    pub fleet: Vec<NodeView>,
    /// Since the fleet was read; null if it never was.
    #[serde(default)]
    pub fleet_age_seconds: Option<u64>,
    /// Why it could not be read the last time.
    #[serde(default)]
    pub fleet_fault: Option<String>,
}

/// A directory for what the next start must know.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StateDirView {
    /// Where it is.
    pub path: String,
    /// Why it cannot be written to now; null if it can.
    pub fault: Option<String>,
}

impl StateDirView {
    fn of(state_dir: &StateDir) -> Self {
        Self {
            path: state_dir.path().display().to_string(),
            fault: state_dir.fault(),
        }
    }
}

/// What came from another process.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TakenOverView {
    /// So many.
    pub sessions: usize,
    /// The other process.
    pub from_pid: u32,
    /// When it ended its part; RFC 3339.
    pub at: String,
}

impl TakenOverView {
    fn of(taken_over: &TakenOver) -> Self {
        Self {
            sessions: taken_over.sessions,
            from_pid: taken_over.from_pid,
            at: clock::rfc3339(taken_over.at),
        }
    }
}

/// How much a worker has.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WorkerView {
    /// Live.
    pub sessions: usize,
    /// Of clients, those of sessions among them.
    pub connections: usize,
}

pub(super) async fn livez() -> Json<Value> {
    Json(json!({ "live": true }))
}

pub(super) async fn readyz(State(gateway): State<Arc<Gateway>>) -> (StatusCode, Json<Value>) {
    let phase = gateway.live.phase();
    let status = match phase {
        Phase::Ready => StatusCode::OK,
        Phase::Starting | Phase::Leaving | Phase::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    (
        status,
        Json(json!({ "ready": phase == Phase::Ready, "phase": phase })),
    )
}

pub(super) async fn status(State(gateway): State<Arc<Gateway>>) -> Json<StatusView> {
    let live = &gateway.live;
    let table = live.table();
    let (fleet, now) = (gateway.fleet.as_deref(), clock::now());
    let workers = live.workers().loads().map(|load| WorkerView {
        sessions: load.sessions.load(Ordering::Relaxed),
        connections: load.connections.load(Ordering::Relaxed),
    });
    Json(StatusView {
        node: gateway.node.to_string(),
        version: VERSION.to_owned(),
        pid: std::process::id(),
        started: clock::rfc3339(live.started()),
        uptime_seconds: live.uptime().as_secs(),
        phase: live.phase().as_str().to_owned(),
        generation: table.generation,
        digest: table.digest.to_string(),
        listeners: gateway.listeners.clone(),
        workers: workers.collect(),
        sessions: live.workers().sessions(),
        connections: live.workers().connections(),
        taken_over: live.taken_over().as_deref().map(TakenOverView::of),
        sources: Sources::of(&gateway),
        state_dir: gateway
            .supervisor
            .state_dir()
            .map(|one| StateDirView::of(one)),
        restart_pending: gateway.supervisor.restart_pending(),
        fleet: fleet.map(|fleet| fleet.view(now)).unwrap_or_default(),
        fleet_age_seconds: fleet.and_then(|fleet| Some(fleet.age(now)?.as_secs())),
        fleet_fault: fleet.and_then(|fleet| fleet.fault()),
    })
}
