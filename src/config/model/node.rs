//! The sections of the process itself: `[node]`, `[admin]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::limits::AddressPrefix;
use crate::config::model::listener::ListenerTls;
use crate::config::model::value::{SecretSource, Size, TokenSource};

/// Who this gateway is.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Shown in status and records. Default: the host's name.
    pub name: Option<String>,
    /// The failure zone that the node is in, such as `"eu-west-1a"`: backends with the same `zone`
    /// are preferred. Default: none, and zones do not matter. Takes effect at once.
    pub zone: Option<String>,
    /// Data-plane threads; 0 is one for each core that the process may use.
    pub workers: usize,
    /// Whether each worker stays on one core of those that the process may use, in their order.
    /// Cores for other programs are left out by `taskset`, `numactl` or `CPUAffinity=`.
    pub pin_workers: bool,
    /// Directory of persistent state, accessible to this user only. It is created if missing; a
    /// start that cannot write to it is refused.
    pub state_dir: Option<String>,
    /// What opens and seals TLS records after a handshake: `"gateway"`, or `"rustls"` as a way back
    /// for one release. Sessions with TLS survive a hand-over with `"gateway"` only. Takes effect
    /// at the next start.
    pub tls_records: TlsRecords,
    /// Live sessions, those in the making among them; 0 is no limit. More are answered 503.
    pub sessions_max: usize,
    /// TLS handshakes with clients, and upgrades that wait for their backend, at once; 0 is no
    /// limit. Beyond it connections are cut off before TLS, and upgrades answered 503.
    pub handshakes_max: usize,
    /// Memory from which on no client is let in: `"2 GiB"`, or 0 for no limit. Default: nine
    /// tenths of what the control group allows.
    pub memory_max: Option<Size>,
    /// Memory for responses of backends, of all routes with `cache` together. Without room, what is
    /// used least goes.
    pub cache_memory: Size,
    /// How many bits of an address are one client, for every limit per address.
    pub address_prefix: AddressPrefix,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: None,
            zone: None,
            workers: 0,
            pin_workers: false,
            state_dir: None,
            tls_records: TlsRecords::default(),
            sessions_max: 0,
            handshakes_max: 0,
            memory_max: None,
            cache_memory: Size(64 << 20),
            address_prefix: AddressPrefix::default(),
        }
    }
}

/// What opens and seals TLS records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TlsRecords {
    /// The gateway's own record layer.
    #[default]
    Gateway,
    /// rustls.
    Rustls,
}

/// The admin API.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address of the admin API: `127.0.0.1:9900` or `unix:/run/sessile/admin.sock`. Anything but
    /// loopback needs a `token`.
    pub listen: String,
    /// Permissions of a unix socket of `listen`, in octal: `"0660"` lets the group connect. The
    /// umask does not matter.
    pub socket_mode: String,
    /// Must be presented as `Authorization: Bearer …`. `{ file = "…" }`, `{ env = "…" }` or the
    /// token itself. The table may have an end, `expires = "2027-01-31T12:00:00Z"`: from then on
    /// the token is refused.
    pub token: Option<TokenSource>,
    /// Another token, for reading only; in the same forms. Requires `token`.
    pub read_token: Option<TokenSource>,
    /// TLS of the admin API. With `client_ca`, a verified client certificate opens it as the token
    /// does. Certificates are read again when their files change; the rest needs a restart.
    pub tls: Option<ListenerTls>,
    /// Whose certificates may change something, by subject: the first URI, mail address or DNS
    /// name, else the common name. The others may look. Empty: all may do everything.
    pub operators: Vec<String>,
    /// How this gateway asks the others of its fleet (`?scope=fleet`) and is asked by them.
    pub fleet: AdminFleet,
}

/// The gateways that follow the same etcd, as the admin API asks them. Each registers the address
/// of its admin API in etcd, where every tenant that may write there can put any address: only
/// those in `networks` are asked.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminFleet {
    /// What this gateway registers as the address of its admin API, `10.0.0.5:9900`. Default:
    /// where it listens, which is of no use to the others if that is `0.0.0.0`.
    pub advertise: Option<String>,
    /// Networks of the others.
    pub networks: Vec<String>,
    /// The token that the others ask for; one that only reads is enough. Default: `read_token`,
    /// else `token`.
    pub token: Option<SecretSource>,
    /// PEM file with the authorities of their certificates. Required where they speak TLS.
    pub ca: Option<String>,
    /// The name in their certificates. Default: their address.
    pub server_name: Option<String>,
}

impl Default for AdminFleet {
    fn default() -> Self {
        Self {
            advertise: None,
            networks: vec!["127.0.0.0/8".to_owned(), "::1".to_owned()],
            token: None,
            ca: None,
            server_name: None,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9900".to_owned(),
            socket_mode: "0600".to_owned(),
            token: None,
            read_token: None,
            tls: None,
            operators: Vec::new(),
            fleet: AdminFleet::default(),
        }
    }
}
