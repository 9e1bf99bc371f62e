//! Sources of configuration and membership, checked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::secret::Secret;
use crate::base::source_id::SourceId;
use crate::config::protect::Protect;
use crate::config::snapshot::kubernetes::Kubernetes;
use crate::config::snapshot::service::ServiceTls;

/// `[sources]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// Whether the configuration file is watched for changes. Default true.
    pub watch_file: bool,
    /// How names in `dns` of upstreams are looked up.
    pub dns: Dns,
    /// A cluster that is followed.
    pub kubernetes: Option<Box<Kubernetes>>,
    /// A Consul that is followed.
    pub consul: Option<Box<Consul>>,
    /// An etcd that is followed.
    pub etcd: Option<Etcd>,
    /// What of the file documents must leave alone. A change takes effect at once.
    pub protect: Vec<Protect>,
}

/// What documents of a source may name outside themselves; nothing by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct DocumentRights<'s> {
    /// Directories from which they may name files.
    pub files: &'s [PathBuf],
    /// Names at the broker that they may use, `*` at the end for all that begin so.
    pub broker_names: &'s [String],
}

impl Sources {
    /// What the documents of each source may name; those of others may name nothing.
    pub fn document_rights(&self) -> BTreeMap<SourceId, DocumentRights<'_>> {
        let consul = self.consul.as_ref().map(|consul| {
            let rights = DocumentRights {
                files: &consul.document_files,
                broker_names: &consul.document_broker_names,
            };
            (SourceId::Consul, rights)
        });
        let etcd = self
            .etcd
            .as_ref()
            .map(|etcd| (SourceId::Etcd, etcd.document_rights()));
        consul.into_iter().chain(etcd).collect()
    }
}

impl Etcd {
    /// What its documents may name.
    pub fn document_rights(&self) -> DocumentRights<'_> {
        DocumentRights {
            files: &self.document_files,
            broker_names: &self.document_broker_names,
        }
    }
}

/// `[sources.consul]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consul {
    /// URLs of agents or servers of one datacenter; at least one.
    pub endpoints: Vec<String>,
    /// What the keys of documents begin with, without a slash at its end; `None`: keys are not
    /// read.
    pub prefix: Option<Arc<str>>,
    /// The ACL token.
    pub token: Option<Secret>,
    /// TLS to endpoints that begin with `https://`.
    pub tls: ServiceTls,
    /// How long a query waits for a change. Default 30 s.
    pub wait: Duration,
    /// For a connection, TLS included. Default 2 s.
    pub dial: Duration,
    /// For one answer, beside the time that it waits. Default 10 s.
    pub answer: Duration,
    /// How long ago a server that answers without a leader may have heard of one. Default 1 h.
    pub stale_max: Duration,
    /// How long backends stay that left an answer together. Default 10 min.
    pub stale_grace: Duration,
    /// Directories from which documents may name files. Default: none.
    pub document_files: Vec<PathBuf>,
    /// Names at the broker that documents may use. Default: none.
    pub document_broker_names: Vec<String>,
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
