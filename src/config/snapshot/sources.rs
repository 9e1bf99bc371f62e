//! Sources of configuration and membership, checked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::secret::Secret;
use crate::config::protect::Protect;
use crate::config::snapshot::service::ServiceTls;

/// `[sources]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// Whether the configuration file is watched for changes. Default true.
    pub watch_file: bool,
    /// How names in `dns` of upstreams are looked up.
    pub dns: Dns,
    /// An etcd that is followed.
    pub etcd: Option<Etcd>,
    /// What of the file its documents must leave alone. A change takes effect at once.
    pub protect: Vec<Protect>,
}

/// `[sources.dns]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Servers to ask; none: those of the system.
    pub servers: Vec<SocketAddr>,
    /// For the answer to one question. Default 2 s.
    pub timeout: Duration,
    /// Between two lookups of a name, at least. Default 1 s.
    pub ttl_min: Duration,
    /// Between two lookups of a name, at most. Default 5 min.
    pub ttl_max: Duration,
    /// How long backends stay that left an answer together. Default 10 min.
    pub stale_grace: Duration,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(2),
            ttl_min: Duration::from_secs(1),
            ttl_max: Duration::from_secs(300),
            stale_grace: Duration::from_secs(600),
        }
    }
}

/// `[sources.etcd]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etcd {
    /// URLs of the members of one cluster; at least one.
    pub endpoints: Vec<String>,
    /// What all keys begin with, without a slash at its end.
    pub prefix: Arc<str>,
    /// Name and password.
    pub user: Option<(String, Secret)>,
    /// TLS to endpoints that begin with `https://`.
    pub tls: ServiceTls,
    /// For a connection, sign-in included. Default 2 s.
    pub dial: Duration,
    /// For one answer. Default 5 s.
    pub answer: Duration,
    /// Without a sign of life on a watch. Default 10 s.
    pub silence: Duration,
    /// How long backends stay that lost their leases together. Default 10 min.
    pub stale_grace: Duration,
    /// Directories from which documents may name files. Default: none.
    pub document_files: Vec<PathBuf>,
    /// Names at the broker that documents may use, `*` at the end for all that begin so. Default:
    /// none.
    pub document_broker_names: Vec<String>,
}
