//! A client's connection as its requests see it. Nothing of a single request is kept here.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;

use crate::base::addr::Networks;
use crate::config::untrusted::UntrustedHeaders;
use crate::live::Edge;
use crate::proxy::backend::dial::ConnectionAddresses;
use crate::proxy::context::shared::{ListenerContext, ip_or_loopback};
use crate::proxy::context::worker::Worker;
use crate::proxy::streams::pool::Pool;

/// A client's connection.
pub(crate) struct ClientConnection {
    pub(crate) worker: Rc<Worker>,
    /// The index of its listener.
    pub(crate) listener: usize,
    /// Both ends, as the PROXY header gives them where there is one; `None` on unix sockets.
    pub(crate) addresses: ConnectionAddresses,
    pub(crate) tls: bool,
    /// The client's certificate (DER), which the TLS handshake has verified.
    pub(crate) certificate: Option<Box<[u8]>>,
    /// Connections to backends that this client has logged in to as a whole. They end with it.
    pub(crate) logins: Rc<Pool>,
    /// The transport closes it after the current request.
    pub(crate) closing: Cell<bool>,
    /// Why it ended, once it has; the label in metrics and records.
    pub(crate) ended: Cell<Option<&'static str>>,
}

impl ClientConnection {
    /// Its listener.
    pub(crate) fn listener(&self) -> &ListenerContext {
        &self.worker.shared.listeners[self.listener]
    }

    /// The peer's address. A peer on a unix socket is on this machine.
    pub(crate) fn peer(&self) -> IpAddr {
        ip_or_loopback(self.addresses.client)
    }

    /// The peers whose forwarding headers are trusted; by the edge of a request's generation, so
    /// that all of its stages agree.
    pub(crate) fn trusted_proxies<'e>(&self, edge: &'e Edge) -> &'e Networks {
        edge.trusted_proxies(&self.listener().config.name)
    }

    /// Whether the peer's forwarding headers are trusted.
    pub(crate) fn peer_trusted(&self, edge: &Edge) -> bool {
        self.trusted_proxies(edge).contains(self.peer())
    }

    /// The headers that the peer may not send; `None` for a trusted proxy.
    pub(crate) fn untrusted_headers(&self, edge: &Edge) -> Option<&UntrustedHeaders> {
        let listed = &self.listener().config.untrusted_headers;
        (!self.peer_trusted(edge)).then_some(listed)
    }

    /// The peer as records show it.
    pub(crate) fn peer_text(&self) -> String {
        let peer = self.addresses.client;
        peer.map_or_else(|| "unix".to_owned(), |peer| peer.to_string())
    }
}
