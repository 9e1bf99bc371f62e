//! Where the configuration comes from: every source with its precedence and its status.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Gateway;
use crate::admin::extract::Caller;
use crate::admin::orders;
use crate::admin::problem::Problem;
use crate::base::clock;
use crate::base::source_id::SourceId;
use crate::control::sources::{FollowStatus, NameStatuses, Source, SourceStatus};
use crate::control::supervisor::Supervisor;
use crate::control::supervisor::composition::Held;
use crate::telemetry::events::Fields;
use crate::telemetry::metrics::{Reading, table};

pub mod registry;
mod shown;

use registry::RegistryView;
use shown::{SHOWN_MAX, age, keys, seconds};

/// Where the configuration comes from.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Sources {
    /// The one that the command line named.
    pub file: FileView,
    /// The etcd that is followed; null if there is none.
    pub etcd: Option<EtcdView>,
    /// Names in DNS that upstreams have; null if there are none.
    #[serde(default)]
    pub dns: Option<DnsView>,
    /// The cluster that is followed; null if there is none.
    #[serde(default)]
    pub kubernetes: Option<RegistryView>,
    /// The Consul that is followed; null if there is none.
    #[serde(default)]
    pub consul: Option<RegistryView>,
    /// Every source, the weakest first: of what stands in several under one name, the last one that
    /// has it wins.
    #[serde(default)]
    pub items: Vec<SourceView>,
}

/// A configuration file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FileView {
    /// Where it is.
    pub path: String,
    /// When what is in force was read; RFC 3339.
    pub loaded: String,
    /// When its last reading was refused, if it was; `/v1/config` has the reason.
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

/// A source, in the terms that all have in common.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SourceView {
    /// Which.
    pub source: SourceId,
    /// A source of higher precedence overrides one of lower precedence by name.
    pub precedence: usize,
    /// Whether what it has is in force: its last reading was good, and if it is followed, a watch
    /// runs.
    pub current: bool,
    /// What is wrong, if it is not current.
    pub fault: Option<String>,
    /// Everything that was written to it up to this revision has been taken; null if it does not
    /// count.
    pub revision: Option<i64>,
    /// Since it was read, or last gave a sign of life.
    pub age_seconds: Option<f64>,
    /// Documents that it has, and those that stay in force without it.
    pub documents: usize,
    /// Documents that are refused; the last good version of each stays in force.
    pub refused: usize,
    /// Documents that name something that is missing.
    pub waiting: usize,
}

/// How the names in DNS stand.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DnsView {
    /// How many are followed.
    pub count: usize,
    /// How many had no answer when they were looked up last. Their last backends stay in force.
    pub failing: usize,
    /// Backends that left an answer together with others, and stay for `stale_grace`.
    pub stale: usize,
    /// What is in force was remembered on disk, and not every name has been looked up since the
    /// start.
    pub from_last_known_good: bool,
    /// A hundred of them at most, those that fail first.
    pub names: Vec<DnsNameView>,
}

/// How a name stands.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DnsNameView {
    /// As it is written in `dns`.
    pub name: String,
    /// Upstreams that have it.
    pub upstreams: Vec<String>,
    /// Backends of its last good answer; null if there was none since the start.
    pub backends: Option<usize>,
    /// Since that answer.
    pub age_seconds: Option<f64>,
    /// Why its last lookup had no answer, if so.
    pub fault: Option<String>,
}

impl DnsView {
    fn of(gateway: &Gateway) -> Option<Self> {
        let followed = gateway.sources.followed(SourceId::Dns)?;
        let NameStatuses { names, .. } = gateway.sources.get(SourceId::Dns)?.names()?;
        if names.is_empty() {
            return None;
        }
        let failing = names.values().filter(|name| name.fault.is_some()).count();
        let mut shown: Vec<_> = names.iter().collect();
        shown.sort_by_key(|(_, status)| status.fault.is_none());
        let now = clock::now();
        let shown = shown.into_iter().take(SHOWN_MAX);
        let shown = shown.map(|(name, status)| DnsNameView {
            name: name.to_string(),
            upstreams: status.upstreams.iter().map(ToString::to_string).collect(),
            backends: status.members,
            age_seconds: status
                .answered
                .map(|at| seconds(now.saturating_duration_since(at))),
            fault: status.fault.as_deref().map(str::to_owned),
        });
        Some(Self {
            count: names.len(),
            failing,
            stale: followed.stale.len(),
            from_last_known_good: followed.from_last_known_good,
            names: shown.collect(),
        })
    }
}

/// The status of etcd.
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
        let etcd = gateway.sources.followed(SourceId::Etcd);
        let held = gateway.supervisor.held(SourceId::Etcd);
        // Without a name to follow, DNS is no source.
        let used = |source: &&Arc<dyn Source>| {
            let names = source.names();
            names.is_none_or(|names| !names.names.is_empty())
        };
        let items = gateway.sources.iter().filter(used);
        Self {
            dns: DnsView::of(gateway),
            kubernetes: RegistryView::of(SourceId::Kubernetes, gateway),
            consul: RegistryView::of(SourceId::Consul, gateway),
            file: FileView::of(&gateway.supervisor),
            etcd: etcd.map(|status| view(*status, held)),
            items: items.map(|source| item(&**source, gateway)).collect(),
        }
    }
}

fn item(source: &dyn Source, gateway: &Gateway) -> SourceView {
    let held = gateway.supervisor.held(source.id());
    let (mut revision, mut documents) = (None, 0);
    let (current, fault, age_seconds) = match source.status() {
        SourceStatus::File(file) => {
            let loaded = clock::wall().duration_since(file.loaded);
            let fault = file.refused.map(|(_, fault)| fault);
            (fault.is_none(), fault, loaded.ok().map(seconds))
        }
        SourceStatus::Followed(status) => {
            (revision, documents) = (Some(status.revision), status.documents);
            let age = age(&status);
            let current = match source.id() {
                SourceId::Etcd => status.endpoint.is_some(),
                _ => status.fault.is_none(),
            };
            (current, status.fault, age)
        }
    };
    SourceView {
        source: source.id(),
        precedence: source.id().precedence(),
        current,
        fault,
        revision,
        age_seconds,
        documents,
        refused: held.refused,
        waiting: held.waiting,
    }
}

fn view(status: FollowStatus, held: Held) -> EtcdView {
    EtcdView {
        connected: status.endpoint.is_some(),
        revision: status.revision,
        progress_seconds: age(&status),
        documents: status.documents,
        refused: held.refused,
        waiting: held.waiting,
        stale: status.stale.len(),
        doubted: keys(&status.doubted),
        ignored: keys(&status.ignored),
        from_last_known_good: status.from_last_known_good,
        last_known_good_fault: status.last_known_good_fault,
        rereads: status.rereads,
        watch_restarts: status.watch_restarts,
        restores: status.restores,
        endpoint: status.endpoint,
        fault: status.fault,
    }
}

pub(super) async fn accept(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(source): Path<String>,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let mut sources = gateway.sources.iter();
    let source = sources.find(|one| one.id().as_str() == source);
    let source = source.ok_or_else(|| Problem::not_found("no such source is followed"))?;
    let documents = source.accept();
    let never = || Problem::not_found(format!("nothing of `{}` is ever in doubt", source.id()));
    let documents = documents.ok_or_else(never)?;
    let fields = Fields {
        source: Some(source.id().as_str().into()),
        ..Fields::new(format!("accept that {documents} documents are gone"))
    };
    orders::report(&gateway, &caller, "accept", fields);
    Ok((StatusCode::ACCEPTED, Json(Accepted { documents })))
}

pub(super) fn read(gateway: &Gateway, reading: &mut Reading) {
    read_dns(gateway, reading);
    registry::read(gateway, reading);
    let Some(status) = gateway.sources.followed(SourceId::Etcd) else {
        return;
    };
    let flag = |set: bool| f64::from(u8::from(set));
    reading.single(&table::ETCD_CONNECTED, flag(status.endpoint.is_some()));
    reading.single(&table::ETCD_REVISION, status.revision as f64);
    if let Some(age) = age(&status) {
        reading.single(&table::ETCD_PROGRESS_AGE, age);
    }
    if let Some(fleet) = &gateway.fleet {
        reading.single(&table::NODE_DUPLICATE, flag(fleet.is_duplicated()));
    }
    let held = gateway.supervisor.held(SourceId::Etcd);
    reading.single(&table::ETCD_REFUSED, held.refused as f64);
    reading.single(&table::ETCD_WAITING, held.waiting as f64);
    reading.single(&table::ETCD_STALE, status.stale.len() as f64);
    reading.single(&table::ETCD_DOUBTED, status.doubted.len() as f64);
    let remembered = flag(status.from_last_known_good);
    reading.single(&table::ETCD_LAST_KNOWN_GOOD, remembered);
    reading.single(&table::ETCD_REREADS, status.rereads as f64);
    reading.single(&table::ETCD_WATCH_RESTARTS, status.watch_restarts as f64);
    reading.single(&table::ETCD_RESTORES, status.restores as f64);
}

fn read_dns(gateway: &Gateway, reading: &mut Reading) {
    let source = gateway.sources.get(SourceId::Dns);
    let Some(names) = source.and_then(|source| source.names()) else {
        return;
    };
    if names.names.is_empty() {
        return;
    }
    let failing = names.names.values().filter(|name| name.fault.is_some());
    reading.single(&table::DNS_NAMES, names.names.len() as f64);
    reading.single(&table::DNS_NAMES_FAILING, failing.count() as f64);
    let status = gateway.sources.followed(SourceId::Dns).unwrap_or_default();
    reading.single(&table::DNS_STALE, status.stale.len() as f64);
    let lookups = [("answered", names.answered), ("failed", names.failed)];
    let lookups = lookups.map(|(outcome, count)| ([outcome], count as f64));
    reading.family(&table::DNS_LOOKUPS, lookups);
}
