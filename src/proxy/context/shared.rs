//! What all workers of a gateway share.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::base::addr::ListenAddr;
use crate::config::snapshot::Listener;
use crate::io::broker::Outlet;
use crate::io::tls::challenges::Challenges;
use crate::io::tls::server::ServerTls;
use crate::live::Live;
use crate::proxy::context::ejections::Ejections;
use crate::proxy::functions::registry::FunctionRegistry;
use crate::proxy::verifiers::CredentialVerifiers;
use crate::telemetry::metrics::{ListenerMetrics, Metrics, NodeMetrics};
use crate::telemetry::records::Records;
use crate::telemetry::traces::Tracer;

/// What all workers of a gateway share.
#[derive(Clone)]
pub struct Shared {
    /// The table, the phase, the workers.
    pub live: Arc<Live>,
    /// Where clients connect.
    pub listeners: Arc<[Arc<ListenerContext>]>,
    /// The sink of session and request records.
    pub records: Records,
    /// Makes traces of handshakes; `None` where nothing is traced.
    pub tracer: Option<Arc<Tracer>>,
    /// Answers to certificate authorities that verify names over HTTP.
    pub challenges: Arc<Challenges>,
    /// Password verification and forward-auth services.
    pub verifiers: Arc<CredentialVerifiers>,
    /// Functions in the place of backends.
    pub functions: Arc<FunctionRegistry>,
    /// Where messages of clients on routes without a backend go.
    pub outlet: Arc<Outlet>,
    /// All metrics.
    pub metrics: Arc<Metrics>,
    /// Metrics of the node.
    pub node: Arc<NodeMetrics>,
    /// Where ejections are reported.
    pub ejections: Arc<Ejections>,
}

/// A listener as its connections see it.
pub struct ListenerContext {
    /// As configured.
    pub config: Listener,
    /// Where it really listens.
    pub addresses: Vec<ListenAddr>,
    /// Set where TLS is terminated here.
    pub tls: Option<Arc<ServerTls>>,
    /// Its open client connections.
    pub open: AtomicUsize,
    /// Its metrics.
    pub metrics: ListenerMetrics,
}

impl ListenerContext {
    /// Whether this peer has to send a PROXY header: peers in the configured networks always,
    /// others never.
    pub(crate) fn expects_proxy_header(&self, peer: Option<SocketAddr>) -> bool {
        let from = self.config.proxy_protocol.as_ref();
        from.is_some_and(|from| from.contains(ip_or_loopback(peer)))
    }
}

/// The peer's address. A peer on a unix socket is on this machine.
pub(crate) fn ip_or_loopback(peer: Option<SocketAddr>) -> IpAddr {
    peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.ip())
}
