//! Where the gateways of a fleet count together, checked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::base::addr::BackendAddr;
use crate::base::secret::Secret;
use crate::config::snapshot::service::ServiceTls;

/// `[state]` with a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// What it speaks.
    pub kind: StateKind,
    /// Where it listens.
    pub address: BackendAddr,
    /// TLS, if the connection is encrypted.
    pub tls: Option<ServiceTls>,
    /// What the names of keys begin with. Default `sessile`.
    pub prefix: Arc<str>,
    /// User and password, if there are any.
    pub sign_in: Option<(String, Secret)>,
    /// For a connection, sign-in included. Default 5 s.
    pub connect_timeout: Duration,
    /// How long one decision waits. Default 50 ms.
    pub decision_timeout: Duration,
    /// How long the shares of a dead gateway count. Default 30 s.
    pub lease: Duration,
}

/// What a store speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateKind {
    /// RESP3, with scripts.
    Redis,
    /// The meta commands of memcached.
    Memcached,
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "redis",
            Self::Memcached => "memcached",
        })
    }
}
