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
use crate::admin::sessions::load::{HotKey, KEYS_MAX, UpstreamLoad, part, upstream_loads};
use crate::admin::sessions::view::{KeyView, RateView, Session, key_view};
use crate::base::names::{BackendId, UpstreamName};
use crate::base::session_id::SessionId;
use crate::live::{ANSWER_MAX, SessionBrief, SessionQuery, WorkerCommand};

/// The default `limit`.
pub(in crate::admin) const LIMIT_DEFAULT: usize = 20;

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
    /// Unpredictable, so that a client cannot choose two keys that collide.
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
