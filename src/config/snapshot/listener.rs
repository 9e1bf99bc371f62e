//! `[[listeners]]`, checked, and bounds on HTTP heads.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;

use crate::base::addr::{ListenAddr, Networks};
use crate::base::names::ListenerName;
use crate::config::limits::{AddressRules, Rate};
use crate::config::snapshot::Acme;
use crate::config::untrusted::UntrustedHeaders;

/// A `[[listeners]]` entry. Changes need a restart, except the contents of certificate files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Shown in metrics and records.
    pub name: ListenerName,
    /// One socket for each.
    pub listen: Vec<ListenAddr>,
    /// Permissions of unix sockets. Default 0600.
    pub socket_mode: u32,
    /// Peers that put a PROXY protocol header (v1 or v2) in front of every connection. Others
    /// connect without one; a header of theirs is a bad request.
    pub proxy_protocol: Option<Networks>,
    /// Peers whose `X-Forwarded-*`, `Forwarded` and `X-Request-Id` are trusted; a change takes
    /// effect at once. Default: none.
    pub trusted_proxies: Networks,
    /// What only they may send, beside that.
    pub untrusted_headers: UntrustedHeaders,
    /// Who may connect.
    pub addresses: AddressRules,
    /// Whether it lists the gateways.
    pub discovery: bool,
    /// TLS ends here if set.
    pub tls: Option<ListenerTls>,
    /// Connections that the system queues before they are accepted. Default 1024.
    pub backlog: u32,
    /// Whether other processes may listen on the same addresses. Default: no.
    pub reuse_port: bool,
    /// TCP keepalive time of client connections. Default 60 s; `None` is off.
    pub tcp_keepalive: Option<Duration>,
    /// Bounds on a request's head.
    pub limits: ListenerLimits,
    /// Bounds on how long that may take.
    pub timeouts: ListenerTimeouts,
}

/// Certificates of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// The first is the default; the others are chosen by SNI from the names inside the
    /// certificates.
    pub certificates: Vec<CertificateFiles>,
    /// A certificate that the gateway orders itself, behind those.
    pub acme: Option<Acme>,
    /// Authorities of clients' certificates, and whether clients must show one.
    pub clients: Option<(PathBuf, bool)>,
    /// Fingerprint of those authorities; a change of the file waits for a restart.
    pub client_authorities: u128,
    /// Oldest version accepted. Default 1.2.
    pub minimum: TlsVersion,
    /// Where the keys of tickets come from. Default random.
    pub ticket_keys: TicketKeySource,
    /// The value of `Strict-Transport-Security`, if it is sent.
    pub hsts: Option<HeaderValue>,
}

/// Where the keys of tickets come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TicketKeySource {
    /// The process makes and rotates them.
    Random,
    /// The gateways of a fleet make and rotate them.
    Etcd,
    /// The operator does, in this file.
    File(PathBuf),
}

/// A certificate chain and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// Leaf first.
    pub cert: PathBuf,
    /// PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// A TLS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2
    V1_2,
    /// TLS 1.3
    V1_3,
}

/// What opens and seals the records of a TLS connection after its handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsRecords {
    /// The gateway's own record layer: sessions survive a hand-over.
    #[default]
    Gateway,
    /// rustls, which cannot hand over a connection.
    Rustls,
}

/// `limits` of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Bytes of a request's head. Default 32 KiB.
    pub header_bytes: usize,
    /// Header fields of a request. Default 100.
    pub headers_max: usize,
    /// Client connections at once. Default 0, no limit but the system's.
    pub connections_max: usize,
    /// Those of one client's network. Default 0, no limit.
    pub connections_per_address: usize,
    /// New ones of one client's network. Default no limit.
    pub connects_per_address: Option<Rate>,
}

/// `timeouts` of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerTimeouts {
    /// From accept to the end of the PROXY header and of the TLS handshake, each. Default 10 s.
    pub tls_handshake: Duration,
    /// From a request's first byte, or the connection's start, to the end of its head. Default 10
    /// s.
    pub request_head: Duration,
    /// How long a connection stays open between two requests. Default 60 s.
    pub between_requests: Duration,
}

/// Bounds on the head of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes. Default 32 KiB.
    pub header_bytes: usize,
    /// Fields. Default 100.
    pub headers_max: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            header_bytes: 32 << 10,
            headers_max: 100,
        }
    }
}
