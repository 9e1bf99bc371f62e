//! The control plane: what changes while the data plane serves. Files are watched, certificates
//! replaced, backends probed.

pub mod certs;
pub mod probes;
pub mod watch;
