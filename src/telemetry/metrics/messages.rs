//! What is counted of published messages and of the broker.

use std::fmt;
use std::sync::{Arc, OnceLock};

use metrics::{Counter, Gauge};

use crate::telemetry::metrics::{Family, Metrics, table};

/// Metrics of published messages and of the broker.
pub struct MessageMetrics {
    metrics: Arc<Metrics>,
    published: Family<&'static str>,
    broker: Family<(&'static str, &'static str)>,
    connected: OnceLock<Gauge>,
    nodes: OnceLock<Gauge>,
}

impl fmt::Debug for MessageMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageMetrics").finish_non_exhaustive()
    }
}

impl MessageMetrics {
    /// None of them has a series yet.
    pub fn new(metrics: &Arc<Metrics>) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            published: Family::default(),
            broker: Family::default(),
            connected: OnceLock::new(),
            nodes: OnceLock::new(),
        }
    }

    /// A publisher gave a message.
    pub fn published(&self, outcome: &'static str) {
        let make = || self.metrics.counter(&table::PUBLISH_REQUESTS, &[outcome]);
        self.published.count(outcome, make);
    }

    /// A message went to the broker or came from it.
    pub fn broker(&self, direction: &'static str, outcome: &'static str) {
        let make = || self.counter(direction, outcome);
        self.broker.count((direction, outcome), make);
    }

    /// Counts messages of clients that the broker has, and those that it may not have.
    pub fn sent_by_clients(&self) -> [Counter; 2] {
        ["carried", "not_carried"].map(|outcome| self.counter("sent_by_clients", outcome))
    }

    /// So many messages of the broker reach no session: `dropped`, or `compressed`.
    pub fn lost(&self, outcome: &'static str, count: u64) {
        if count > 0 {
            self.counter("received", outcome).increment(count);
        }
    }

    /// Whether the broker is connected.
    pub fn connected(&self, connected: bool) {
        let gauge = self
            .connected
            .get_or_init(|| self.metrics.gauge(&table::BROKER_CONNECTED, &[]));
        gauge.set(if connected { 1.0 } else { 0.0 });
    }

    /// So many gateways live, this one among them.
    pub fn nodes(&self, count: usize) {
        let gauge = self
            .nodes
            .get_or_init(|| self.metrics.gauge(&table::BROKER_NODES, &[]));
        gauge.set(count as f64);
    }

    /// Counts memberships that are refused because of the bounds.
    pub fn memberships_refused(&self) -> Counter {
        self.metrics.counter(&table::MEMBERSHIPS_REFUSED, &[])
    }

    fn counter(&self, direction: &'static str, outcome: &'static str) -> Counter {
        let labels = [direction, outcome];
        self.metrics.counter(&table::BROKER_MESSAGES, &labels)
    }
}
