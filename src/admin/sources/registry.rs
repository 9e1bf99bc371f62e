//! Registries of services as sources: how each service stands that upstreams name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Gateway;
use crate::admin::sources::shown::{SHOWN_MAX, keys, seconds};
use crate::base::clock;
use crate::base::source_id::SourceId;
use crate::control::sources::ServiceStatuses;
use crate::telemetry::metrics::{Reading, table};

/// Registries of services.
const REGISTRIES: [SourceId; 2] = [SourceId::Kubernetes, SourceId::Consul];

/// The status of a registry.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RegistryView {
    /// Where it answers; null if it does not.
    pub endpoint: Option<String>,
    /// What is wrong, if something is. What it answered last stays in force.
    pub fault: Option<String>,
    /// The server that answered last has no leader: its answer may be old.
    pub leaderless: bool,
    /// Services that upstreams name.
    pub count: usize,
    /// Services whose last answer was none, or one without a backend. Their last backends stay in
    /// force.
    pub failing: usize,
    /// Why the keys of documents could not be read last time, if so.
    pub keys_fault: Option<String>,
    /// Documents that it has, backends of services included, and those that stay in force without
    /// it.
    pub documents: usize,
    /// Documents that are refused; the last good version of each stays in force.
    pub refused: usize,
    /// Documents that name something that is missing.
    pub waiting: usize,
    /// Backends that left an answer together with others, and stay for `stale_grace`.
    pub stale: usize,
    /// Documents, a hundred at most, that an answer lacked which is not believed; they stay in
    /// force. If they are to go: `POST /v1/sources/{source}/accept`.
    pub doubted: Vec<String>,
    /// Keys, a hundred at most, under which no document can stand.
    pub ignored: Vec<String>,
    /// Some of what is in force was remembered on disk: not everything has been answered since the
    /// start.
    pub from_last_known_good: bool,
    /// Why last known good could not be read or written.
    pub last_known_good_fault: Option<String>,
    /// Answers that were older than those before, as after a restore.
    pub resets: u64,
    /// A hundred of the services at most, those that fail first.
    pub services: Vec<ServiceView>,
}

/// How a service stands.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ServiceView {
    /// As upstreams name it.
    pub service: String,
    /// Upstreams that name it.
    pub upstreams: Vec<String>,
    /// Backends of its last good answer; null if there was none since the start.
    pub backends: Option<usize>,
    /// Instances of that answer that cannot be backends.
    pub left_out: usize,
    /// Since that answer.
    pub age_seconds: Option<f64>,
    /// Why its last answer was no good one, if so.
    pub fault: Option<String>,
}

impl RegistryView {
    /// How a source stands; `None` if it is not followed.
    pub(super) fn of(source: SourceId, gateway: &Gateway) -> Option<Self> {
        let status = *gateway.sources.followed(source)?;
        let statuses = gateway.sources.get(source)?.services()?;
        let held = gateway.supervisor.held(source);
        Some(Self {
            endpoint: status.endpoint,
            fault: status.fault,
            leaderless: statuses.leaderless,
            count: statuses.services.len(),
            failing: failing(&statuses),
            keys_fault: statuses.keys_fault.clone(),
            documents: status.documents,
            refused: held.refused,
            waiting: held.waiting,
            stale: status.stale.len(),
            doubted: keys(&status.doubted),
            ignored: keys(&status.ignored),
            from_last_known_good: status.from_last_known_good,
            last_known_good_fault: status.last_known_good_fault,
            resets: statuses.resets,
            services: services(&statuses),
        })
    }
}

fn failing(statuses: &ServiceStatuses) -> usize {
    let services = statuses.services.values();
    services.filter(|service| service.fault.is_some()).count()
}

fn services(statuses: &ServiceStatuses) -> Vec<ServiceView> {
    let mut shown: Vec<_> = statuses.services.iter().collect();
    shown.sort_by_key(|(_, status)| status.fault.is_none());
    let now = clock::now();
    let shown = shown.into_iter().take(SHOWN_MAX);
    let shown = shown.map(|(service, status)| ServiceView {
        service: service.clone(),
        upstreams: status.upstreams.iter().map(ToString::to_string).collect(),
        backends: status.members,
        left_out: status.left_out,
        age_seconds: status
            .answered
            .map(|at| seconds(now.saturating_duration_since(at))),
        fault: status.fault.as_deref().map(str::to_owned),
    });
    shown.collect()
}

/// Numbers of all registries that are followed.
pub(super) fn read(gateway: &Gateway, reading: &mut Reading) {
    for source in REGISTRIES {
        let statuses = gateway.sources.get(source).and_then(|one| one.services());
        let status = gateway.sources.followed(source);
        let (Some(statuses), Some(status)) = (statuses, status) else {
            continue;
        };
        let name = source.as_str();
        let held = gateway.supervisor.held(source);
        let unread = usize::from(statuses.keys_fault.is_some());
        let gauges = [
            (&table::SOURCE_SERVICES, statuses.services.len()),
            (&table::SOURCE_FAILING, failing(&statuses) + unread),
            (&table::SOURCE_STALE, status.stale.len()),
            (&table::SOURCE_REFUSED, held.refused),
            (&table::SOURCE_DOUBTED, status.doubted.len()),
        ];
        for (metric, value) in gauges {
            reading.family(metric, [([name], value as f64)]);
        }
        reading.family(&table::SOURCE_RESETS, [([name], statuses.resets as f64)]);
        let answers = [("answered", statuses.answered), ("failed", statuses.failed)];
        let answers = answers.map(|(outcome, count)| ([name, outcome], count as f64));
        reading.family(&table::SOURCE_ANSWERS, answers);
    }
}
