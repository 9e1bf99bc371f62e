//! Who would leave a backend if it were drained or gone: a question before the order.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Gateway;
use crate::admin::problem::Problem;
use crate::base::clock;
use crate::core::routing::Upstream;
use crate::live::{SessionBrief, SessionQuery, WorkerCommand};

/// What a drain of a backend would do to its sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Departures {
    /// The upstream.
    pub upstream: String,
    /// The backend.
    pub backend: String,
    /// Live sessions on it.
    pub sessions: usize,
    /// Those that would move, unseen by their clients.
    pub moving: usize,
    /// Those that would be closed with 1012, since their route does not reconnect.
    pub closing: usize,
    /// Those that would have to move, and that no other backend takes now.
    pub nowhere: usize,
    /// The same by route.
    pub routes: Vec<DepartingRoute>,
    /// Where those that move would go, as things are now.
    pub to: Vec<Destination>,
    /// Workers that did not answer for all of their sessions; there may be more.
    pub silent_workers: usize,
}

/// The sessions of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DepartingRoute {
    /// Its name.
    pub route: String,
    /// Those that would move.
    pub moving: usize,
    /// Those that would be closed.
    pub closing: usize,
}

/// A backend that would get sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Destination {
    /// Its id.
    pub backend: String,
    /// How many.
    pub sessions: usize,
}

pub(super) async fn departures(
    State(gateway): State<Arc<Gateway>>,
    Path((upstream, backend)): Path<(String, String)>,
) -> Result<Json<Departures>, Problem> {
    let query = SessionQuery {
        upstream: Some(upstream.clone()),
        backend: Some(backend.clone()),
        ..SessionQuery::default()
    };
    let walk = gateway
        .live
        .workers()
        .walk(|slice, answer| WorkerCommand::Briefs {
            query: query.clone(),
            slice,
            answer,
        });
    let walked = walk.await;
    let table = gateway.live.table();
    let known = table.upstream(&upstream);
    let mut found = Departures::none(upstream.clone(), backend.clone());
    found.silent_workers = walked.silent.len();
    let mut tally = Tally::default();
    for (seen, brief) in walked.answers.iter().flatten().enumerate() {
        tally.count(brief, known.map(|one| &**one), &backend);
        // The choice of a place takes a walk of the ring for each session.
        if seen % SLICE == SLICE - 1 {
            tokio::task::yield_now().await;
        }
    }
    let member = known.is_some_and(|known| known.index_of(&(&*backend).into()).is_some());
    if !member && tally.sessions == 0 {
        let detail = format!("upstream `{upstream}` has no backend `{backend}`");
        return Err(Problem::not_found(detail));
    }
    Ok(Json(found.with(tally)))
}

/// Sessions between two pauses.
const SLICE: usize = 256;

#[derive(Default)]
struct Tally {
    sessions: usize,
    nowhere: usize,
    routes: BTreeMap<String, DepartingRoute>,
    to: BTreeMap<String, usize>,
}

impl Tally {
    fn count(&mut self, brief: &SessionBrief, upstream: Option<&Upstream>, leaving: &str) {
        self.sessions += 1;
        let route = self.routes.entry(brief.route.to_string()).or_default();
        if !brief.movable {
            route.closing += 1;
            return;
        }
        route.moving += 1;
        let to = upstream.and_then(|upstream| {
            let tried: Vec<_> = upstream.index_of(&leaving.into()).into_iter().collect();
            let key = brief.key.as_deref();
            let index = upstream.pick_for_session(key, &tried, clock::now(), fastrand::u64(..))?;
            Some(upstream.members[index].id.to_string())
        });
        match to {
            Some(to) => *self.to.entry(to).or_default() += 1,
            None => self.nowhere += 1,
        }
    }
}

impl Departures {
    const fn none(upstream: String, backend: String) -> Self {
        Self {
            upstream,
            backend,
            sessions: 0,
            moving: 0,
            closing: 0,
            nowhere: 0,
            routes: Vec::new(),
            to: Vec::new(),
            silent_workers: 0,
        }
    }

    fn with(self, tally: Tally) -> Self {
        let routes = tally.routes.into_iter();
        let routes = routes.map(|(route, counts)| DepartingRoute { route, ..counts });
        let routes: Vec<_> = routes.collect();
        let to = tally.to.into_iter();
        let mut to: Vec<_> = to
            .map(|(backend, sessions)| Destination { backend, sessions })
            .collect();
        to.sort_by_key(|one| std::cmp::Reverse(one.sessions));
        Self {
            sessions: tally.sessions,
            moving: routes.iter().map(|route| route.moving).sum(),
            closing: routes.iter().map(|route| route.closing).sum(),
            nowhere: tally.nowhere,
            routes,
            to,
            ..self
        }
    }
}
