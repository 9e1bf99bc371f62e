//! The node's limits, their use, and the largest holders.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Gateway;
use crate::core::limits::Scarce;

/// Most holders in the list.
const LARGEST: usize = 50;

/// The node's limits, their use, and the largest holders.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct QuotasView {
    /// Live sessions, including those being set up.
    sessions: usize,
    /// 0 if there is no limit.
    sessions_max: usize,
    /// TLS handshakes and upgrades in progress.
    handshakes: usize,
    /// 0 if there is no limit.
    handshakes_max: usize,
    /// Memory in use at the last reading.
    memory_bytes: u64,
    /// 0 if there is no limit.
    memory_max: u64,
    /// Limits that are reached, so that clients are shed: `sessions_max` and so on.
    overloaded: Vec<String>,
    /// Routes, networks and principals that have counts.
    holders: usize,
    /// The largest holders, at most 50.
    largest: Vec<HolderView>,
    /// Rate buckets that were evicted before they were full again, for lack of room.
    forgotten: u64,
}

/// A holder and its count.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct HolderView {
    /// Such as ``203.0.113.7/32 on route `chat` ``.
    holder: String,
    /// Its sessions or connections.
    live: usize,
}

pub(super) async fn show(State(gateway): State<Arc<Gateway>>) -> Json<QuotasView> {
    let (load, quotas) = (&gateway.live.load, &gateway.live.quotas);
    let limits = gateway.live.generation().edge.load;
    let reached = Scarce::ALL.into_iter();
    let reached = reached.filter(|limit| load.reached(&limits, *limit));
    let largest = quotas.counts.largest(LARGEST).into_iter();
    Json(QuotasView {
        sessions: load.sessions(),
        sessions_max: limits.sessions_max,
        handshakes: load.handshakes(),
        handshakes_max: limits.handshakes_max,
        memory_bytes: load.memory(),
        memory_max: limits.memory_max,
        overloaded: reached.map(|limit| limit.as_str().to_owned()).collect(),
        holders: quotas.counts.holders(),
        largest: largest
            .map(|(holder, live)| HolderView {
                holder: holder.to_string(),
                live,
            })
            .collect(),
        forgotten: quotas.forgotten(),
    })
}
