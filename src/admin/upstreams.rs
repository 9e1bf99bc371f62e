//! Upstreams and their backends: how well each is, how much it has, how much it would get.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Path, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::extract::Parameters;
use crate::admin::levels::{LevelView, levels, thousandths};
use crate::admin::page::Paging;
use crate::admin::problem::Problem;
use crate::admin::{Gateway, Page};
use crate::base::clock;
use crate::base::names::BackendId;
use crate::config::snapshot::{AdminState, Policy, ProbeKind};
use crate::control::drainer::{DrainView, Drainer};
use crate::control::rebalancer::RebalanceView;
use crate::core::health::{Ejection, Health};
use crate::core::routing::{Member, Removed, RoutingTable, Upstream};

/// What is shown of what is configured no more.
const REMOVED: &str = "removed";

/// An upstream on one line.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct UpstreamSummary {
    /// Its key in the configuration.
    pub name: String,
    /// How a backend is picked; `removed` for an upstream that is configured no more and on whose
    /// backends sessions live.
    pub policy: String,
    /// What its probe tries (`tcp`, `http`, `websocket`); null if there is none.
    pub probe: Option<String>,
    /// A backend above this multiple of its share gets no new sessions; null for no such bound.
    #[serde(default)]
    pub bounded_load: Option<f64>,
    /// How many backends it has.
    pub members: usize,
    /// Members that may take a session now: active, not unhealthy, not ejected.
    pub eligible: usize,
    /// So few are well that health is ignored.
    pub panicking: bool,
    /// Live, those on removed backends too.
    pub sessions: u64,
    /// Which part of its keys the first level (own zone, lowest priority number) passes on to
    /// others now, 0 to 1, since too few of its backends are well.
    #[serde(default)]
    pub spills: f64,
    /// Live sessions on backends of other levels than the first.
    #[serde(default)]
    pub spilled: u64,
}

/// An upstream with its backends.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct UpstreamView {
    #[serde(flatten)]
    pub(super) summary: UpstreamSummary,
    pub(super) backends: Vec<BackendView>,
    /// Its backends by preference: by priority, then those of the node's zone before the others.
    /// Empty if there is one level.
    pub(super) levels: Vec<LevelView>,
    /// Backends that left the upstream, for as long as sessions live on them.
    removed: Vec<RemovedView>,
    /// The rebalancing that is under way, or the last one.
    rebalance: Option<RebalanceView>,
}

impl UpstreamView {
    /// Whether it is configured no more.
    pub(super) fn is_removed(&self) -> bool {
        self.summary.policy == REMOVED
    }
}

/// A backend that is no member any more.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RemovedView {
    id: String,
    /// Where it was; null if its sessions came from another process.
    address: Option<String>,
    /// `removed`
    state: &'static str,
    /// `removed`
    configured: &'static str,
    /// What an operator ordered by this API.
    ordered: Option<&'static str>,
    /// How far its drain is; null unless it is draining.
    drain: Option<DrainView>,
    /// Live.
    sessions: u64,
    /// Since the backend is known.
    sessions_total: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct BackendView {
    pub(super) id: String,
    pub(super) address: String,
    weight: u32,
    /// What holds: `active`, `draining` or `disabled`.
    pub(super) state: &'static str,
    /// The configured state, which applies unless there is an order.
    configured: &'static str,
    /// What an operator ordered by this API; it holds until it is taken back.
    pub(super) ordered: Option<&'static str>,
    /// How far its drain is; null unless it is draining.
    drain: Option<DrainView>,
    /// Which part of its share it takes, 0 to 1; less than 1 while it wakes up (`slow_start`).
    awake: f64,
    /// What its probe found: `healthy`, `unhealthy`, or `unknown`, which counts as healthy.
    pub(super) health: &'static str,
    /// Why its probe fails, if it does.
    pub(super) reason: Option<String>,
    /// Left out for a time, since ordinary traffic failed on it.
    pub(super) ejected: Option<EjectionView>,
    /// It has lost its lease in etcd together with others, and stays while nothing speaks against
    /// it.
    stale: bool,
    /// Live.
    pub(super) sessions: u64,
    /// Since the backend is known.
    sessions_total: u64,
    /// Connections tried since the backend is known.
    connects: u64,
    /// Outcomes of ordinary traffic that speak against it, since it is known.
    failures: u64,
    /// Of the keys it holds while all members are eligible, in 0 to 1.
    share: f64,
    /// Of the last probe that succeeded.
    probe_ms: Option<f64>,
    /// Since the last probe.
    probed_seconds: Option<f64>,
    zone: Option<String>,
    /// Backends of a higher number are for when others are not well.
    priority: u8,
    labels: BTreeMap<String, String>,
}

impl BackendView {
    /// Whether it is a unix socket, which takes no port.
    pub(super) fn is_local(&self) -> bool {
        self.address.starts_with("unix:")
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct EjectionView {
    /// Until it is tried again.
    pub(super) seconds_left: f64,
    /// The last failure, such as `connect_failed`.
    pub(super) reason: &'static str,
}

/// All of them with their backends, by name.
pub(super) fn views(gateway: &Gateway) -> Vec<UpstreamView> {
    let all = summaries(gateway);
    all.iter()
        .filter_map(|one| view(gateway, &one.name))
        .collect()
}

pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Parameters(paging): Parameters<Paging>,
) -> Json<Page<UpstreamSummary>> {
    let all = summaries(&gateway).into_iter();
    Json(Page::of(all, &paging, |upstream| &upstream.name))
}

/// All of them, by name.
fn summaries(gateway: &Gateway) -> Vec<UpstreamSummary> {
    let table = gateway.live.table();
    let now = clock::now();
    let removed = table.removed();
    // That of routes without a backend has no members to show.
    let known = table.upstreams().filter(|one| !one.is_broker());
    let known = known.map(|upstream| {
        let of = |one: &&Removed| one.upstream == *upstream.name();
        let sessions = removed.iter().filter(of);
        summary(
            upstream,
            sessions.map(|one| one.occupancy.sessions()).sum(),
            now,
        )
    });
    let mut all: Vec<_> = known.chain(gone_summaries(&table, &removed)).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

pub(super) async fn one(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
) -> Result<Json<UpstreamView>, Problem> {
    let view = view(&gateway, &name);
    let unknown = || Problem::not_found(format!("no upstream `{name}`"));
    view.map(Json).ok_or_else(unknown)
}

/// The upstream of this name, configured or not.
fn view(gateway: &Gateway, name: &str) -> Option<UpstreamView> {
    let table = gateway.live.table();
    let supervisor = &gateway.supervisor;
    let drainer = supervisor.drainer();
    let removed = removed(&table, name, drainer);
    let sessions = removed.iter().map(|one| one.sessions).sum();
    let Some(upstream) = table.upstream(name) else {
        return (!removed.is_empty()).then(|| UpstreamView {
            summary: gone_summary(name.to_owned(), sessions),
            backends: Vec::new(),
            levels: Vec::new(),
            removed,
            rebalance: None,
        });
    };
    let now = clock::now();
    let followed: Vec<_> = gateway.sources.all_followed().collect();
    let stale = |id: &str| {
        let mut followed = followed.iter();
        followed.any(|(_, status)| status.is_stale(name, id))
    };
    let members = upstream.members.iter().zip(upstream.shares());
    Some(UpstreamView {
        summary: summary(upstream, sessions, now),
        backends: members
            .map(|(member, share)| backend(upstream, member, share, stale(&member.id), drainer))
            .collect(),
        levels: levels(upstream, now),
        removed,
        rebalance: supervisor.rebalancer().view(upstream.name()),
    })
}

/// One member.
pub(super) fn member_view(gateway: &Gateway, upstream: &Upstream, index: usize) -> BackendView {
    let member = &upstream.members[index];
    let mut followed = gateway.sources.all_followed();
    let stale = followed.any(|(_, status)| status.is_stale(upstream.name(), &member.id));
    let drainer = gateway.supervisor.drainer();
    backend(upstream, member, upstream.shares()[index], stale, drainer)
}

/// A backend that left this upstream; null once nothing is left of it.
pub(super) fn removed_view(
    table: &RoutingTable,
    upstream: &str,
    id: &str,
    drainer: &Drainer,
) -> Option<RemovedView> {
    let mut all = removed(table, upstream, drainer).into_iter();
    all.find(|one| one.id == id)
}

/// Backends that left this upstream and that sessions live on, or whose drain is not forgotten yet.
fn removed(table: &RoutingTable, upstream: &str, drainer: &Drainer) -> Vec<RemovedView> {
    let resident = table.removed().into_iter();
    let mut ids: BTreeMap<String, Option<Removed>> = resident
        .filter(|one| one.upstream.as_str() == upstream)
        .map(|one| (one.id.to_string(), Some(one)))
        .collect();
    let member = |id: &BackendId| table.upstream(upstream)?.member(id);
    for (name, id, _) in drainer.views() {
        if name.as_str() == upstream && member(&id).is_none() {
            ids.entry(id.to_string()).or_default();
        }
    }
    let views = ids.into_iter().map(|(id, one)| {
        let address = one.as_ref().and_then(|one| one.address.as_ref());
        let occupancy = one.as_ref().map(|one| &one.occupancy);
        RemovedView {
            address: address.map(ToString::to_string),
            state: REMOVED,
            configured: REMOVED,
            ordered: drainer.ordered(upstream, &id).map(state_word),
            drain: drainer.view(upstream, &id),
            sessions: occupancy.map_or(0, |it| it.sessions()),
            sessions_total: occupancy.map_or(0, |it| it.sessions_total()),
            id,
        }
    });
    views.collect()
}

/// Upstreams that are configured no more and on whose backends sessions live.
fn gone_summaries(table: &RoutingTable, removed: &[Removed]) -> Vec<UpstreamSummary> {
    let mut gone: BTreeMap<&str, u64> = BTreeMap::new();
    for one in removed {
        if table.upstream(&one.upstream).is_none() {
            *gone.entry(&one.upstream).or_default() += one.occupancy.sessions();
        }
    }
    let gone = gone.into_iter();
    gone.map(|(name, sessions)| gone_summary(name.to_owned(), sessions))
        .collect()
}

fn gone_summary(name: String, sessions: u64) -> UpstreamSummary {
    UpstreamSummary {
        name,
        policy: REMOVED.to_owned(),
        probe: None,
        bounded_load: None,
        members: 0,
        eligible: 0,
        panicking: false,
        sessions,
        spills: 0.0,
        spilled: 0,
    }
}

fn summary(upstream: &Upstream, on_removed: u64, now: Instant) -> UpstreamSummary {
    let config = &upstream.config;
    let members = &upstream.members;
    UpstreamSummary {
        name: upstream.name().to_string(),
        policy: policy_word(config.policy).to_owned(),
        probe: config
            .probe
            .as_ref()
            .map(|probe| probe_word(&probe.kind).to_owned()),
        bounded_load: config.bounded_load,
        members: members.len(),
        eligible: members
            .iter()
            .filter(|member| eligible(member, now))
            .count(),
        panicking: upstream.panicking(now),
        sessions: on_removed
            + members
                .iter()
                .map(|member| member.state.sessions())
                .sum::<u64>(),
        spills: thousandths(upstream.spills(now)),
        spilled: upstream.spilled(),
    }
}

fn eligible(member: &Member, now: Instant) -> bool {
    member.admin_state() == AdminState::Active
        && member.state.health() != Health::Unhealthy
        && !member.state.ejected(now)
}

fn backend(
    upstream: &Upstream,
    member: &Member,
    share: f64,
    stale: bool,
    drainer: &Drainer,
) -> BackendView {
    let (state, now) = (&member.state, clock::now());
    let seconds = |time: Instant| now.saturating_duration_since(time).as_millis() as f64 / 1000.0;
    BackendView {
        id: member.id.to_string(),
        address: member.address.to_string(),
        weight: member.weight,
        state: state_word(member.admin_state()),
        configured: state_word(member.configured),
        ordered: state.ordered().map(state_word),
        drain: drainer.view(upstream.name(), &member.id),
        awake: (upstream.awake(member, now) * 1_000.0).round() / 1_000.0,
        health: health_word(state.health()),
        reason: state.reason(),
        ejected: state
            .ejection(now)
            .map(|ejection| ejection_view(&ejection, now)),
        stale,
        sessions: state.sessions(),
        sessions_total: state.sessions_total(),
        connects: state.connects(),
        failures: state.failures(),
        share,
        probe_ms: state
            .latency()
            .map(|latency| latency.as_micros() as f64 / 1000.0),
        probed_seconds: state.probed().map(seconds),
        zone: member.zone.as_deref().map(str::to_owned),
        priority: member.priority,
        labels: member.labels.clone(),
    }
}

fn ejection_view(ejection: &Ejection, now: Instant) -> EjectionView {
    let left = ejection.until.saturating_duration_since(now);
    EjectionView {
        seconds_left: left.as_millis() as f64 / 1000.0,
        reason: ejection.cause.as_str(),
    }
}

pub(super) const fn policy_word(policy: Policy) -> &'static str {
    match policy {
        Policy::ConsistentHash => "consistent_hash",
        Policy::Rendezvous => "rendezvous",
        Policy::Maglev => "maglev",
        Policy::LeastSessions => "least_sessions",
        Policy::RoundRobin => "round_robin",
        Policy::RandomTwo => "random_two",
    }
}

const fn probe_word(probe: &ProbeKind) -> &'static str {
    match probe {
        ProbeKind::Tcp => "tcp",
        ProbeKind::Http { .. } => "http",
        ProbeKind::WebSocket { .. } => "websocket",
    }
}

const fn state_word(state: AdminState) -> &'static str {
    match state {
        AdminState::Active => "active",
        AdminState::Draining => "draining",
        AdminState::Disabled => "disabled",
    }
}

const fn health_word(health: Health) -> &'static str {
    match health {
        Health::Unknown => "unknown",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}
