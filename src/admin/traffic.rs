//! Totals of the traffic since the start. A client reads them twice and has rates.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::Gateway;
use crate::live::WorkerCommand;
use crate::telemetry::metrics::table;

/// Totals since the start of the process, unless they count what is live.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(super) struct TrafficView {
    /// When they were read: seconds since the start, by a clock that never goes back.
    uptime_seconds: f64,
    /// Live sessions.
    sessions: usize,
    /// Client connections, including those of sessions.
    connections: usize,
    /// Sessions that began.
    began: u64,
    /// Sessions that ended.
    ended: u64,
    /// From clients.
    to_backend: FlowTotals,
    /// From backends.
    to_client: FlowTotals,
    /// Requests that were answered by the gateway itself, and exchanges that were cut off.
    refused: u64,
    /// The same by reason.
    refusals: BTreeMap<String, u64>,
    /// Ordinary HTTP requests.
    requests: u64,
}

/// What was relayed in one direction.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
struct FlowTotals {
    /// Whole text and binary messages.
    messages: u64,
    /// Bytes of sessions, frame headers included.
    bytes: u64,
}

impl TrafficView {
    /// The totals of one direction, by its name in metrics.
    fn flow(&mut self, direction: &str) -> &mut FlowTotals {
        match direction {
            "to_backend" => &mut self.to_backend,
            _ => &mut self.to_client,
        }
    }
}

pub(super) async fn show(State(gateway): State<Arc<Gateway>>) -> Json<TrafficView> {
    // Counts of a worker that does not respond in time appear in a later answer.
    let gather = |slice, answer| WorkerCommand::Gather { slice, answer };
    gateway.live.workers().walk(gather).await;
    let (live, metrics) = (&gateway.live, &gateway.metrics);
    let mut view = TrafficView {
        uptime_seconds: live.uptime().as_secs_f64(),
        sessions: live.workers().sessions(),
        connections: live.workers().connections(),
        began: metrics.total(&table::SESSIONS_TOTAL),
        ended: metrics.total(&table::SESSIONS_ENDED),
        requests: metrics.total(&table::HTTP_REQUESTS),
        ..TrafficView::default()
    };
    metrics.each_counter(&table::MESSAGES, |labels, count| {
        let value = |name| labels.get(name).copied();
        if matches!(value("kind"), Some("text" | "binary")) {
            view.flow(value("direction").unwrap_or_default()).messages += count;
        }
    });
    metrics.each_counter(&table::MESSAGE_BYTES, |labels, count| {
        let direction = labels.get("direction").copied();
        view.flow(direction.unwrap_or_default()).bytes += count;
    });
    metrics.each_counter(&table::REFUSALS, |labels, count| {
        let reason = labels.get("reason").copied().unwrap_or_default();
        *view.refusals.entry(reason.to_owned()).or_default() += count;
        view.refused += count;
    });
    Json(view)
}
