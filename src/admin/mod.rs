//! The admin API: what operators, Prometheus and orchestrators ask a gateway, and the little that
//! they may tell it. A file per resource; `resources` lists them all, and the router and
//! `openapi.json` are both made from that list. Nothing is decided in here: answers are read from
//! `live`, and commands go to the workers or to the supervisor.

pub mod backends;
mod config;
mod connection;
mod crowd;
mod extract;
mod guard;
mod log;
mod metrics;
mod openapi;
pub mod preview;
mod problem;
mod quotas;
pub mod rebalance;
pub mod resolve;
mod resources;
pub mod revocations;
mod routes;
pub mod server;
pub mod sessions;
pub mod sources;
pub mod status;
mod upstreams;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::control::fleet::Fleet;
use crate::control::revocations::Docket;
use crate::control::source::SourceState;
use crate::control::supervisor::Supervisor;
use crate::live::{Live, WorkerCommand};
use crate::telemetry::log::LogLevel;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::records::Records;

pub use openapi::document as openapi;
pub use upstreams::UpstreamSummary;

/// How long a worker may take to answer. It answers between two turns of its sessions, so a worker
/// that needs longer is stuck, and the others' answers are worth more than waiting for it.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// A gateway, as the admin API sees it.
pub struct Gateway {
    /// Its name.
    pub node: Arc<str>,
    /// What both planes share.
    pub live: Arc<Live>,
    /// Its numbers.
    pub metrics: Arc<Metrics>,
    /// Its records, to say how many were lost.
    pub records: Records,
    /// The level of its log; `None` where the log belongs to somebody else.
    pub log: Option<LogLevel>,
    /// Where clients come in, as bound.
    pub listeners: Vec<ListenerView>,
    /// Has the configuration, and reads it again.
    pub supervisor: Arc<Supervisor>,
    /// Where revocations of this API are written.
    pub docket: Arc<Docket>,
    /// The others that follow the same etcd; `None` without one.
    pub fleet: Option<Arc<Fleet>>,
    /// How it stands with the etcd that is followed, if one is.
    pub etcd: Option<Arc<SourceState>>,
}

/// A listener, as it was bound.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListenerView {
    /// Its name in the configuration.
    pub name: String,
    /// Whether TLS ends here.
    pub tls: bool,
    /// Where it listens; a port that was written as 0 is the one that the system chose.
    pub addresses: Vec<String>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// In the order of their names or ids.
    pub items: Vec<T>,
    /// What to give as `cursor` for the next page; null on the last.
    pub next: Option<String>,
}

/// Most items on one page.
const PAGE_MAX: usize = 1000;

impl<T> Page<T> {
    /// Of items in order, those behind `cursor`, at most `limit`.
    fn of(
        items: impl Iterator<Item = T>,
        paging: &extract::Paging,
        name: impl Fn(&T) -> &str,
    ) -> Self {
        let limit = paging.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
        let behind = |item: &T| {
            let cursor = paging.cursor.as_deref();
            cursor.is_none_or(|cursor| name(item) > cursor)
        };
        let mut items: Vec<_> = items.filter(behind).take(limit + 1).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items
            .last()
            .filter(|_| more)
            .map(|item| name(item).to_owned());
        Self { items, next }
    }
}

/// Asks all workers at once. Where one does not answer in time there is `None`.
async fn ask_all<A>(
    live: &Live,
    command: impl Fn(oneshot::Sender<A>) -> WorkerCommand,
) -> Vec<Option<A>> {
    let command = &command;
    let asked = live.workers().iter().map(|worker| async move {
        let answer = worker.ask(command);
        tokio::time::timeout(ANSWER_MAX, answer)
            .await
            .ok()
            .flatten()
    });
    join_all(asked).await
}

#[cfg(test)]
pub(crate) mod tests;
