//! `[[listeners]]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::limits::Rate;
use crate::config::model::acme::Acme;
use crate::config::model::limits::NetworksFile;
use crate::config::model::value::{LongForm, Size, TextOr, Time, TimeOrOff};

/// Addresses that accept clients.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Listener {
    /// Required. Shown in metrics and records.
    pub name: Option<String>,
    /// Required. Addresses: `0.0.0.0:8080`, `[::]:8080` or `unix:/path/to.sock`; port 0 is any free
    /// one.
    pub listen: Vec<String>,
    /// Permissions of unix sockets of `listen`, in octal: `"0660"` lets the group connect. The
    /// umask does not matter.
    pub socket_mode: String,
    /// `{ from = ["10.0.0.0/8"] }`: these peers put a PROXY protocol header (v1 or v2) in front of
    /// every connection. Others connect without one; a header of theirs is a bad request.
    pub proxy_protocol: Option<PeersFrom>,
    /// Peers whose `X-Forwarded-*`, `Forwarded` and `X-Request-Id` headers are trusted: networks,
    /// addresses, `{ file = "cloudflare.txt" }` for those of a CDN, one on each line. A change
    /// takes effect at once, also of a file.
    pub trusted_proxies: Vec<TextOr<NetworksFile>>,
    /// Changes of the list of headers that only trusted proxies may send, such as
    /// `X-Original-URL` and `X-SSL-Client-Verify`; docs/security.md has the list.
    pub untrusted_headers: UntrustedHeaders,
    /// Client addresses that may connect, written as in `routes[].allow`. Others are cut off before
    /// TLS. A change takes effect at once.
    pub allow: Vec<TextOr<NetworksFile>>,
    /// Client addresses that may not.
    pub deny: Vec<TextOr<NetworksFile>>,
    /// TLS ends here.
    pub tls: Option<ListenerTls>,
    /// Whether `GET /.well-known/sessile` lists the gateways with their load, see `[discovery]`.
    pub discovery: bool,
    /// Connections that the system queues before they are accepted.
    pub backlog: u32,
    /// Whether other gateways of the same user may listen on the same TCP addresses
    /// (SO_REUSEPORT); each of them needs it. The system spreads new connections over them.
    pub reuse_port: bool,
    /// Idle time after which a client's TCP connection is probed, or `"off"`.
    pub tcp_keepalive: TimeOrOff,
    /// Bounds on a request's head and on connections.
    pub limits: ListenerLimits,
    /// Bounds on how long that may take.
    pub timeouts: ListenerTimeouts,
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            name: None,
            listen: Vec::new(),
            socket_mode: "0600".to_owned(),
            proxy_protocol: None,
            trusted_proxies: Vec::new(),
            untrusted_headers: UntrustedHeaders::default(),
            allow: Vec::new(),
            deny: Vec::new(),
            tls: None,
            discovery: false,
            backlog: 1024,
            reuse_port: false,
            tcp_keepalive: TimeOrOff::seconds(60),
            limits: ListenerLimits::default(),
            timeouts: ListenerTimeouts::default(),
        }
    }
}

/// Peers by network.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PeersFrom {
    /// Required. Networks or single addresses.
    pub from: Vec<String>,
}

/// Which headers are removed from requests of peers that are no trusted proxies.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UntrustedHeaders {
    /// Names of further headers that backends trust.
    pub remove: Vec<String>,
    /// Names of the list that every client may send: `["x-http-method-override"]`.
    pub keep: Vec<String>,
}

/// TLS of a listener.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerTls {
    /// Required, or `acme`. The first is the default; the others are chosen by SNI from the names
    /// inside the certificates.
    pub certificates: Vec<Certificate>,
    /// A certificate that the gateway orders and renews by itself, from Let's Encrypt unless told
    /// otherwise; see docs/tls.md.
    pub acme: Option<Acme>,
    /// PEM file with the authorities of client certificates. The listener then requests
    /// certificates; the authenticator `mtls` uses them. A change needs a restart.
    pub client_ca: Option<String>,
    /// `required`: connections without a certificate are refused. `optional`: routes decide.
    pub client_certificates: ClientCertificates,
    /// Oldest version accepted: `"1.2"` or `"1.3"`.
    pub minimum: String,
    /// Where the keys of session tickets come from. `"random"`: made by the process, rotated, and
    /// handed over to the next one. `"etcd"`: shared and rotated by the gateways that follow the
    /// same etcd. `{ file = "tickets.keys" }`: rotated by the operator; docs/tls.md has the format.
    pub ticket_keys: TextOr<TicketKeysFile>,
    /// HSTS: browsers that were here once come by TLS alone from then on. Default: not sent.
    pub hsts: Option<Hsts>,
}

impl Default for ListenerTls {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            acme: None,
            client_ca: None,
            client_certificates: ClientCertificates::Required,
            minimum: "1.2".to_owned(),
            ticket_keys: TextOr::Text("random".to_owned()),
            hsts: None,
        }
    }
}

/// The `Strict-Transport-Security` field (RFC 6797) of every answer, in place of a backend's own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hsts {
    /// How long a browser remembers it, from the last answer on; `"0s"` makes it forget.
    pub max_age: Time,
    /// Whether it applies to all names below the host.
    pub include_subdomains: bool,
    /// Consent to the lists that browsers are shipped with. It is hard to undo.
    pub preload: bool,
}

impl Default for Hsts {
    fn default() -> Self {
        Self {
            max_age: Time::seconds(365 * 24 * 60 * 60),
            include_subdomains: false,
            preload: false,
        }
    }
}

/// A file of ticket keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TicketKeysFile {
    /// Required. The file's path; it is read again when it changes.
    pub file: Option<String>,
}

impl LongForm for TicketKeysFile {
    const EXPECTED: &'static str = "\"random\", \"etcd\" or { file = \"…\" }";
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ClientCertificates {
    /// No connection without one.
    Required,
    /// Routes decide.
    Optional,
}

/// A certificate chain and its key, read again when the files change.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Certificate {
    /// Required. PEM file with the chain, leaf first.
    pub cert: Option<String>,
    /// Required. PEM file with the key: PKCS#8, PKCS#1 or SEC1.
    pub key: Option<String>,
}

/// Bounds on a request's head and on connections.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerLimits {
    /// Bytes of a request's head.
    pub header_bytes: Size,
    /// Header fields of a request.
    pub headers_max: usize,
    /// Client connections at once; 0 is no limit but the system's.
    pub connections_max: usize,
    /// Connections at once of one client address, as `node.address_prefix` counts them; 0 is no
    /// limit. More are cut off before TLS.
    pub connections_per_address: usize,
    /// New connections of one client address: `"20/s"`, `"600/m"`, `"1000/h"`. The number is also
    /// the burst; more are closed before TLS.
    pub connects_per_address: Option<Rate>,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            header_bytes: Size(32 << 10),
            headers_max: 100,
            connections_max: 0,
            connections_per_address: 0,
            connects_per_address: None,
        }
    }
}

/// Time limits for a client before its request is complete.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerTimeouts {
    /// From accept to the end of the PROXY header and of the TLS handshake, each.
    pub tls_handshake: Time,
    /// From a request's first byte, or the connection's start, to the end of its head.
    pub request_head: Time,
    /// How long a connection stays open between two requests.
    pub between_requests: Time,
}

impl Default for ListenerTimeouts {
    fn default() -> Self {
        Self {
            tls_handshake: Time::seconds(10),
            request_head: Time::seconds(10),
            between_requests: Time::seconds(60),
        }
    }
}
