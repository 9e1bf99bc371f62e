//! Removes the series of what has left the table, also where nothing scrapes them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::interval;

use crate::base::clock;
use crate::live::{Live, WorkerCommand};
use crate::telemetry::metrics::Metrics;

/// Between looks.
const EVERY: Duration = Duration::from_secs(5);

/// Looks after each change of the table until nothing is left of what the change removed. Never
/// returns.
pub async fn keep(metrics: Arc<Metrics>, live: Arc<Live>) {
    let mut beat = interval(EVERY);
    let (mut swept, mut left) = (0, 0);
    loop {
        beat.tick().await;
        let table = live.table();
        if left == 0 && table.generation == swept {
            continue;
        }
        // Each worker lets go of counters that none of its sessions need.
        let gather = |slice, answer| WorkerCommand::Gather { slice, answer };
        live.workers().walk(gather).await;
        left = metrics.sweep(clock::now(), &table);
        swept = table.generation;
    }
}
