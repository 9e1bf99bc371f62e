//! What is counted of a function.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Gauge, Histogram};

use crate::base::names::FunctionName;
use crate::telemetry::metrics::{Family, Metrics, table};

/// Metrics of one function.
pub struct FunctionMetrics {
    metrics: Arc<Metrics>,
    name: FunctionName,
    calls: Family<(&'static str, &'static str)>,
    seconds: Histogram,
    in_flight: Gauge,
}

impl fmt::Debug for FunctionMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FunctionMetrics").field(&self.name).finish()
    }
}

impl FunctionMetrics {
    /// The set of this function.
    pub fn new(metrics: &Arc<Metrics>, name: &FunctionName) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            name: name.clone(),
            calls: Family::default(),
            seconds: metrics.histogram(&table::FUNCTION_SECONDS, &[name]),
            in_flight: metrics.gauge(&table::FUNCTION_IN_FLIGHT, &[name]),
        }
    }

    /// An event, its outcome, and the time until that was known.
    pub fn called(&self, event: &'static str, outcome: &'static str, took: Duration) {
        let labels = [self.name.as_str(), event, outcome];
        let make = || self.metrics.counter(&table::FUNCTION_CALLS, &labels);
        self.calls.count((event, outcome), make);
        self.seconds.record(took.as_secs_f64());
    }

    /// Counts an event as under way until the result is dropped.
    pub fn in_flight(&self) -> InFlight<'_> {
        self.in_flight.increment(1);
        InFlight(&self.in_flight)
    }
}

/// An event that is under way.
#[derive(Debug)]
pub struct InFlight<'m>(&'m Gauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
