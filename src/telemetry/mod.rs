//! Telemetry: metrics for Prometheus, a record for every session and request, events for operators,
//! traces of handshakes,
//! and the log. It makes no decisions.

pub mod events;
pub mod log;
pub mod metrics;
pub mod records;
pub mod traces;
