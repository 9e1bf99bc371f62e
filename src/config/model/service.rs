//! TLS to services that the gateway itself uses: etcd, a broker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// TLS to a service that the gateway itself uses.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceTls {
    /// PEM file with roots. Default: the system's.
    pub ca: Option<String>,
    /// PEM file with the certificate chain to show. Needs `key`.
    pub cert: Option<String>,
    /// PEM file with its private key.
    pub key: Option<String>,
    /// Name to verify. Default: the host in its URL.
    pub server_name: Option<String>,
}
