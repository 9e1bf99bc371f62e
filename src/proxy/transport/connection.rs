//! One client connection: PROXY header, TLS, then HTTP until it ends or a 101 has left; then hyper
//! is gone and a session has the stream. How long it may last is in `deadlines`, how it is ended in
//! `parting`.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use http::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::config::untrusted::UntrustedHeaders;
use crate::core::limits::LoadPermit;
use crate::core::session::wheel::Tick;
use crate::core::wire::proxy_protocol::{self, Header, Progress};
use crate::core::wire::request_guard::{Awaited, RequestGuard, Smuggling};
use crate::io::carrier::Carrier;
use crate::io::net::listener::Incoming;
use crate::io::net::socket::Socket;
use crate::io::relay::Relay;
use crate::proxy::context::peer_admission::CutOff;
use crate::proxy::context::worker::{ConnectionSeat, ListenerContext, Standing, Worker};
use crate::proxy::pipeline::{self, Exchange};
use crate::proxy::refusal::over_websocket::Farewell;
use crate::proxy::request::record::EndReason;
use crate::proxy::session::{self, Beginning};
use crate::proxy::stages::upgrade::Pending;
use crate::proxy::streams::pool::Pool;
use crate::proxy::streams::stream::{ClientStream, Pulse};
use crate::proxy::transport::closing::part;
use crate::proxy::transport::deadlines::{Answering, Times};
use crate::telemetry::metrics::ListenerMetrics;

/// For a client to answer a close frame that its upgrade was accepted for.
const FAREWELL: std::time::Duration = std::time::Duration::from_secs(2);

/// hyper's buffer for each direction, which heads may make larger.
const BUFFER_BYTES: usize = 32 * 1024;

/// Bytes of interim responses that wait to be sent; further ones are dropped.
const INTERIM_MAX: usize = 64 * 1024;

/// What the requests of one connection share.
pub(crate) struct Connection {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: usize,
    /// The client's end, as the PROXY header says where there is one; `None` on unix sockets.
    pub(crate) client: Option<SocketAddr>,
    /// The gateway's end, likewise.
    pub(crate) local: Option<SocketAddr>,
    pub(crate) tls: bool,
    /// The client's certificate (DER), which the handshake has verified.
    pub(crate) certificate: Option<Box<[u8]>>,
    /// Connections to backends that this client has logged in to as a whole. They end with it.
    pub(crate) logins: Pool,
    guard: RefCell<RequestGuard>,
    /// Requests that hyper has handed over.
    requests: Cell<u64>,
    /// The last of them may become a session.
    upgrading: Cell<bool>,
    /// hyper was told to end it after the request that it has; what it answers says so.
    parting: Cell<bool>,
    pub(crate) pending: RefCell<Option<Pending>>,
    pub(crate) farewell: RefCell<Option<Farewell>>,
    /// What moves on it.
    pub(crate) pulse: Rc<Pulse>,
    pub(crate) times: Cell<Times>,
    /// Set again where the times of a request have to be looked at.
    pub(crate) alarm: Notify,
    /// When its present state began: idleness, or a head.
    pub(crate) since: Cell<Tick>,
    /// A request is being served, and its response has no head yet.
    pub(crate) asking: Cell<bool>,
    /// A response whose body is on its way.
    pub(crate) answering: RefCell<Option<Answering>>,
    /// A response is not whole yet whose end only the connection's end tells the client.
    pub(crate) until_end: Cell<bool>,
    /// Why it ended.
    pub(crate) ending: EndReason,
    /// Interim responses that wait to be sent.
    interim: RefCell<Vec<u8>>,
}

/// Serves a connection to its end, or until it becomes a session.
pub(crate) async fn serve(
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
    let connection = Connection::new(&worker, listener, &carrier, (client, local));
    let mut over = speak_http(&connection, carrier).await;
    match connection.pending.take() {
        Some(Pending {
            facts,
            backend,
            key,
            resumption,
            carrier: to_backend,
            mut setup,
            permits,
            report,
        }) => {
            report.discard();
            seat.hold_session(permits);
            setup.client_early = over.early;
            let metrics = worker.route_metrics(&facts.route, &facts.upstream);
            let relay = Relay::new(over.carrier, to_backend, setup, worker.tick());
            session::start(
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
        None if over.abrupt => over.carrier.abort(),
        None => {
            if let Some(farewell) = connection.farewell.take() {
                // Do not wait longer for a client that ignores the close frame.
                let _ = timeout(FAREWELL, farewell.say(&mut over.carrier)).await;
            }
            let unread = connection.awaited() == Awaited::Body;
            part(&worker, over.carrier, over.last_words, unread).await;
        }
    }
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
pub(crate) fn expects_proxy_header(context: &ListenerContext, peer: Option<SocketAddr>) -> bool {
    let from = context.config.proxy_protocol.as_ref();
    from.is_some_and(|from| from.contains(address_or_loopback(peer)))
}

pub(crate) fn address_or_loopback(peer: Option<SocketAddr>) -> IpAddr {
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

/// A connection whose HTTP is over.
struct Over {
    carrier: Carrier,
    /// What came behind the last request.
    early: Vec<u8>,
    /// An answer that hyper does not give.
    last_words: Option<&'static str>,
    /// A proper end would pass for the end of an answer that is not whole.
    abrupt: bool,
}

/// HTTP until the connection ends, or a 101 has left.
async fn speak_http(connection: &Rc<Connection>, carrier: Carrier) -> Over {
    let service = service_fn(|request| {
        // Begun here, since a client that has left already keeps hyper from polling what follows.
        let (mut head, body) = Request::into_parts(request);
        // Loaded once: every stage of this request decides by the same generation.
        let generation = connection.worker.live().generation_arc();
        let names = generation.table.header_names();
        names.remove_respelt(&mut head.headers);
        let exchange = Exchange::begin(Rc::clone(connection), generation, &head);
        Box::pin(async move { Ok::<_, Infallible>(pipeline::answer(exchange, head, body).await) })
    });
    let stream = TokioIo::new(ClientStream::new(carrier, connection));
    let mut http = builder(connection.listener()).serve_connection(stream, service);
    let mut standing = connection.worker.standing();
    let mut told = false;
    let ended = loop {
        if !told && connection.parts(*standing.borrow_and_update()) {
            told = true;
            Pin::new(&mut http).graceful_shutdown();
        }
        tokio::select! {
            biased;
            ended = poll_fn(|cx| http.poll_without_shutdown(cx)) => break Ok(ended),
            cut = connection.overdue() => break Err(cut),
            _ = standing.changed(), if !told => {}
        }
    };
    let last_words = connection.conclude(&ended);
    let abrupt = connection.ends_abruptly(&ended);
    let parts = http.into_parts();
    Over {
        carrier: parts.io.into_inner().carrier,
        // Copied: what is left of hyper's buffer must not keep all of it.
        early: parts.read_buf.to_vec(),
        last_words,
        abrupt,
    }
}

fn builder(listener: &ListenerContext) -> http1::Builder {
    let config = &listener.config;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // `deadlines` bounds heads and idleness, which hyper would not tell apart.
        .header_read_timeout(None)
        .max_headers(config.limits.headers_max)
        .max_header_size(config.limits.header_bytes)
        .max_buf_size(config.limits.header_bytes.max(BUFFER_BYTES))
        .preserve_header_case(true)
        .title_case_headers(true);
    builder
}

impl Connection {
    /// A connection on which nothing has been read yet.
    fn new(
        worker: &Rc<Worker>,
        listener: usize,
        carrier: &Carrier,
        (client, local): (Option<SocketAddr>, Option<SocketAddr>),
    ) -> Rc<Self> {
        let timeouts = &worker.shared.listeners[listener].config.timeouts;
        Rc::new(Self {
            worker: Rc::clone(worker),
            listener,
            client,
            local,
            tls: carrier.is_tls(),
            certificate: carrier.peer_certificate().map(Into::into),
            logins: Pool::default(),
            guard: RefCell::default(),
            requests: Cell::new(0),
            upgrading: Cell::new(false),
            parting: Cell::new(false),
            pending: RefCell::default(),
            farewell: RefCell::default(),
            pulse: Pulse::new(worker.tick()),
            times: Cell::new(Times::of(timeouts)),
            alarm: Notify::new(),
            since: Cell::new(worker.tick()),
            asking: Cell::new(false),
            answering: RefCell::default(),
            until_end: Cell::new(false),
            ending: EndReason::default(),
            interim: RefCell::default(),
        })
    }

    pub(crate) fn listener(&self) -> &ListenerContext {
        &self.worker.shared.listeners[self.listener]
    }

    /// Who speaks to the gateway; whoever reaches a unix socket is on this machine.
    pub(crate) fn peer(&self) -> IpAddr {
        address_or_loopback(self.client)
    }

    /// Whether what the peer says about others is believed.
    pub(crate) fn peer_trusted(&self) -> bool {
        self.listener().config.trusted_proxies.contains(self.peer())
    }

    /// What the peer may not send; `None` of a trusted proxy.
    pub(crate) fn untrusted_headers(&self) -> Option<&UntrustedHeaders> {
        let listed = &self.listener().config.untrusted_headers;
        (!self.peer_trusted()).then_some(listed)
    }

    /// Whether the next request that hyper hands over stood where everybody would see it.
    pub(crate) fn judge_framing(&self) -> Result<(), Smuggling> {
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
    pub(crate) fn is_parting(&self) -> bool {
        self.parting.get()
    }

    /// The request that it has may become a session, or not after all.
    pub(crate) fn set_upgrading(&self, upgrading: bool) {
        self.upgrading.set(upgrading);
    }

    /// Whether no request has come yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.requests.get() == 0
    }

    /// What the client has to send next.
    pub(crate) fn awaited(&self) -> Awaited {
        self.guard.borrow().awaited()
    }

    /// Bytes came from the client.
    pub(crate) fn observe(&self, bytes: &[u8]) {
        let mut guard = self.guard.borrow_mut();
        let before = guard.awaited();
        guard.observe(bytes);
        if before == Awaited::Request && !self.is_fresh() {
            self.since.set(self.worker.tick());
        }
    }

    /// The request that was served has its response's head, or none will come.
    pub(crate) fn asked(&self) {
        self.asking.set(false);
        self.since.set(self.worker.tick());
    }

    /// Puts an interim response before whatever is sent next.
    pub(crate) fn send_interim(&self, response: &[u8]) {
        let mut interim = self.interim.borrow_mut();
        if interim.len() + response.len() <= INTERIM_MAX {
            interim.extend_from_slice(response);
        }
    }

    /// The interim responses that wait, if any do.
    pub(crate) fn interim(&self) -> Option<Vec<u8>> {
        let interim = self.interim.take();
        (!interim.is_empty()).then_some(interim)
    }

    /// Puts back what was not sent of them.
    pub(crate) fn keep_interim(&self, rest: &[u8]) {
        self.interim.borrow_mut().splice(0..0, rest.iter().copied());
    }

    /// Keeps a close frame until its 101 has left.
    pub(crate) fn dismiss(&self, farewell: Farewell) {
        self.farewell.replace(Some(farewell));
    }

    /// Keeps a session until its 101 has left.
    pub(crate) fn grant(&self, pending: Pending) {
        self.pending.replace(Some(pending));
    }
}
