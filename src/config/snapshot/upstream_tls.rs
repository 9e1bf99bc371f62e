//! `tls` of an upstream, as checked.

use std::path::PathBuf;

/// TLS to backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// PEM roots; default the system's.
    pub ca: Option<PathBuf>,
    /// Name for SNI and verification; default the backend's host.
    pub server_name: Option<String>,
}
