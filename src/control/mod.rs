//! The control plane: what changes while the data plane serves. Configuration is read and put into
//! force, files are watched, certificates replaced, backends probed. It never imports `proxy`; they
//! meet in `live`.

pub mod acme;
pub mod certs;
pub mod consul;
#[cfg(feature = "dns")]
pub mod dns;
pub mod drainer;
#[cfg(feature = "etcd")]
pub mod etcd;
mod exposed;
pub mod fleet;
pub mod gateway_list;
pub mod handover;
pub mod jwks;
pub mod kubernetes;
pub mod load;
pub mod memory;
pub mod messages;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod probes;
pub mod rebalancer;
pub mod revocations;
pub mod scaling;
pub mod series;
mod served;
pub mod sources;
pub mod state_dir;
mod state_file;
pub mod supervisor;
pub mod ticket_keys;
pub mod tickets;
pub mod watch;
mod worker_commands;
