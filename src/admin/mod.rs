//! The admin API: what operators, Prometheus and orchestrators ask a gateway, and the little that
//! they may tell it. A file per resource; `resources` lists them all, and the router and
//! `openapi.json` are both made from that list. Nothing is decided in here: answers are read from
//! `live`, and commands go to the workers or to the supervisor.

pub mod backends;
mod config;
mod connection;
mod crowd;
mod extract;
mod gateway;
mod guard;
mod log;
mod metrics;
mod openapi;
mod page;
pub mod preview;
mod problem;
mod quotas;
pub mod rebalance;
pub mod resolve;
mod resource;
mod resources;
pub mod revocations;
mod role;
mod routes;
pub mod server;
pub mod sessions;
pub mod sources;
pub mod status;
mod upstreams;

pub use gateway::{Gateway, ListenerView};
pub use page::Page;
pub use resources::openapi;
pub use upstreams::UpstreamSummary;

#[cfg(test)]
pub(crate) mod tests;
