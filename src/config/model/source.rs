//! `[sources]`: sources of configuration and membership.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::consul::ConsulSource;
use crate::config::model::kubernetes::KubernetesSource;
use crate::config::model::service::ServiceTls;
use crate::config::model::value::{SecretSource, Time};

/// Sources of configuration and membership.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sources {
    /// The configuration file itself.
    pub file: FileSource,
    /// How names in `dns` of upstreams are looked up. A change of this table needs a restart.
    pub dns: DnsSource,
    /// A cluster of Kubernetes: pods of the Services that upstreams name. A change of this table
    /// needs a restart.
    pub kubernetes: Option<KubernetesSource>,
    /// A Consul: instances of the services that upstreams name, and documents. A change of this
    /// table needs a restart, except for `protect`.
    pub consul: Option<ConsulSource>,
    /// An etcd: its documents add to the file, and override it by name. A change of this table
    /// needs a restart.
    pub etcd: Option<EtcdSource>,
}

/// The configuration file as a source.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FileSource {
    /// Whether a changed file takes effect at once. SIGHUP and `POST /v1/reload` read it in any
    /// case.
    pub watch: bool,
}

impl Default for FileSource {
    fn default() -> Self {
        Self { watch: true }
    }
}

/// DNS as a source of membership. What it answered last is kept in `node.state_dir`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DnsSource {
    /// Servers to ask, such as `"10.0.0.2"` or `"10.0.0.2:5353"`. None: those of
    /// `/etc/resolv.conf`.
    pub servers: Vec<String>,
    /// How long to wait for the answer to one question, all servers together.
    pub timeout: Time,
    /// A name is not looked up again before, whatever its time to live; also the first wait after a
    /// failure.
    pub ttl_min: Time,
    /// A name is looked up again after it at the latest; also the longest wait after failures.
    pub ttl_max: Time,
    /// How long backends stay that left an answer together, as long as they pass their probes.
    pub stale_grace: Time,
}

impl Default for DnsSource {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Time::seconds(2),
            ttl_min: Time::seconds(1),
            ttl_max: Time::seconds(300),
            stale_grace: Time::seconds(600),
        }
    }
}

/// An etcd as a source. The last known good state is kept in `node.state_dir`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EtcdSource {
    /// Required. The members of one cluster, such as `"http://10.0.0.1:2379"`; they are tried one
    /// after the other.
    pub endpoints: Vec<String>,
    /// What all keys begin with.
    pub prefix: String,
    /// The user, if etcd requires one.
    pub username: Option<String>,
    /// The user's password. `{ file = "…" }`, `{ env = "…" }` or the password itself.
    pub password: Option<SecretSource>,
    /// TLS to endpoints that begin with `https://`. Default: the system's roots, no certificate
    /// of our own.
    pub tls: Option<ServiceTls>,
    /// How long to wait for etcd.
    pub timeouts: EtcdTimeouts,
    /// How long backends stay that lost their leases together, as long as they pass their probes.
    pub stale_grace: Time,
    /// Entries of the file that documents must not override: keys such as `"routes/admin"`, or
    /// prefixes such as `"authenticators/*"`, `"backends/chat/*"` or `"*"`. A protected route keeps
    /// its authenticators and its upstream's settings, too, and no less guarded route of a document
    /// may take its requests. A change takes effect at once.
    pub protect: Vec<String>,
    /// Directories from which documents may name files, such as certificates and key sets. None:
    /// documents name no files. Documents never name environment variables.
    pub document_files: Vec<String>,
    /// Names at the broker that routes of documents may use in `subscribe`, as they
    /// are written there, such as `"nats:chat.{room}"`; with `*` at the end all that begin so
    /// (`"nats:chat.*"`). None: documents do not use the broker.
    pub document_broker_names: Vec<String>,
}

impl Default for EtcdSource {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            prefix: "/sessile".to_owned(),
            username: None,
            password: None,
            tls: None,
            timeouts: EtcdTimeouts::default(),
            stale_grace: Time::seconds(600),
            protect: Vec::new(),
            document_files: Vec::new(),
            document_broker_names: Vec::new(),
        }
    }
}

/// How long to wait for etcd.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EtcdTimeouts {
    /// For a connection, sign-in included.
    pub dial: Time,
    /// For one answer.
    pub answer: Time,
    /// Without a sign of life on a watch, after which another endpoint is tried.
    pub silence: Time,
}

impl Default for EtcdTimeouts {
    fn default() -> Self {
        Self {
            dial: Time::seconds(2),
            answer: Time::seconds(5),
            silence: Time::seconds(10),
        }
    }
}
