//! One client connection: PROXY header, TLS, then HTTP until it ends or a 101 has left; then hyper
//! is gone and a session has the stream.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::{Either, select};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use crate::config::untrusted::UntrustedHeaders;
use crate::core::limits::LoadPermit;
use crate::core::wire::proxy_protocol::{self, Header, Progress};
use crate::core::wire::request_guard::{RequestGuard, Smuggling};
use crate::io::carrier::Carrier;
use crate::io::net::listener::Incoming;
use crate::io::net::socket::Socket;
use crate::io::relay::Relay;
use crate::proxy::context::{ConnectionSeat, ListenerContext, Standing, Worker};
use crate::proxy::farewell::Farewell;
use crate::proxy::peers::CutOff;
use crate::proxy::pipeline;
use crate::proxy::pool::Pool;
use crate::proxy::sessions::{self, Beginning};
use crate::proxy::upgrade::Pending;
use crate::telemetry::metrics::ListenerMetrics;

/// For a peer to take the end of an ordinary connection.
const LINGER: std::time::Duration = std::time::Duration::from_secs(1);

/// For a client to answer a close frame that its upgrade was accepted for.
const FAREWELL: std::time::Duration = std::time::Duration::from_secs(2);

/// Bytes of a refused request that are read and dropped.
const UNREAD_MAX: usize = 64 * 1024;

/// What the requests of one connection share.
pub(super) struct Connection {
    pub(super) worker: Rc<Worker>,
    listener: usize,
    /// The client's end, as the PROXY header says where there is one; `None` on unix sockets.
    pub(super) client: Option<SocketAddr>,
    /// The gateway's end, likewise.
    pub(super) local: Option<SocketAddr>,
    pub(super) tls: bool,
    /// The client's certificate (DER), which the handshake has verified.
    pub(super) certificate: Option<Box<[u8]>>,
    /// Connections to backends that this client has logged in to as a whole. They end with it.
    pub(super) logins: Pool,
    guard: RefCell<RequestGuard>,
    /// Requests that hyper has handed over.
    requests: Cell<u64>,
    /// The last of them may become a session.
    upgrading: Cell<bool>,
    /// hyper was told to end it after the request that it has; what it answers says so.
    parting: Cell<bool>,
    pending: RefCell<Option<Pending>>,
    farewell: RefCell<Option<Farewell>>,
}

/// Serves a connection to its end, or until it becomes a session.
pub(super) async fn serve(
    worker: Rc<Worker>,
    listener: usize,
    incoming: Incoming,
    mut seat: ConnectionSeat,
    opening: Option<LoadPermit>,
) {
    let context = &worker.shared.listeners[listener];
    let opened = open(&worker, listener, incoming, &mut seat).await;
    drop(opening);
    let (carrier, client, local) = match opened {
        Ok(opened) => opened,
        Err(fault) => {
            fault.count(&worker, &context.metrics);
            tracing::debug!(listener = %context.config.name, %fault, "connection not opened");
            return;
        }
    };
    let tls = carrier.is_tls();
    let connection = Rc::new(Connection {
        worker: Rc::clone(&worker),
        listener,
        client,
        local,
        tls,
        certificate: carrier.peer_certificate().map(Into::into),
        logins: Pool::default(),
        guard: RefCell::default(),
        requests: Cell::new(0),
        upgrading: Cell::new(false),
        parting: Cell::new(false),
        pending: RefCell::default(),
        farewell: RefCell::default(),
    });
    let (mut carrier, early) = speak_http(&connection, carrier).await;
    match connection.pending.take() {
        Some(Pending {
            facts,
            backend,
            key,
            resumption,
            carrier: to_backend,
            mut setup,
            permits,
        }) => {
            seat.hold_session(permits);
            setup.client_early = early;
            let metrics = worker.route_metrics(&facts.route, &facts.upstream);
            let relay = Relay::new(carrier, to_backend, setup, worker.tick());
            sessions::start(
                &worker,
                Beginning {
                    facts,
                    relay,
                    backend,
                    key,
                    resumption,
                    metrics,
                    connection: seat,
                },
            );
        }
        None => {
            if let Some(farewell) = connection.farewell.take() {
                // Nor is one that does not hear why.
                let _ = timeout(FAREWELL, farewell.say(&mut carrier)).await;
            }
            // A peer that does not take it is not waited for.
            let _ = timeout(LINGER, part(&mut carrier)).await;
        }
    }
}

/// Ends an ordinary connection so that its last answer arrives: bytes left unread would make the
/// system reset it.
async fn part(carrier: &mut Carrier) -> io::Result<()> {
    carrier.shutdown().await?;
    let mut rest = [0; 4096];
    for _ in 0..UNREAD_MAX / rest.len() {
        if carrier.read(&mut rest).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// Why a connection never came to its first request.
#[derive(Debug, thiserror::Error)]
enum OpeningFault {
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
    #[error("TLS handshake: took too long")]
    TlsTimedOut,
    #[error("not admitted: {0}")]
    CutOff(#[from] CutOff),
}

impl OpeningFault {
    fn count(&self, worker: &Worker, metrics: &ListenerMetrics) {
        match self {
            Self::Socket(_) => {}
            Self::CutOff(cut_off) => worker.cut_off(*cut_off),
            Self::ProxyHeader(_) | Self::ProxyHeaderRead(_) | Self::ProxyHeaderTimedOut => {
                metrics.proxy_header_failed();
            }
            Self::Tls(_) | Self::TlsTimedOut => metrics.tls_failed(),
        }
    }
}

type Opened = (Carrier, Option<SocketAddr>, Option<SocketAddr>);

/// What comes before HTTP, each part within its time.
async fn open(
    worker: &Worker,
    listener: usize,
    incoming: Incoming,
    seat: &mut ConnectionSeat,
) -> Result<Opened, OpeningFault> {
    let context = &worker.shared.listeners[listener];
    let limit = context.config.timeouts.tls_handshake;
    let mut client = incoming.peer;
    let mut socket = incoming.socket.attach().map_err(OpeningFault::Socket)?;
    let mut local = socket.local_addr();
    if expects_proxy_header(context, client) {
        let header = timeout(limit, read_proxy_header(&mut socket)).await;
        let header = header.map_err(|_| OpeningFault::ProxyHeaderTimedOut)??;
        // A connection of the proxy's own, such as a probe, speaks for itself.
        if let Header::Proxied {
            source,
            destination,
        } = header
        {
            client = Some(source);
            local = Some(destination);
        }
        seat.hold(worker.admit_peer(listener, client)?);
    }
    let carrier = match &context.tls {
        None => Carrier::from(socket),
        Some(tls) => {
            let accepted = timeout(limit, Carrier::accept_tls(socket, Arc::clone(tls))).await;
            accepted
                .map_err(|_| OpeningFault::TlsTimedOut)?
                .map_err(OpeningFault::Tls)?
        }
    };
    Ok((carrier, client, local))
}

/// Only peers that were named, and they always. Whoever reaches a unix socket is on this machine.
pub(super) fn expects_proxy_header(context: &ListenerContext, peer: Option<SocketAddr>) -> bool {
    let from = context.config.proxy_protocol.as_ref();
    from.is_some_and(|from| from.contains(address_or_loopback(peer)))
}

pub(super) fn address_or_loopback(peer: Option<SocketAddr>) -> IpAddr {
    peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.ip())
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

/// HTTP until the connection ends, or a 101 has left; the stream, and what came behind the last
/// request.
async fn speak_http(connection: &Rc<Connection>, carrier: Carrier) -> (Carrier, Vec<u8>) {
    let config = &connection.listener().config;
    let service = service_fn(|request| {
        let connection = Rc::clone(connection);
        Box::pin(async move { Ok::<_, Infallible>(pipeline::answer(connection, request).await) })
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(config.timeouts.request_head)
        .max_headers(config.limits.headers_max)
        .max_header_size(config.limits.header_bytes);
    let watched = Watched {
        carrier,
        connection: Rc::clone(connection),
    };
    let mut http = builder.serve_connection(TokioIo::new(watched), service);
    let mut standing = connection.worker.standing();
    let ended = loop {
        if connection.parts(*standing.borrow_and_update()) {
            Pin::new(&mut http).graceful_shutdown();
            break poll_fn(|cx| http.poll_without_shutdown(cx)).await;
        }
        let drive = pin!(poll_fn(|cx| http.poll_without_shutdown(cx)));
        let change = pin!(standing.changed());
        if let Either::Left((ended, _)) = select(drive, change).await {
            break ended;
        }
    };
    if let Err(error) = ended {
        tracing::debug!(client = ?connection.client, %error, "connection broken");
        // The 101 may not have left; without it there is no session.
        connection.pending.take();
        connection.farewell.take();
    }
    let parts = http.into_parts();
    // Copied: what is left of hyper's buffer must not keep all of it.
    (parts.io.into_inner().carrier, parts.read_buf.to_vec())
}

impl Connection {
    pub(super) fn listener(&self) -> &ListenerContext {
        &self.worker.shared.listeners[self.listener]
    }

    /// Who speaks to the gateway; whoever reaches a unix socket is on this machine.
    pub(super) fn peer(&self) -> IpAddr {
        address_or_loopback(self.client)
    }

    /// Whether what the peer says about others is believed.
    pub(super) fn peer_trusted(&self) -> bool {
        self.listener().config.trusted_proxies.contains(self.peer())
    }

    /// What the peer may not send; `None` of a trusted proxy.
    pub(super) fn untrusted_headers(&self) -> Option<&UntrustedHeaders> {
        let listed = &self.listener().config.untrusted_headers;
        (!self.peer_trusted()).then_some(listed)
    }

    /// Whether the next request that hyper hands over stood where everybody would see it.
    pub(super) fn judge_framing(&self) -> Result<(), Smuggling> {
        let index = self.requests.get();
        self.requests.set(index + 1);
        self.guard.borrow().verdict(index)
    }

    /// Whether it is told now to end after the request that it has. When another process takes over
    /// only one that has been used already: hyper would close one whose first request is on its
    /// way, and spoil the 101 of one that becomes a session.
    fn parts(&self, standing: Standing) -> bool {
        let parts = match standing {
            Standing::Open => false,
            Standing::HandingOver => self.requests.get() > 0 && !self.upgrading.get(),
            Standing::Stopping => true,
        };
        self.parting.set(parts || self.parting.get());
        parts
    }

    /// Whether hyper was told to end it.
    pub(super) fn is_parting(&self) -> bool {
        self.parting.get()
    }

    /// The request that it has may become a session, or not after all.
    pub(super) fn set_upgrading(&self, upgrading: bool) {
        self.upgrading.set(upgrading);
    }

    /// Keeps a close frame until its 101 has left.
    pub(super) fn dismiss(&self, farewell: Farewell) {
        self.farewell.replace(Some(farewell));
    }

    /// Keeps a session until its 101 has left.
    pub(super) fn grant(&self, pending: Pending) {
        self.pending.replace(Some(pending));
    }
}

/// A client's stream whose bytes the guard sees before hyper does.
struct Watched {
    carrier: Carrier,
    connection: Rc<Connection>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.carrier).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.connection
                .guard
                .borrow_mut()
                .observe(&buffer.filled()[before..]);
        }
        poll
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.carrier).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.carrier).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.carrier.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.carrier).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.carrier).poll_shutdown(cx)
    }
}
