//! Results of probes, for the health of the backends in force.

use std::sync::Arc;
use std::time::Duration;

use crate::base::addr::OwnAddresses;
use crate::base::clock;
use crate::base::names::{BackendId, UpstreamName};
use crate::control::probes::{Next, Observe, ProbeFault};
use crate::core::health::Health;
use crate::live::Live;
use crate::telemetry::events::{Fields, Kind};

/// Brings probes' results to the states of backends.
pub(super) struct Observer(pub(super) Arc<Live>);

impl Observe for Observer {
    fn own(&self) -> &OwnAddresses {
        &self.0.gateway_addresses().all
    }

    fn observe(
        &self,
        upstream: &UpstreamName,
        backend: &BackendId,
        result: Result<Duration, ProbeFault>,
    ) -> Next {
        let table = self.0.table();
        let Some(member) = table
            .upstream(upstream)
            .and_then(|upstream| upstream.member(backend))
        else {
            return Next::InTurn;
        };
        let fault = result.as_ref().err().map(ToString::to_string);
        let result = match (&result, &fault) {
            (Err(_), Some(fault)) => Err(fault.as_str()),
            (Ok(latency), _) => Ok(*latency),
            (Err(_), None) => unreachable!("an error has a text"),
        };
        let before = member.state.health();
        let changed = member.state.observe_probe(result, clock::now());
        if let Some(health) = changed {
            let (from, to) = (before.as_str(), health.as_str());
            let because = fault.as_deref().map(|fault| format!(": {fault}"));
            let because = because.unwrap_or_default();
            let fields = Fields {
                from: Some(from.into()),
                to: Some(to.into()),
                reason: fault.as_deref().map(Into::into),
                ..Fields::new(format!("{upstream}/{backend} {from} to {to}{because}"))
            };
            let fields = fields.of_backend(upstream, backend);
            self.0.events().change(Kind::BackendHealth, fields);
        }
        match changed {
            Some(Health::Unhealthy) => {
                tracing::warn!(%upstream, %backend, reason = fault, "backend is unhealthy");
            }
            Some(health) => {
                let health = health.as_str();
                tracing::info!(%upstream, %backend, health, "health of a backend changed");
            }
            None => {}
        }
        // A backend that recovers is not kept waiting for whole intervals.
        let recovers = fault.is_none() && member.state.health() == Health::Unhealthy;
        if recovers { Next::Soon } else { Next::InTurn }
    }
}
