//! Traces of handshakes, where `[tracing]` asks for them.

use std::sync::Arc;

use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;

use crate::config::snapshot::{Snapshot, Tracing};
use crate::proxy::worker::Shared;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::{Handshake, Tracer};

/// What is recorded, and where it goes.
pub(super) struct Traces {
    config: Tracing,
    node: Arc<str>,
    tracer: Arc<Tracer>,
    recorded: Receiver<Box<Handshake>>,
}

/// The tracer and its output; `None` where nothing is traced.
pub(super) fn open(snapshot: &Snapshot, metrics: &Metrics) -> Option<Traces> {
    let config = snapshot.tracing.clone()?;
    let (tracer, recorded) = Tracer::new(config.sample_ratio, metrics);
    Some(Traces {
        config,
        node: Arc::clone(&snapshot.node.name),
        tracer,
        recorded,
    })
}

impl Traces {
    /// Records handshakes.
    pub(super) fn tracer(&self) -> Arc<Tracer> {
        Arc::clone(&self.tracer)
    }

    /// Exports for as long as the gateway runs.
    #[cfg(feature = "otlp")]
    pub(super) fn export(self, background: &mut JoinSet<()>, shared: &Shared) {
        let own = shared.live.gateway_addresses().admin.clone();
        let Self {
            config,
            node,
            tracer,
            recorded,
        } = self;
        background.spawn(crate::control::otlp::run(
            config, node, own, tracer, recorded,
        ));
    }

    /// Validation accepts no `[tracing]` without the exporter.
    #[cfg(not(feature = "otlp"))]
    pub(super) fn export(self, _: &mut JoinSet<()>, _: &Shared) {
        drop((self.config, self.node, self.recorded));
    }
}
