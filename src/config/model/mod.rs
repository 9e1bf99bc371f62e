//! What serde reads: gateway.toml as it is written, with every default in place. `validate` makes
//! the `Snapshot` of it; bounds and names are its business. The doc lines here are what operators
//! read in `docs/config.md` and in the JSON Schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::secret::without_secrets;
use crate::config::span::{names_freely, names_reference, names_secret};

mod acme;
mod auth;
mod broker;
mod cache;
mod consul;
mod discovery;
mod events;
mod failover;
mod function;
mod kubernetes;
mod limits;
mod listener;
mod log;
mod node;
mod operations;
mod publish;
mod route;
mod scaling;
mod service;
mod source;
mod state;
mod static_files;
mod text_match;
mod tracing;
mod upstream;
mod value;

pub use acme::{Acme, AcmeChallenge, ExternalAccount};
pub use auth::{ApiKey, Authenticator, AuthenticatorType, Expiry, RejectWith, Revocation};
pub use broker::{Broker, BrokerType, PresenceTo, SaslMechanism};
pub use cache::Cache;
pub use consul::{ConsulSource, ConsulTimeouts};
pub use discovery::Discovery;
pub use events::Events;
pub use failover::Failover;
pub use function::{Dialect, Function, FunctionRoute, Sign};
pub use kubernetes::{GatewayApi, KubernetesSource, KubernetesTimeouts};
pub use limits::{AddressPrefix, NetworksFile, RouteLimits};
pub use listener::{
    Certificate, ClientCertificates, Hsts, Listener, ListenerLimits, ListenerTimeouts, ListenerTls,
    PeersFrom, TicketKeysFile, UntrustedHeaders,
};
pub use log::{Access, Log, LogFormat, Rotate};
pub use node::{Admin, AdminFleet, Node, TlsRecords};
pub use operations::{Admission, Drain, OnMemberRemoval, Pace, Rebalance, RebalanceMode, Shutdown};
pub use publish::{
    GroupFrom, History, MessageQueue, MessageType, Presence, Publish, PublishTo, PublishToken, Sse,
    Subscribe, WhenFull, WhenNotCarried,
};
pub use route::{
    CloseCodes, EmptySegments, HeaderEdits, IssueCookie, Keepalive, KeepaliveTo, OnBackendLoss,
    OnRemoval, Paths, Reconnect, Redirect, Rewrite, Route, RouteScope, RouteTimeouts, Spelling,
    Stick,
};
pub use scaling::Scaling;
pub use service::ServiceTls;
pub use source::{DnsSource, EtcdSource, EtcdTimeouts, FileSource, Sources};
pub use state::{State, StateType};
pub use static_files::StaticFiles;
pub use text_match::TextMatch;
pub use tracing::Tracing;
pub use upstream::{
    AdminState, Backend, Passive, Policy, Probe, ProbeType, ProxyVersion, ResponseLimits, Status,
    Upstream, UpstreamTls,
};
pub use value::{LongForm, SecretSource, Size, TextOr, Time, TimeOrOff, TokenSource};

/// The configuration of a Sessile gateway, as `gateway.toml` holds it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "gateway.toml")]
pub struct Model {
    /// Who this gateway is.
    pub node: Node,
    /// The admin API.
    pub admin: Admin,
    /// Messages that services publish to sessions.
    pub publish: Publish,
    /// What is written where.
    pub log: Log,
    /// What is kept of the past.
    pub events: Events,
    /// Traces of handshakes, for OpenTelemetry. A change takes effect at the next start.
    pub tracing: Tracing,
    /// The shutdown.
    pub shutdown: Shutdown,
    /// How a gateway that just started takes new sessions.
    pub admission: Admission,
    /// Sources of configuration and membership.
    pub sources: Sources,
    /// What carries messages between the gateways of a fleet, and from other services. A change
    /// needs a restart.
    pub broker: Option<Broker>,
    /// Where the gateways of a fleet count sessions and handshakes together. A change needs a
    /// restart.
    pub state: State,
    /// Gateways that clients find by themselves.
    pub discovery: Discovery,
    /// The listeners. A change needs a restart, except for the contents of certificate files.
    pub listeners: Vec<Listener>,
    /// Methods of authentication, by name.
    pub authenticators: BTreeMap<String, Authenticator>,
    /// Revocations, by name. Usually they are in etcd, or made by the admin API.
    pub revocations: BTreeMap<String, Revocation>,
    /// HTTP functions that take the place of backends, by name: the gateway holds the sockets.
    pub functions: BTreeMap<String, Function>,
    /// Groups of backends, by name.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Which requests go where. The most specific route that matches counts, not the first.
    pub routes: Vec<Route>,
}

impl Model {
    /// What is in force, defaults included, secrets masked (I11).
    pub fn masked_json(&self) -> Value {
        let mut value =
            serde_json::to_value(self).expect("a model has text keys only and no failing values");
        let sections = value.as_object_mut().expect("a model is a table");
        for (key, section) in sections {
            match section.as_object_mut().filter(|_| names_freely(key)) {
                // Their names are free: one may be called after the tokens that it serves.
                Some(named) => named.values_mut().for_each(|one| mask(one, false)),
                None => mask(section, false),
            }
        }
        value
    }

    /// JSON Schema (draft 2020-12) of the configuration.
    pub fn json_schema() -> Value {
        schemars::schema_for!(Self).to_value()
    }
}

/// The same with what its keys call a secret masked (I11).
pub fn masked(mut value: Value) -> Value {
    mask(&mut value, false);
    value
}

/// Masks values of keys that name a secret, every header that the gateway adds to requests
/// (`cookie`, `x-internal-auth`: no list of names would be complete), and credentials and queries
/// of URLs.
fn mask(value: &mut Value, secret: bool) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                if let Some(edits) = value.as_object_mut().filter(|_| key == "request_headers") {
                    for (key, values) in edits {
                        mask(values, secret || matches!(key.as_str(), "set" | "add"));
                    }
                    continue;
                }
                let reference = value.is_string() && names_reference(key);
                // `publish.tokens` is a list of tables, in which `token` is the secret.
                let tables = key == "tokens" && is_list_of_tables(value);
                let named = names_secret(key) && !tables;
                mask(value, !reference && (secret || named));
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| mask(value, secret)),
        Value::String(text) if secret => "***".clone_into(text),
        Value::String(text) => {
            if let Some(shown) = without_secrets(text) {
                *text = shown;
            }
        }
        _ => {}
    }
}

fn is_list_of_tables(value: &Value) -> bool {
    let list = value.as_array();
    list.is_some_and(|all| all.iter().all(Value::is_object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::span::KeyPath;

    /// Every key of the schema, with the names of its tables.
    fn keys(schema: &Value, found: &mut Vec<String>) {
        if let Some(properties) = schema["properties"].as_object() {
            found.extend(properties.keys().cloned());
        }
        match schema {
            Value::Object(table) => table.values().for_each(|inner| keys(inner, found)),
            Value::Array(list) => list.iter().for_each(|inner| keys(inner, found)),
            _ => {}
        }
    }

    #[test]
    fn i11_headers_and_urls_are_shown_without_what_may_be_secret() {
        let shown = masked(serde_json::json!({
            "request_headers": { "remove": ["a"], "set": { "x-key": "s3cret" }, "add": { "cookie": "s3cret" } },
            "url": "https://me:s3cret@auth.example/check?key=s3cret",
            "endpoints": ["http://root:s3cret@10.0.0.1:2379", "http://10.0.0.1:2379"],
            "probe": { "path": "/healthz?key=s3cret" },
            "origins": ["https://app.example.com"],
            "allow": { "file": "/etc/blocked.txt" },
            "tokens": [{ "name": "app", "token": "s3cret", "targets": ["group:*"] }],
            "publish": { "tokens": ["s3cret", { "name": "s3cret" }] },
        }));
        assert_eq!(shown["tokens"][0]["targets"][0], "group:*");
        assert!(!shown.to_string().contains("s3cret"), "{shown}");
        assert_eq!(shown["request_headers"]["remove"][0], "a");
        assert_eq!(shown["url"], "https://***@auth.example/check?***");
        assert_eq!(shown["endpoints"][0], "http://***@10.0.0.1:2379");
        assert_eq!(shown["endpoints"][1], "http://10.0.0.1:2379");
        assert_eq!(shown["probe"]["path"], "/healthz?***");
        assert_eq!(shown["origins"][0], "https://app.example.com");
        assert_eq!(shown["allow"]["file"], "/etc/blocked.txt");
    }

    #[test]
    fn i11_only_these_keys_of_the_model_are_masked() {
        let mut found = Vec::new();
        keys(&Model::json_schema(), &mut found);
        assert!(found.len() > 100, "{found:?}");
        found.retain(|key| KeyPath(vec![key.clone()]).is_secret());
        found.sort();
        found.dedup();
        found.sort();
        assert_eq!(
            found,
            [
                "password",
                "read_token",
                "secret",
                "secret_access_key",
                "secrets",
                "session_token",
                "token",
                // A path; masked all the same, since it holds the word.
                "token_file",
                "token_id",
                "tokens"
            ]
        );
    }
}
