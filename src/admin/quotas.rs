//! How much of the node is taken, and who has the most of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Gateway;
use crate::core::limits::Scarce;

/// Holders that are listed.
const LARGEST: usize = 50;

/// What is limited, how much of it is taken, and who has the most.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct QuotasView {
    /// Live, those in the making among them.
    sessions: usize,
    /// 0 if there is no limit.
    sessions_max: usize,
    /// TLS handshakes and upgrades that are under way.
    handshakes: usize,
    /// 0 if there is no limit.
    handshakes_max: usize,
    /// In use, as last looked at.
    memory_bytes: u64,
    /// 0 if there is no limit.
    memory_max: u64,
    /// Limits that are reached, so that clients are shed: `sessions_max` and so on.
    overloaded: Vec<String>,
    /// Routes, networks and principals that are counted.
    holders: usize,
    /// Those of them who have the most, at most 50.
    largest: Vec<HolderView>,
    /// Rates of clients that were forgotten too early, since too many others came.
    forgotten: u64,
}

/// Who has how much.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct HolderView {
    /// Such as ``203.0.113.7/32 on route `chat` ``.
    holder: String,
    /// Sessions or connections.
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
