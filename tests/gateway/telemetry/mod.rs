//! What leaves the gateway for those who watch it: metrics in a real Prometheus, dashboards,
//! alerts, exemplars, records, traces.

mod alerts;
mod control_alerts;
mod dashboards;
mod records;
mod traces;
