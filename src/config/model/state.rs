//! `[state]`: where the gateways of a fleet count together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::service::ServiceTls;
use crate::config::model::value::{SecretSource, Time};

/// Where the gateways of a fleet count sessions and handshakes together, and keep the backends of
/// sticky keys. While the store does not answer, each gateway counts alone. A change needs a
/// restart.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// `"local"` (each gateway alone), `"redis"` or `"memcached"`.
    #[serde(rename = "type")]
    pub kind: StateType,
    /// The one server of the store, with TLS if the URL begins with the second form: `redis://` or
    /// `rediss://`, `memcached://` or `memcacheds://`. One server: gateways that use different ones
    /// would count apart.
    pub server: Option<String>,
    /// What the names of keys begin with. Equal on all gateways of a fleet, and different for
    /// fleets that share a store.
    pub prefix: String,
    /// The user, if the store requires one.
    pub user: Option<String>,
    /// The user's password. `{ file = "…" }`, `{ env = "…" }` or the password itself.
    pub password: Option<SecretSource>,
    /// TLS to a server whose URL asks for it. Default: the system's roots, no certificate of our
    /// own. The files are read again for each connection.
    pub tls: Option<ServiceTls>,
    /// For a connection, TLS and sign-in included.
    pub connect_timeout: Time,
    /// How long one decision waits for the store; then the gateway decides by its own counts.
    pub decision_timeout: Time,
    /// How long the sessions of a gateway that died count.
    pub lease: Time,
}

/// What kind of store it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StateType {
    /// None: each gateway counts alone.
    #[default]
    Local,
    /// Redis, or a server that speaks its protocol and runs Lua.
    Redis,
    /// Memcached.
    Memcached,
}

impl Default for State {
    fn default() -> Self {
        Self {
            kind: StateType::default(),
            server: None,
            prefix: "sessile".to_owned(),
            user: None,
            password: None,
            tls: None,
            connect_timeout: Time::seconds(5),
            decision_timeout: Time(std::time::Duration::from_millis(50)),
            lease: Time::seconds(30),
        }
    }
}
