//! `[sources.kubernetes]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::service::ServiceTls;
use crate::config::model::value::Time;

/// Kubernetes as a source. In a pod, the empty table follows the cluster that the pod runs in, with
/// its service account. The last known good state is kept in `node.state_dir`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesSource {
    /// The URL of the API, such as `"https://10.0.0.1:6443"`. Default: that of `kubeconfig`, or
    /// else of the cluster that the pod runs in.
    pub server: Option<String>,
    /// A kubeconfig file. It gives server, roots and credentials, unless they are given here.
    pub kubeconfig: Option<String>,
    /// The context of `kubeconfig`. Default: its current one.
    pub context: Option<String>,
    /// A file with the bearer token. It is read again every 30 s. Default: that of `kubeconfig`, or
    /// of the pod's service account.
    pub token_file: Option<String>,
    /// TLS to the API. Default: what `kubeconfig` or the pod's service account says.
    pub tls: Option<ServiceTls>,
    /// How long one watch lasts, before the next continues behind it.
    pub wait: Time,
    /// How long to wait for the API.
    pub timeouts: KubernetesTimeouts,
    /// How long backends stay that left together, as long as they pass their probes.
    pub stale_grace: Time,
    /// Routes by the Gateway API: `{}` follows it. None: only Services are followed.
    pub gateway: Option<GatewayApi>,
    /// Entries of the file that routes of the cluster must not override, as `protect` of
    /// `[sources.etcd]`. What one source's table protects is protected from the documents of all
    /// sources.
    pub protect: Vec<String>,
}

/// Routes by the Gateway API of Kubernetes.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayApi {
    /// Gateways are followed whose class has this `controllerName`.
    pub controller: String,
    /// The Lease by which gateways elect the one that writes statuses: `"namespace/name"`.
    pub lease: String,
    /// Whether routes of several namespaces may have a host in common, and divide its paths among
    /// them. Otherwise a host belongs to the namespace with the oldest route for it.
    pub shared_hosts: bool,
}

impl Default for GatewayApi {
    fn default() -> Self {
        Self {
            controller: "sessile.dev/gateway-controller".to_owned(),
            lease: "sessile/sessile-gateway".to_owned(),
            shared_hosts: false,
        }
    }
}

impl Default for KubernetesSource {
    fn default() -> Self {
        Self {
            server: None,
            kubeconfig: None,
            context: None,
            token_file: None,
            tls: None,
            wait: Time::seconds(40),
            timeouts: KubernetesTimeouts::default(),
            stale_grace: Time::seconds(600),
            gateway: None,
            protect: Vec::new(),
        }
    }
}

/// How long to wait for the API.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesTimeouts {
    /// For a connection, TLS included.
    pub dial: Time,
    /// For one answer.
    pub answer: Time,
}

impl Default for KubernetesTimeouts {
    fn default() -> Self {
        Self {
            dial: Time::seconds(2),
            answer: Time::seconds(10),
        }
    }
}
