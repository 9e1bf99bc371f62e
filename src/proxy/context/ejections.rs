//! Ejections of backends: counted, logged and reported as events in one place.

use std::sync::Arc;
use std::time::Duration;

use crate::base::clock;
use crate::base::names::{BackendId, UpstreamName};
use crate::core::health::Outcome;
use crate::telemetry::events::{Events, Fields, Kind};
use crate::telemetry::metrics::NodeMetrics;

/// Where ejections are reported.
#[derive(Debug)]
pub struct Ejections {
    node: Arc<NodeMetrics>,
    events: Events,
}

impl Ejections {
    /// Reports to these.
    pub fn new(node: &Arc<NodeMetrics>, events: &Events) -> Arc<Self> {
        Arc::new(Self {
            node: Arc::clone(node),
            events: events.clone(),
        })
    }

    /// A backend gets no new sessions for this time, after this outcome.
    pub(crate) fn report(
        &self,
        upstream: &UpstreamName,
        backend: &BackendId,
        outcome: Outcome,
        length: Duration,
    ) {
        self.node.ejected(upstream);
        let (cause, seconds) = (outcome.as_str(), length.as_secs_f64());
        tracing::warn!(%upstream, %backend, cause, seconds, "backend ejected");
        let shown = clock::readable(length);
        let until = clock::rfc3339(clock::wall() + length);
        let fields = Fields {
            reason: Some(cause.into()),
            expires: Some(until.into()),
            ..Fields::new(format!("{upstream}/{backend} ejected for {shown}: {cause}"))
        };
        let fields = fields.of_backend(upstream, backend);
        self.events.change(Kind::BackendEjected, fields);
    }
}
