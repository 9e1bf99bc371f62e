//! Handshakes by backend. Backends come and go, so their series are not held: the registry removes
//! them with their backends, and their number is bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::cell::Buckets;
use crate::telemetry::metrics::table::{self, BACKENDS_TIMED_MAX};

/// Names that may have gone with their backends before all are looked through.
const SPARE: usize = 32;

/// The histograms of the backends that one set of route metrics has used, by name.
#[derive(Debug, Default)]
pub(super) struct BackendHandshakes(Mutex<HashMap<Box<str>, Weak<Buckets>>>);

impl BackendHandshakes {
    /// The histogram of this backend.
    pub(super) fn of(&self, metrics: &Metrics, upstream: &str, backend: &str) -> Arc<Buckets> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(backend).and_then(Weak::upgrade) {
            return found;
        }
        let made = make(metrics, upstream, backend);
        if known.len() >= known.capacity().max(SPARE) {
            known.retain(|_, one| one.strong_count() > 0);
        }
        known.insert(backend.into(), Arc::downgrade(&made));
        made
    }
}

/// Two threads may both find room for the last series: the bound is not exact.
fn make(metrics: &Metrics, upstream: &str, backend: &str) -> Arc<Buckets> {
    let metric = &table::BACKEND_HANDSHAKE_SECONDS;
    let room = metrics.0.count(metric) < BACKENDS_TIMED_MAX;
    let backend = if room { backend } else { "" };
    metrics.session_histogram(metric, &[upstream, backend])
}
