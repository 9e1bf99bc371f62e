//! `[sources.kubernetes]`, checked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::secret::Secret;

/// `[sources.kubernetes]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    /// URL of the API, without a slash at its end.
    pub server: Arc<str>,
    /// What the gateway shows, beside a certificate.
    pub token: KubernetesToken,
    /// TLS to the API.
    pub tls: PemTls,
    /// How long one watch lasts. Default 40 s.
    pub wait: Duration,
    /// For a connection, TLS included. Default 2 s.
    pub dial: Duration,
    /// For one answer. Default 10 s.
    pub answer: Duration,
    /// How long backends stay that left together. Default 10 min.
    pub stale_grace: Duration,
    /// Routes by the Gateway API, if it is followed.
    pub gateway: Option<GatewayApi>,
}

/// Routes by the Gateway API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayApi {
    /// The `controllerName` of its classes.
    pub controller: Arc<str>,
    /// Namespace and name of the Lease.
    pub lease: (Arc<str>, Arc<str>),
    /// Who the gateway is among those that elect a leader.
    pub node: Arc<str>,
    /// Routes of several namespaces may have a host in common. Default: no.
    pub shared_hosts: bool,
}

/// A bearer token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KubernetesToken {
    /// There is none.
    None,
    /// In a file that is read again.
    File(PathBuf),
    /// Written in the kubeconfig.
    Text(Secret),
}

/// TLS whose certificates may be in files or written in another file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PemTls {
    /// Roots; default the system's.
    pub ca: Option<Pem>,
    /// The certificate to show, and its key.
    pub identity: Option<(Pem, Pem)>,
    /// Name to verify; default the host of the URL.
    pub server_name: Option<String>,
}

/// PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pem {
    /// In a file.
    File(PathBuf),
    /// Itself.
    Text(Secret),
}
