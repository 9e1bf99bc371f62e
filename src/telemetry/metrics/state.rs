//! What is counted of the store of the fleet's state.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Gauge, Histogram};

use crate::telemetry::metrics::{Family, Metrics, table};

/// Metrics of the store of the fleet's state.
pub struct StateMetrics {
    metrics: Arc<Metrics>,
    decisions: Family<(&'static str, &'static str)>,
    round_trips: Histogram,
    answers: Gauge,
}

impl StateMetrics {
    /// Nothing decided yet, and no store.
    pub fn new(metrics: &Arc<Metrics>) -> Self {
        let answers = metrics.gauge(&table::STATE_CONNECTED, &[]);
        answers.set(0.0);
        Self {
            metrics: Arc::clone(metrics),
            decisions: Family::default(),
            round_trips: metrics.histogram(&table::STATE_SECONDS, &[]),
            answers,
        }
    }

    /// A decision was made, with the store or without it.
    pub fn decided(&self, decision: &'static str, outcome: &'static str) {
        let labels = [decision, outcome];
        let make = || self.metrics.counter(&table::STATE_DECISIONS, &labels);
        self.decisions.count((decision, outcome), make);
    }

    /// The store answered after so long.
    pub fn round_trip(&self, length: Duration) {
        self.round_trips.record(length.as_secs_f64());
    }

    /// Whether the store answers in time.
    pub fn answers(&self, answers: bool) {
        self.answers.set(if answers { 1.0 } else { 0.0 });
    }
}

impl fmt::Debug for StateMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateMetrics").finish_non_exhaustive()
    }
}
