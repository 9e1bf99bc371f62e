//! What serde reads: gateway.toml as it is written, with every default in place. `validate` makes
//! the `Snapshot` of it; bounds and names are its business. The doc lines here are what operators
//! read in `docs/config.md` and in the JSON Schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod listener;
mod node;
mod route;
mod upstream;
mod value;

pub use listener::{
    Certificate, Listener, ListenerLimits, ListenerTimeouts, ListenerTls, PeersFrom,
};
pub use node::{Access, Admin, FileSource, Log, LogFormat, Node, Shutdown, Sources};
pub use route::{
    CloseCodes, HeaderEdits, IssueCookie, OnRemoval, Redirect, Rewrite, Route, RouteLimits,
    RouteTimeouts, TextMatch,
};
pub use upstream::{
    Backend, BackendState, Passive, Policy, Probe, ProbeType, ProxyVersion, Status, Upstream,
    UpstreamTls,
};
pub use value::{LongForm, SecretSource, Size, TextOr, Time, TimeOrOff};

/// The configuration of a Sessile gateway, as `gateway.toml` holds it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "gateway.toml")]
pub struct Model {
    /// Who this gateway is.
    pub node: Node,
    /// Where operators come in.
    pub admin: Admin,
    /// What is written where.
    pub log: Log,
    /// How a stop goes.
    pub shutdown: Shutdown,
    /// Where configuration and membership come from.
    pub sources: Sources,
    /// Where clients come in. A change needs a restart, unless it is the contents of certificate
    /// files.
    pub listeners: Vec<Listener>,
    /// Groups of backends, by name.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Which requests go where. The most specific route that matches counts, not the first.
    pub routes: Vec<Route>,
}

impl Model {
    /// What is in force, defaults included, secrets masked (I11).
    pub fn masked_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("a model has text keys only and no failing values")
    }

    /// JSON Schema (draft 2020-12) of the configuration.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }
}
