//! What comes before HTTP: the PROXY header and TLS, each within its time.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::core::wire::proxy_protocol::{self, Header, Progress};
use crate::io::carrier::Carrier;
use crate::io::net::listener::Incoming;
use crate::io::net::socket::Socket;
use crate::proxy::backend::dial::ConnectionAddresses;
use crate::proxy::client::connection::ClientConnection;
use crate::proxy::context::connection_lease::ConnectionLease;
use crate::proxy::context::peer_admission::{ConnectionRejected, admit_peer, count_rejected};
use crate::proxy::context::worker::Worker;
use crate::telemetry::metrics::ListenerMetrics;

/// Why a connection never came to its first request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpeningFault {
    #[error("cannot use the socket: {0}")]
    Socket(io::Error),
    #[error("PROXY header: {0}")]
    ProxyHeader(#[from] proxy_protocol::ParseError),
    #[error("connection ended in the PROXY header: {0}")]
    ProxyHeaderRead(io::Error),
    #[error("TLS handshake: {0}")]
    Tls(io::Error),
    #[error("PROXY header: took too long")]
    ProxyHeaderTimedOut,
    #[error("a certificate authority has verified a name")]
    Challenge,
    #[error("TLS handshake: took too long")]
    TlsTimedOut,
    #[error("not admitted: {0}")]
    Rejected(#[from] ConnectionRejected),
}

impl OpeningFault {
    /// Counts it.
    pub(crate) fn count(&self, worker: &Worker, metrics: &ListenerMetrics) {
        match self {
            Self::Socket(_) | Self::Challenge => {}
            Self::Rejected(rejected) => count_rejected(worker, *rejected),
            Self::ProxyHeader(_) | Self::ProxyHeaderRead(_) | Self::ProxyHeaderTimedOut => {
                metrics.proxy_header_failed();
            }
            Self::Tls(_) | Self::TlsTimedOut => metrics.tls_failed(),
        }
    }
}

/// A connection that is ready for HTTP.
pub(crate) struct Opened {
    carrier: Carrier,
    client: Option<SocketAddr>,
    local: Option<SocketAddr>,
}

impl Opened {
    /// The connection as its requests see it, and its stream.
    pub(crate) fn into_client(
        self,
        worker: &Rc<Worker>,
        listener: usize,
    ) -> (Rc<ClientConnection>, Carrier) {
        let client = Rc::new(ClientConnection {
            worker: Rc::clone(worker),
            listener,
            addresses: ConnectionAddresses {
                client: self.client,
                local: self.local,
            },
            tls: self.carrier.is_tls(),
            certificate: self.carrier.peer_certificate().map(Into::into),
            logins: Rc::default(),
            closing: Cell::new(false),
            ended: Cell::new(None),
        });
        (client, self.carrier)
    }
}

/// Opens a connection.
///
/// # Errors
/// What went wrong before its first request.
pub(crate) async fn open(
    worker: &Worker,
    listener: usize,
    incoming: Incoming,
    lease: &mut ConnectionLease,
) -> Result<Opened, OpeningFault> {
    let context = &worker.shared.listeners[listener];
    let limit = context.config.timeouts.tls_handshake;
    let mut client = incoming.peer;
    let mut socket = incoming.socket.attach().map_err(OpeningFault::Socket)?;
    let mut local = incoming.local.or_else(|| socket.local_addr());
    if context.expects_proxy_header(client) {
        let header = timeout(limit, read_proxy_header(&mut socket)).await;
        let header = header.map_err(|_| OpeningFault::ProxyHeaderTimedOut)??;
        // A connection of the proxy's own, such as a probe, keeps its own addresses.
        if let Header::Proxied {
            source,
            destination,
        } = header
        {
            client = Some(source);
            local = Some(destination);
        }
        lease.hold(admit_peer(worker, listener, client)?);
    }
    let carrier = match &context.tls {
        None => Carrier::from(socket),
        Some(tls) => {
            let accepted = timeout(limit, Carrier::accept_tls(socket, tls)).await;
            let carrier = accepted
                .map_err(|_| OpeningFault::TlsTimedOut)?
                .map_err(OpeningFault::Tls)?;
            if carrier.is_challenge() {
                return Err(OpeningFault::Challenge);
            }
            context
                .metrics
                .tls_accepted(carrier.resumed() == Some(true));
            carrier
        }
    };
    Ok(Opened {
        carrier,
        client,
        local,
    })
}

/// Reads the header and not a byte more.
async fn read_proxy_header(socket: &mut Socket) -> Result<Header, OpeningFault> {
    let mut bytes = Vec::with_capacity(128);
    loop {
        match proxy_protocol::parse(&bytes)? {
            Progress::Complete { header, .. } => return Ok(header),
            Progress::Incomplete { at_least } => {
                let from = bytes.len();
                bytes.resize(from + at_least, 0);
                let read = socket.read_exact(&mut bytes[from..]).await;
                read.map_err(OpeningFault::ProxyHeaderRead)?;
            }
        }
    }
}
