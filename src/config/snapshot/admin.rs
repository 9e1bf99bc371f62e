//! `[admin]`, as checked.

use std::net::SocketAddr;
use std::time::SystemTime;

use crate::base::addr::{ListenAddr, Networks};
use crate::base::secret::Secret;
use crate::config::snapshot::listener::ListenerTls;
use crate::config::snapshot::upstream_tls::UpstreamTls;

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Default `127.0.0.1:9900`.
    pub listen: ListenAddr,
    /// Permissions of a unix socket. Default 0600.
    pub socket_mode: u32,
    /// The bearer token; there is always one where `listen` is not local.
    pub token: Option<Token>,
    /// Opens what only shows.
    pub read_token: Option<Token>,
    /// None: plain HTTP.
    pub tls: Option<ListenerTls>,
    /// Subjects of client certificates that may change something; empty: all.
    pub operators: Vec<String>,
    /// How the others of the fleet are asked.
    pub fleet: AdminFleet,
}

/// A token of the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The token.
    pub secret: Secret,
    /// From then on it is refused.
    pub expires: Option<SystemTime>,
}

/// `admin.fleet`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminFleet {
    /// What is registered instead of the address that the admin API listens on.
    pub advertise: Option<SocketAddr>,
    /// Where the others are; no other registered address is asked.
    pub networks: Networks,
    /// The token for them.
    pub token: Option<Secret>,
    /// Verifies those that speak TLS.
    pub tls: Option<UpstreamTls>,
}
