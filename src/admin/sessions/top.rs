//! `GET /v1/top`: who sends most now, which keys have most sessions, and whether the load of an
//! upstream is skewed. It walks over all sessions, slice by slice, and keeps only counts.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Gateway;
use crate::admin::extract::Parameters;
use crate::admin::page::PAGE_MAX;
use crate::admin::problem::Problem;
use crate::admin::sessions::filter::{Order, interval, selection};
use crate::admin::sessions::listing::{INTERVAL_DEFAULT, sorted, views};
use crate::admin::sessions::view::{KeyView, RateView, Session, key_view};
use crate::base::names::{BackendId, UpstreamName};
use crate::base::session_id::SessionId;
use crate::config::snapshot::AdminState;
use crate::core::routing::{RoutingTable, Upstream};
use crate::core::session::skew::skew;
use crate::live::{ANSWER_MAX, SessionBrief, SessionQuery, WorkerCommand};

/// The default `limit`.
pub(in crate::admin) const LIMIT_DEFAULT: usize = 20;
/// Keys that are listed.
const KEYS_MAX: usize = 10;

selection!(
    /// Of which sessions, and what counts.
    TopQuery {
        /// `bytes` (the default) or `messages`.
        by: Option<String>,
        /// Sessions at most; 1 to 1000, 20 if not given.
        limit: Option<usize>,
        /// Measures over this time: 100 ms to 10 s; 1 s if not given.
        interval: Option<String>,
    }
);

/// Who sends most, and where.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Top {
    /// All sessions that match.
    pub sessions: usize,
    /// Of all of them.
    pub rate: RateView,
    /// Those that send and receive most, with their rates.
    pub items: Vec<Session>,
    /// Always null: this is one page.
    pub next: Option<String>,
    /// The affinity keys with most sessions.
    pub keys: Vec<HotKey>,
    /// Each upstream with sessions.
    pub upstreams: Vec<UpstreamLoad>,
    /// Workers that did not answer in time; their sessions are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unanswered: Vec<usize>,
}

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

pub(in crate::admin) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Parameters(mut asked): Parameters<TopQuery>,
) -> Result<Json<Top>, Problem> {
    let limit = asked.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, PAGE_MAX);
    let given = asked.interval.as_deref().map(interval).transpose()?;
    let order = Order::read(match asked.by.as_deref() {
        None | Some("bytes") => "-byte_rate",
        Some("messages") => "-message_rate",
        Some(_) => return Err(Problem::bad_request("by: give bytes or messages")),
    })?;
    let query = asked.selection()?;
    let interval = given.unwrap_or(INTERVAL_DEFAULT);
    let sorted = sorted(&gateway, &query, order, limit, Some(interval)).await;
    // All that is kept of every session is kept in here, so few of these run at once.
    let turn = gateway.desk.measuring.acquire().await;
    let counts = Counts::of(&gateway, &query).await;
    let keys = counts.hottest(&gateway, &query).await;
    drop(turn);
    let none = RateView {
        messages_per_second: 0.0,
        bytes_per_second: 0.0,
    };
    Ok(Json(Top {
        sessions: sorted.matched,
        rate: sorted.total.unwrap_or(none),
        items: sorted.items,
        next: None,
        keys,
        upstreams: upstream_loads(&counts.backends, &gateway.live.table()),
        unanswered: sorted.silent,
    }))
}

/// Sessions by backend and by key.
struct Counts {
    backends: BTreeMap<(UpstreamName, BackendId), u64>,
    /// By the hash of upstream and key: a count needs no copy of the key.
    keys: HashMap<u64, u64>,
    /// Unpredictable, so that nobody makes two keys look like one.
    hasher: RandomState,
}

/// A key that is looked at closely.
struct Close {
    upstream: UpstreamName,
    session: SessionId,
    backends: BTreeMap<BackendId, u64>,
}

impl Counts {
    async fn of(gateway: &Gateway, query: &SessionQuery) -> Self {
        let mut counts = Self {
            backends: BTreeMap::new(),
            keys: HashMap::new(),
            hasher: RandomState::new(),
        };
        briefs(gateway, query, |brief| {
            if let Some(hash) = counts.hash(&brief) {
                *counts.keys.entry(hash).or_default() += 1;
            }
            let backend = (brief.upstream, brief.backend);
            *counts.backends.entry(backend).or_default() += 1;
        })
        .await;
        counts
    }

    fn hash(&self, brief: &SessionBrief) -> Option<u64> {
        let key = brief.key.as_deref()?;
        Some(self.hasher.hash_one((&brief.upstream, key)))
    }

    /// The keys with most sessions, more than one each. They are counted again: the first walk has
    /// not kept the keys.
    async fn hottest(&self, gateway: &Gateway, query: &SessionQuery) -> Vec<HotKey> {
        let mut counted: Vec<_> = self.keys.iter().filter(|(_, count)| **count > 1).collect();
        counted.sort_unstable_by_key(|(hash, count)| (std::cmp::Reverse(**count), **hash));
        counted.truncate(KEYS_MAX);
        let mut close: HashMap<u64, Option<Close>> = HashMap::new();
        close.extend(counted.iter().map(|(hash, _)| (**hash, None)));
        briefs(gateway, query, |brief| {
            let hash = self.hash(&brief);
            let Some(found) = hash.and_then(|hash| close.get_mut(&hash)) else {
                return;
            };
            let found = found.get_or_insert_with(|| Close {
                upstream: brief.upstream,
                session: brief.id,
                backends: BTreeMap::new(),
            });
            *found.backends.entry(brief.backend).or_default() += 1;
        })
        .await;
        let close: Vec<_> = close.into_values().flatten().collect();
        let ids: Vec<_> = close.iter().map(|one| one.session).collect();
        let views = views(gateway, &ids).await;
        let mut hot: Vec<_> = close
            .into_iter()
            .filter_map(|one| {
                let view = views.iter().find(|view| view.facts.id == one.session)?;
                let key = key_view(view.key.as_deref()?, &view.facts.details);
                self.hot(key, one)
            })
            .collect();
        hot.sort_by_key(|one| std::cmp::Reverse(one.sessions));
        hot
    }

    fn hot(&self, key: KeyView, close: Close) -> Option<HotKey> {
        let sessions = close.backends.values().sum();
        let most = close.backends.iter().max_by_key(|(_, count)| **count);
        let (backend, most) = most?;
        let all = self
            .backends
            .get(&(close.upstream.clone(), backend.clone()));
        Some(HotKey {
            key,
            upstream: close.upstream.to_string(),
            sessions,
            backend: backend.to_string(),
            on_backend: *most,
            share: part(*most, all.copied().unwrap_or(*most).max(*most)),
        })
    }
}

/// The load of each upstream, by the sessions of its backends. `table` has their weights.
fn upstream_loads(
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

/// The active members with their sessions, those without any too.
fn loads(upstream: &Upstream, backends: &[(&BackendId, u64)]) -> Vec<(u64, u32)> {
    let counts: HashMap<_, _> = backends.iter().copied().collect();
    let members = upstream.members.iter();
    let active = members.filter(|member| member.admin_state() == AdminState::Active);
    active
        .map(|member| (counts.get(&member.id).copied().unwrap_or(0), member.weight))
        .collect()
}

fn part(count: u64, all: u64) -> f64 {
    (count as f64 / all.max(1) as f64 * 1000.0).round() / 1000.0
}

async fn briefs(gateway: &Gateway, query: &SessionQuery, mut each: impl FnMut(SessionBrief)) {
    let ask = |slice, answer| WorkerCommand::Briefs {
        query: query.clone(),
        slice,
        answer,
    };
    let take = |_, briefs: Vec<SessionBrief>| {
        briefs.into_iter().for_each(&mut each);
        true
    };
    let workers = gateway.live.workers();
    workers.walk_each(ANSWER_MAX, None, ask, take).await;
}
