//! The keys and the load of upstreams in `/v1/top`, of one gateway and of several.

use std::collections::{BTreeMap, HashMap};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::sessions::view::KeyView;
use crate::base::names::{BackendId, UpstreamName};
use crate::config::snapshot::AdminState;
use crate::core::routing::{RoutingTable, Upstream};
use crate::core::session::skew::skew;

/// Keys that are listed.
pub(super) const KEYS_MAX: usize = 10;

/// An affinity key with many sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HotKey {
    /// The key.
    pub key: KeyView,
    /// The upstream.
    pub upstream: String,
    /// Sessions with this key.
    pub sessions: u64,
    /// The backend that has most of them.
    pub backend: String,
    /// How many of them it has.
    #[serde(default)]
    pub on_backend: u64,
    /// Which part of that backend's sessions they are, in 0..=1.
    pub share: f64,
}

/// The load of an upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UpstreamLoad {
    /// Its name.
    pub name: String,
    /// Sessions that match.
    pub sessions: u64,
    /// The sessions of the fullest backend, as a multiple of what its weight entitles it to; null
    /// with fewer than two backends.
    pub skew: Option<f64>,
    /// Whether that is more than chance explains.
    pub skewed: bool,
    /// The fullest first.
    pub backends: Vec<BackendLoad>,
}

/// The load of a backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BackendLoad {
    /// Its id.
    pub id: String,
    /// Sessions that match.
    pub sessions: u64,
    /// Part of the upstream's sessions, in 0..=1.
    pub share: f64,
}

/// The load of each upstream, by the sessions of its backends. `table` has their weights.
pub(super) fn upstream_loads(
    sessions: &BTreeMap<(UpstreamName, BackendId), u64>,
    table: &RoutingTable,
) -> Vec<UpstreamLoad> {
    let mut by_upstream: BTreeMap<_, Vec<(&BackendId, u64)>> = BTreeMap::new();
    for ((upstream, backend), count) in sessions {
        let backends = by_upstream.entry(upstream).or_default();
        backends.push((backend, *count));
    }
    let load = |(name, mut backends): (&UpstreamName, Vec<(&BackendId, u64)>)| {
        let counts = backends.iter().map(|(_, count)| *count);
        let sessions = counts.fold(0, u64::saturating_add);
        let skew = table
            .upstream(name)
            .and_then(|upstream| skew(&loads(upstream, &backends)));
        backends.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let backends = backends.into_iter().map(|(id, count)| BackendLoad {
            id: id.to_string(),
            sessions: count,
            share: part(count, sessions),
        });
        UpstreamLoad {
            name: name.to_string(),
            sessions,
            skew: skew.map(|skew| (skew.ratio * 100.0).round() / 100.0),
            skewed: skew.is_some_and(|skew| skew.skewed),
            backends: backends.collect(),
        }
    };
    by_upstream.into_iter().map(load).collect()
}

/// The loads that several gateways list, as those of one. `table` has the weights of backends.
pub(in crate::admin) fn merged_loads(
    listed: &[UpstreamLoad],
    table: &RoutingTable,
) -> Vec<UpstreamLoad> {
    upstream_loads(&by_backend(listed), table)
}

/// The keys that several gateways list, as those of one.
pub(in crate::admin) fn merged_keys(listed: Vec<HotKey>, loads: &[UpstreamLoad]) -> Vec<HotKey> {
    let all = by_backend(loads);
    let mut by_key: BTreeMap<_, (HotKey, BTreeMap<String, u64>)> = BTreeMap::new();
    for one in listed {
        let key = (one.upstream.clone(), one.key.key.clone(), one.key.hidden);
        let (backend, count, sessions) = (one.backend.clone(), one.on_backend, one.sessions);
        let (merged, backends) = by_key.entry(key).or_insert_with(|| {
            let none = HotKey { sessions: 0, ..one };
            (none, BTreeMap::new())
        });
        merged.sessions = merged.sessions.saturating_add(sessions);
        let there = backends.entry(backend).or_default();
        *there = there.saturating_add(count);
    }
    let merged = by_key.into_values().filter_map(|(key, backends)| {
        let (backend, most) = backends.into_iter().max_by_key(|(_, count)| *count)?;
        let place = (UpstreamName::new(&*key.upstream), BackendId::new(&*backend));
        let all = all.get(&place).copied().unwrap_or(most);
        Some(HotKey {
            backend,
            on_backend: most,
            share: part(most, all.max(most)),
            ..key
        })
    });
    let mut merged: Vec<_> = merged.collect();
    merged.sort_by_key(|one| std::cmp::Reverse(one.sessions));
    merged.truncate(KEYS_MAX);
    merged
}

/// The sessions of each backend in these lists.
fn by_backend(listed: &[UpstreamLoad]) -> BTreeMap<(UpstreamName, BackendId), u64> {
    let mut all = BTreeMap::new();
    for upstream in listed {
        for backend in &upstream.backends {
            let place = (
                UpstreamName::new(&*upstream.name),
                BackendId::new(&*backend.id),
            );
            let sessions: &mut u64 = all.entry(place).or_default();
            *sessions = sessions.saturating_add(backend.sessions);
        }
    }
    all
}

/// The active members of the first level with their sessions, those without any too. Those of other
/// levels are not meant to have as many.
fn loads(upstream: &Upstream, backends: &[(&BackendId, u64)]) -> Vec<(u64, u32)> {
    let counts: HashMap<_, _> = backends.iter().copied().collect();
    let members = upstream.members.iter().enumerate();
    let active = members.filter(|(index, member)| {
        member.admin_state() == AdminState::Active && upstream.level_of(*index) == 0
    });
    active
        .map(|(_, member)| (counts.get(&member.id).copied().unwrap_or(0), member.weight))
        .collect()
}

/// A part of all, in thousandths.
pub(super) fn part(count: u64, all: u64) -> f64 {
    (count as f64 / all.max(1) as f64 * 1000.0).round() / 1000.0
}
