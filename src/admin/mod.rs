//! The admin API for operators, Prometheus and orchestrators. There is a file per resource;
//! `resources` lists them all, and both the router and `openapi.json` are made from that list. No
//! decisions are made here: answers are read from `live`, and commands are sent to the workers or
//! the supervisor.

pub(crate) mod api_socket;
pub mod backends;
mod cache;
pub mod certificates;
mod config;
mod connection;
mod connections;
pub mod credentials;
pub mod departures;
mod desk;
pub mod events;
pub(crate) mod extract;
pub mod findings;
pub mod fleet;
mod gateway;
pub mod groups;
mod guard;
mod levels;
mod log;
mod messages;
mod metrics;
mod openapi;
mod orders;
mod own_scope;
mod page;
pub mod preview;
pub(crate) mod problem;
mod quotas;
pub mod rebalance;
pub mod resolve;
mod resource;
mod resources;
pub mod revocations;
pub mod rights_seen;
mod role;
mod routes;
pub mod scale_in;
pub mod scaling;
pub mod server;
pub mod sessions;
pub mod sources;
pub mod status;
pub(crate) mod stream_end;
pub mod token_ends;
pub mod tokens;
mod traffic;
mod ui;
mod upstreams;
mod whoami;

pub use desk::Desk;
pub use gateway::{Gateway, ListenerConnections, ListenerView};
pub use page::Page;
pub use resources::openapi;
pub use upstreams::UpstreamSummary;

#[cfg(test)]
pub(crate) mod tests;
