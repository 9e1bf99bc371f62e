//! `[sources.consul]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::service::ServiceTls;
use crate::config::model::value::{SecretSource, Time};

/// Consul as a source. The last known good state is kept in `node.state_dir`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConsulSource {
    /// Required. Agents or servers of one datacenter, such as `"http://127.0.0.1:8500"`; they are
    /// tried one after the other.
    pub endpoints: Vec<String>,
    /// Documents are read from the keys below it, in the layout of etcd: `sessile/routes/<name>`
    /// for `prefix = "sessile"`. Default: no keys are read, only services.
    pub prefix: Option<String>,
    /// The ACL token, if Consul requires one. `{ file = "…" }`, `{ env = "…" }` or the token
    /// itself.
    pub token: Option<SecretSource>,
    /// TLS to endpoints that begin with `https://`. Default: the system's roots, no certificate
    /// of our own.
    pub tls: Option<ServiceTls>,
    /// How long a query waits for a change.
    pub wait: Time,
    /// How long to wait for Consul.
    pub timeouts: ConsulTimeouts,
    /// While there is no leader, other servers may answer if they heard of one no longer ago.
    pub stale_max: Time,
    /// How long backends stay that left an answer together, as long as they pass their probes.
    pub stale_grace: Time,
    /// Entries of the file that documents must not override, as `protect` of `[sources.etcd]`.
    /// What one source's table protects is protected from the documents of all sources.
    pub protect: Vec<String>,
    /// Directories from which documents may name files, such as certificates and key sets. None:
    /// documents name no files. Documents never name environment variables.
    pub document_files: Vec<String>,
    /// Names at the broker that routes of documents may use, as in `[sources.etcd]`.
    pub document_broker_names: Vec<String>,
}

impl Default for ConsulSource {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            prefix: None,
            token: None,
            tls: None,
            wait: Time::seconds(30),
            timeouts: ConsulTimeouts::default(),
            stale_max: Time::seconds(3600),
            stale_grace: Time::seconds(600),
            protect: Vec::new(),
            document_files: Vec::new(),
            document_broker_names: Vec::new(),
        }
    }
}

/// How long to wait for Consul.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConsulTimeouts {
    /// For a connection, TLS included.
    pub dial: Time,
    /// For one answer, beside the time that the query waits for a change.
    pub answer: Time,
}

impl Default for ConsulTimeouts {
    fn default() -> Self {
        Self {
            dial: Time::seconds(2),
            answer: Time::seconds(10),
        }
    }
}
