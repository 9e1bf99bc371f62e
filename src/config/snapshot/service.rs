//! TLS to services that the gateway itself uses, checked.

use std::path::PathBuf;

use crate::config::snapshot::CertificateFiles;

/// TLS to a service that the gateway itself uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceTls {
    /// PEM roots; default the system's.
    pub ca: Option<PathBuf>,
    /// Shown to the service.
    pub identity: Option<CertificateFiles>,
    /// Name to verify; default the host in its URL.
    pub server_name: Option<String>,
}
