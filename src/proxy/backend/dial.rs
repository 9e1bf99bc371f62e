//! One connection to one backend, with the PROXY header and the TLS that its upstream asks for.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::config::snapshot::ProxyVersion;
use crate::core::routing::{Member, Upstream};
use crate::core::wire::proxy_protocol::{self, Header};
use crate::io::carrier::Carrier;
use crate::io::net::dial::{DialError, DialOptions, dial};
use crate::io::net::socket::{BACKEND_KEEPALIVE, Tuning};
use crate::io::tls::client::{ClientTls, ClientTlsError};
use crate::live::Live;

/// Both addresses of a client's connection, for a PROXY header.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectionAddresses {
    pub(crate) client: Option<SocketAddr>,
    pub(crate) local: Option<SocketAddr>,
}

/// How the backends of an upstream are dialled for one request.
pub(crate) struct DialPlan<'r> {
    pub(crate) addresses: ConnectionAddresses,
    pub(crate) tls: Option<&'r ClientTls>,
    pub(crate) until: Instant,
}

/// Why a backend was not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReached {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Tls(#[from] ClientTlsError),
}

impl NotReached {
    /// Whether the gateway lacks something, so that the failure does not count against the backend.
    pub(crate) fn is_ours(&self) -> bool {
        match self {
            Self::Dial(error) => error.is_ours(),
            Self::Tls(_) => true,
        }
    }

    /// The label in metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Dial(DialError::Name { .. }) => "name",
            Self::Dial(DialError::Refused { .. }) => "refused",
            Self::Dial(DialError::TimedOut { .. }) => "timed_out",
            Self::Dial(DialError::ProxyHeader { .. }) => "proxy_header",
            Self::Dial(DialError::Tls { .. }) | Self::Tls(_) => "tls",
            Self::Dial(DialError::Connect { .. }) => "connect",
            Self::Dial(DialError::Own { .. }) => "own_address",
        }
    }
}

/// Dials one member, within what is left of the time. For a session, the options of the socket that
/// can wait are left to `session::tuning`.
pub(crate) async fn connect(
    live: &Live,
    upstream: &Upstream,
    member: &Member,
    plan: &DialPlan<'_>,
    session: bool,
) -> Result<Carrier, NotReached> {
    let header = upstream
        .config
        .proxy_protocol
        .map(|version| proxy_header(version, plan.addresses));
    let tls = plan.tls.map(|tls| tls.to(&member.address)).transpose()?;
    let left = plan.until.saturating_duration_since(Instant::now());
    member.state.connect_began();
    let options = DialOptions {
        timeout: upstream.config.connect_timeout.min(left),
        tuning: match session {
            true => Tuning::Early,
            false => Tuning::Whole(Some(BACKEND_KEEPALIVE)),
        },
        proxy_header: header.as_deref().unwrap_or_default(),
        tls: tls.as_ref(),
        own: &live.gateway_addresses().all,
    };
    Ok(dial(&member.address, options).await?)
}

fn proxy_header(version: ProxyVersion, addresses: ConnectionAddresses) -> Vec<u8> {
    let header = match (addresses.client, addresses.local) {
        (Some(source), Some(destination)) => Header::Proxied {
            source,
            destination,
        },
        _ => Header::Unknown,
    };
    proxy_protocol::encode(version, &header)
}
