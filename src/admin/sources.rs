//! Where the configuration comes from, and how it stands with that.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Gateway;
use crate::admin::problem::Problem;
use crate::base::clock;
use crate::control::source::Seen;
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::composition::Held;
use crate::telemetry::metrics::{Reading, table};

/// Names of documents that are shown of each kind of trouble.
const SHOWN_MAX: usize = 100;

/// Where the configuration comes from.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Sources {
    /// The one that the command line named.
    pub file: FileView,
    /// The etcd that is followed; null if there is none.
    pub etcd: Option<EtcdView>,
}

/// A configuration file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FileView {
    /// Where it is.
    pub path: String,
    /// When what is in force was read; RFC 3339.
    pub loaded: String,
    /// When its last reading was refused, if it was; `/v1/config` says why.
    pub refused: Option<String>,
}

impl FileView {
    pub(super) fn of(supervisor: &Supervisor) -> Self {
        Self {
            path: supervisor.path().display().to_string(),
            loaded: clock::rfc3339(supervisor.loaded_at()),
            refused: supervisor
                .refused()
                .map(|refused| clock::rfc3339(refused.at)),
        }
    }
}

/// How it stands with etcd.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EtcdView {
    /// Whether a watch runs.
    pub connected: bool,
    /// Where it runs.
    pub endpoint: Option<String>,
    /// What went wrong last, until the next connection.
    pub fault: Option<String>,
    /// Everything that etcd wrote up to this revision has been taken; 0 if it never answered.
    pub revision: i64,
    /// Since etcd's last sign of life on a watch.
    pub progress_seconds: Option<f64>,
    /// Documents that it has, and those that stay in force without it.
    pub documents: usize,
    /// Documents that are refused; the last good version of each stays in force.
    pub refused: usize,
    /// Documents that name something that is missing.
    pub waiting: usize,
    /// Backends that lost their leases together with others, and stay for `stale_grace`.
    pub stale: usize,
    /// Documents, a hundred at most, that a read lacked which is not believed; they stay in force.
    /// If they are to go: `sessile etcd accept`, which is `POST /v1/sources/etcd/accept`.
    pub doubted: Vec<String>,
    /// Keys, a hundred at most, under which no document can stand.
    pub ignored: Vec<String>,
    /// What is in force is what was remembered on disk: etcd has not been heard since the start.
    pub from_last_known_good: bool,
    /// Why last known good could not be read or written.
    pub last_known_good_fault: Option<String>,
    /// Full reads, apart from the first.
    pub rereads: u64,
    /// Watches that ended and were begun anew.
    pub watch_restarts: u64,
    /// Times that etcd had been restored or replaced.
    pub restores: u64,
}

/// What an order to accept came to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// So many documents go.
    pub documents: usize,
}

impl Sources {
    pub(super) fn of(gateway: &Gateway) -> Self {
        Self {
            file: FileView::of(&gateway.supervisor),
            etcd: gateway
                .etcd
                .as_ref()
                .map(|state| view(state.seen(), gateway.supervisor.held())),
        }
    }
}

fn view(seen: Seen, held: Held) -> EtcdView {
    let names = |keys: &std::collections::BTreeSet<Arc<str>>| {
        let some = keys.iter().take(SHOWN_MAX);
        some.map(ToString::to_string).collect()
    };
    EtcdView {
        connected: seen.endpoint.is_some(),
        revision: seen.revision,
        progress_seconds: age(&seen),
        documents: seen.documents,
        refused: held.refused,
        waiting: held.waiting,
        stale: seen.stale.len(),
        doubted: names(&seen.doubted),
        ignored: names(&seen.ignored),
        from_last_known_good: seen.from_last_known_good,
        last_known_good_fault: seen.last_known_good_fault,
        rereads: seen.rereads,
        watch_restarts: seen.watch_restarts,
        restores: seen.restores,
        endpoint: seen.endpoint,
        fault: seen.fault,
    }
}

fn age(seen: &Seen) -> Option<f64> {
    let since = clock::now().saturating_duration_since(seen.progress?);
    Some(since.as_millis() as f64 / 1000.0)
}

pub(super) async fn accept(
    State(gateway): State<Arc<Gateway>>,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let Some(state) = &gateway.etcd else {
        return Err(Problem::not_found("no etcd is followed"));
    };
    let documents = state.accept();
    Ok((StatusCode::ACCEPTED, Json(Accepted { documents })))
}

pub(super) fn read(gateway: &Gateway, reading: &mut Reading) {
    let Some(state) = &gateway.etcd else { return };
    let seen = state.seen();
    let flag = |set: bool| f64::from(u8::from(set));
    reading.single(&table::ETCD_CONNECTED, flag(seen.endpoint.is_some()));
    reading.single(&table::ETCD_REVISION, seen.revision as f64);
    if let Some(age) = age(&seen) {
        reading.single(&table::ETCD_PROGRESS_AGE, age);
    }
    let held = gateway.supervisor.held();
    reading.single(&table::ETCD_REFUSED, held.refused as f64);
    reading.single(&table::ETCD_WAITING, held.waiting as f64);
    reading.single(&table::ETCD_STALE, seen.stale.len() as f64);
    reading.single(&table::ETCD_DOUBTED, seen.doubted.len() as f64);
    let remembered = flag(seen.from_last_known_good);
    reading.single(&table::ETCD_LAST_KNOWN_GOOD, remembered);
    reading.single(&table::ETCD_REREADS, seen.rereads as f64);
    reading.single(&table::ETCD_WATCH_RESTARTS, seen.watch_restarts as f64);
    reading.single(&table::ETCD_RESTORES, seen.restores as f64);
}
