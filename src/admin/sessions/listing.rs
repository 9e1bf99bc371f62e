//! Lists of sessions: in the order of their ids, page by page, or the first ones by a number.
//! Sorted lists walk over all sessions twice at most, slice by slice, and keep only the best.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::admin::Gateway;
use crate::admin::sessions::filter::{Number, Order};
use crate::admin::sessions::view::{RateView, Session, session};
use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::core::session::best::{Best, Ranked};
use crate::live::{
    ANSWER_MAX, LookCommand, SLICE_MAX, SessionQuery, SessionSample, SessionView, SortKey, Walked,
    WorkerCommand,
};

/// Over what rates are measured where no time was given.
pub(super) const INTERVAL_DEFAULT: Duration = Duration::from_secs(1);

/// The first sessions by a number.
pub(in crate::admin) struct Sorted {
    /// In order.
    pub(in crate::admin) items: Vec<Session>,
    /// How many sessions there are, listed or not.
    pub(in crate::admin) matched: usize,
    /// Of all that were walked over.
    pub(in crate::admin) total: Option<RateView>,
    /// The workers that did not answer for all of their sessions.
    pub(in crate::admin) silent: Vec<usize>,
}

/// The first `limit` sessions that `query` takes, in this order. Rates are measured over `interval`
/// if that is given, and for an order that needs them.
pub(in crate::admin) async fn sorted(
    gateway: &Gateway,
    query: &SessionQuery,
    order: Order,
    limit: usize,
    interval: Option<Duration>,
) -> Sorted {
    match order.by {
        Number::Own(key) => by_own(gateway, query, (order, key), limit, interval).await,
        Number::MessageRate | Number::ByteRate => {
            let interval = interval.unwrap_or(INTERVAL_DEFAULT);
            by_rate(gateway, query, order, limit, interval).await
        }
    }
}

async fn by_own(
    gateway: &Gateway,
    query: &SessionQuery,
    (order, key): (Order, SortKey),
    limit: usize,
    interval: Option<Duration>,
) -> Sorted {
    let (mut best, mut matched) = (Best::new(order.direction, limit), 0);
    let silent = samples(gateway, query, key, |sample| {
        matched += 1;
        best.add(Ranked {
            value: sample.value,
            id: sample.id,
        });
    });
    let silent = silent.await;
    let ids = best.into_ids();
    let views = views(gateway, &ids).await;
    Sorted {
        items: with_rates(gateway, views, interval).await,
        matched,
        total: None,
        silent,
    }
}

async fn by_rate(
    gateway: &Gateway,
    query: &SessionQuery,
    order: Order,
    limit: usize,
    interval: Duration,
) -> Sorted {
    // All that is kept of every session is kept in here, so few of these run at once.
    let _turn = gateway.desk.measuring.acquire().await;
    let mut before = HashMap::new();
    let began = clock::now();
    let first = samples(gateway, query, SortKey::Messages, |sample| {
        before.insert(sample.id, (sample.messages, sample.bytes));
    });
    first.await;
    let (best, rates, total, matched, silent) = {
        sleep(interval.saturating_sub(began.elapsed())).await;
        let seconds = began.elapsed().as_secs_f64();
        let mut best = Best::new(order.direction, limit);
        let (mut rates, mut all, mut matched) = (HashMap::new(), (0, 0), 0);
        let silent = samples(gateway, query, SortKey::Messages, |sample| {
            matched += 1;
            // One that has begun meanwhile began with nothing.
            let (messages, bytes) = before.remove(&sample.id).unwrap_or_default();
            let moved = (
                sample.messages.saturating_sub(messages),
                sample.bytes.saturating_sub(bytes),
            );
            all = (all.0 + moved.0, all.1 + moved.1);
            let value = match order.by {
                Number::MessageRate => moved.0,
                Number::ByteRate | Number::Own(_) => moved.1,
            };
            best.add(Ranked {
                value: Some(value),
                id: sample.id,
            });
            if moved != (0, 0) {
                rates.insert(sample.id, moved);
            }
        });
        let silent = silent.await;
        let rate = move |moved| rate(moved, seconds);
        let rates: HashMap<_, _> = rates
            .into_iter()
            .map(|(id, moved)| (id, rate(moved)))
            .collect();
        (best, rates, rate(all), matched, silent)
    };
    let views = views(gateway, &best.into_ids()).await;
    let items = views.iter().map(|view| {
        let found = rates.get(&view.facts.id);
        Session {
            rate: Some(found.copied().unwrap_or_else(|| rate((0, 0), 1.0))),
            ..session(view)
        }
    });
    Sorted {
        items: items.collect(),
        matched,
        total: Some(total),
        silent,
    }
}

/// Calls `each` with the numbers of all sessions that `query` takes. Returns the workers that did
/// not answer for all of theirs.
async fn samples(
    gateway: &Gateway,
    query: &SessionQuery,
    sort: SortKey,
    mut each: impl FnMut(SessionSample),
) -> Vec<usize> {
    let query = Arc::new(query.clone());
    let ask = |slice, answer| {
        WorkerCommand::Look(LookCommand::Samples {
            query: Arc::clone(&query),
            sort,
            slice,
            answer,
        })
    };
    let take = |_, samples: Vec<SessionSample>| {
        samples.into_iter().for_each(&mut each);
        true
    };
    let workers = gateway.live.workers();
    workers.walk_each(ANSWER_MAX, None, ask, take).await
}

/// These sessions in this order, without those that have ended meanwhile.
pub(super) async fn views(gateway: &Gateway, ids: &[SessionId]) -> Vec<SessionView> {
    let mut found = HashMap::new();
    for ids in ids.chunks(SLICE_MAX) {
        let ids: Arc<[_]> = ids.into();
        let workers = gateway.live.workers();
        let answers = workers.ask(|answer| {
            WorkerCommand::Look(LookCommand::Views {
                ids: Arc::clone(&ids),
                answer,
            })
        });
        let views = answers.await.into_iter().flatten();
        found.extend(views.map(|view| (view.facts.id, view)));
    }
    ids.iter().filter_map(|id| found.remove(id)).collect()
}

/// The sessions as they are shown, with their rates if an `interval` is given.
pub(super) async fn with_rates(
    gateway: &Gateway,
    before: Vec<SessionView>,
    interval: Option<Duration>,
) -> Vec<Session> {
    let Some(interval) = interval else {
        return before.iter().map(session).collect();
    };
    let began: Instant = clock::now();
    sleep(interval).await;
    let ids: Vec<_> = before.iter().map(|view| view.facts.id).collect();
    let seconds = began.elapsed().as_secs_f64();
    let after = views(gateway, &ids).await;
    let after: HashMap<_, _> = after
        .into_iter()
        .map(|view| (view.facts.id, view))
        .collect();
    let shown = before.iter().map(|view| {
        let now = after.get(&view.facts.id).unwrap_or(view);
        let (first, last) = (totals(view), totals(now));
        let moved = (
            last.0.saturating_sub(first.0),
            last.1.saturating_sub(first.1),
        );
        Session {
            rate: Some(rate(moved, seconds)),
            ..session(now)
        }
    });
    shown.collect()
}

/// Messages and bytes of both directions.
fn totals(view: &SessionView) -> (u64, u64) {
    let (up, down) = (&view.from_client.traffic, &view.from_backend.traffic);
    (up.messages() + down.messages(), up.bytes + down.bytes)
}

fn rate((messages, bytes): (u64, u64), seconds: f64) -> RateView {
    let each = |count: u64| (count as f64 / seconds * 10.0).round() / 10.0;
    RateView {
        messages_per_second: each(messages),
        bytes_per_second: each(bytes),
    }
}

/// The first `limit` sessions that `query` takes, of each worker, in the order of their ids.
pub(super) async fn by_id(
    gateway: &Gateway,
    query: &SessionQuery,
    limit: usize,
) -> Walked<Vec<SessionView>> {
    let ask = |slice, answer| WorkerCommand::Sessions {
        query: query.clone(),
        limit,
        slice,
        answer,
    };
    // A worker's next slices are of no use once it has given as many as the page holds.
    let enough = |found: &[Vec<SessionView>]| found.iter().map(Vec::len).sum::<usize>() >= limit;
    let workers = gateway.live.workers();
    workers
        .walk_until(ANSWER_MAX, query.after, ask, enough)
        .await
}
