//! `[tracing]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Traces of handshakes, for OpenTelemetry. A change takes effect at the next start.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tracing {
    /// The URL of a collector for OTLP over HTTP: `http://127.0.0.1:4318/v1/traces`. Default:
    /// nothing is traced, and `traceparent` passes unchanged.
    pub endpoint: Option<String>,
    /// PEM file with roots for an `https:` collector. Default: the system's.
    pub ca: Option<String>,
    /// Whether the endpoint may be `http:` on another machine: traces hold addresses of clients.
    pub plain_http: bool,
    /// Share of handshakes that are recorded, 0 to 1. For peers in `trusted_proxies` that send
    /// `traceparent`, its flag decides instead.
    pub sample_ratio: f64,
}

impl Default for Tracing {
    fn default() -> Self {
        Self {
            endpoint: None,
            ca: None,
            plain_http: false,
            sample_ratio: 0.01,
        }
    }
}
