//! Backends inside the test's own process, on free ports. The echo backend records every request,
//! sends messages back, and follows commands (see [`Command`]) that come as text messages; requests
//! that are no upgrade get what their path asks for (see [`plain`]).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// A request as the backend saw it.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    pub target: String,
    pub headers: HeaderMap,
    pub upgrade: bool,
}

impl ReceivedRequest {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("a header is text"))
    }
}

/// Where backends run: beside the tests, so that they go on while a test waits for a process.
fn background() -> &'static Handle {
    static BACKGROUND: LazyLock<Handle> = LazyLock::new(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let handle = runtime.handle().clone();
        thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        handle
    });
    &BACKGROUND
}

/// A listening backend; dropping it ends its listener and its connections.
pub struct Backend {
    pub address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// What a backend and its connections share.
struct State {
    name: String,
    healthy: AtomicBool,
    /// Answered to upgrades instead of 101, if not 0.
    refusal: AtomicUsize,
    accepted: AtomicUsize,
    live: AtomicUsize,
    received: AtomicU64,
    /// Bytes of payload that `!flood` has handed to the system.
    sent: AtomicU64,
    seen: Mutex<Vec<ReceivedRequest>>,
    /// How sessions ended, as the backend saw it: code and reason, or `None` without a close frame.
    ends: Mutex<Vec<Option<(u16, String)>>>,
    events: broadcast::Sender<String>,
}

impl Backend {
    /// An echo backend.
    pub async fn echo() -> Self {
        Self::echo_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// An echo backend at an address that one had before it.
    pub async fn echo_at(address: SocketAddr) -> Self {
        Self::listen(address, |state, stream| serve(state, TokioIo::new(stream))).await
    }

    /// An echo backend that speaks TLS.
    pub async fn echo_tls(config: Arc<ServerConfig>) -> Self {
        let acceptor = TlsAcceptor::from(config);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::listen(any, move |state, stream| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve_upgraded(state, TokioIo::new(stream)).await;
                }
            }
        })
        .await
    }

    /// A backend that serves each connection with this function.
    pub async fn scripted<F>(script: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::listen(any, move |_, stream| script(stream)).await
    }

    async fn listen<F>(
        address: SocketAddr,
        serve: impl Fn(Arc<State>, TcpStream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address)
            .await
            .expect("the address is free");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let state = Arc::new(State {
            name: address.to_string(),
            healthy: AtomicBool::new(true),
            refusal: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            seen: Mutex::default(),
            ends: Mutex::default(),
            events: broadcast::Sender::new(16),
        });
        let shared = Arc::clone(&state);
        let task = background().spawn(async move {
            // The connections end with this task.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                stream.set_nodelay(true).ok();
                connections.spawn(serve(Arc::clone(&shared), stream));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            state,
            task,
        }
    }

    /// What `probe = { type = "http", path = "/healthz" }` and the upgrade to that path get.
    pub fn set_healthy(&self, healthy: bool) {
        self.state.healthy.store(healthy, Ordering::Relaxed);
    }

    /// Answers upgrades with this status from now on; 0 accepts them again.
    pub fn refuse_with(&self, status: usize) {
        self.state.refusal.store(status, Ordering::Relaxed);
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::Relaxed)
    }

    /// Sessions that live now.
    pub fn live(&self) -> usize {
        self.state.live.load(Ordering::Relaxed)
    }

    /// Bytes of payload received in messages so far.
    pub fn received(&self) -> u64 {
        self.state.received.load(Ordering::Relaxed)
    }

    /// Bytes of payload that `!flood` has sent so far.
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::Relaxed)
    }

    /// Requests seen so far, probes (`/healthz`) left out.
    pub fn seen(&self) -> Vec<ReceivedRequest> {
        let seen = self.state.seen.lock().expect("no handler panicked");
        seen.iter()
            .filter(|seen| !seen.target.starts_with("/healthz"))
            .cloned()
            .collect()
    }

    /// The last such request.
    pub fn last_seen(&self) -> ReceivedRequest {
        self.seen().pop().expect("the backend saw a request")
    }

    /// How sessions ended here.
    pub fn ends(&self) -> Vec<Option<(u16, String)>> {
        self.state.ends.lock().expect("no handler panicked").clone()
    }

    /// Sends an event to everybody who reads `/events`.
    pub fn publish(&self, event: &str) {
        self.state.events.send(event.to_owned()).ok();
    }

    /// Ends listener and connections, and waits until the port is free.
    pub async fn stop(mut self) -> SocketAddr {
        self.task.abort();
        (&mut self.task).await.ok();
        self.address
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// For scripted backends: reads a request's head and leaves what follows.
pub async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return String::new();
        };
        head.push(byte);
    }
    String::from_utf8(head).expect("the gateway writes text")
}

/// For scripted backends: the right 101 for the request with this head.
pub fn switching(head: &str) -> String {
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key")
            .then(|| value.trim())
    });
    let accept = derive_accept_key(key.unwrap_or_default().as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// For scripted backends: both.
pub async fn upgrade(stream: &mut TcpStream) {
    let head = read_head(stream).await;
    stream.write_all(switching(&head).as_bytes()).await.ok();
}

/// For scripted backends: waits until the gateway ends the connection.
pub async fn wait_for_end(stream: &mut TcpStream) {
    stream.read_to_end(&mut Vec::new()).await.ok();
}

/// A plain connection: after the 101 the socket is taken out of hyper, so that it can be reset.
async fn serve(state: Arc<State>, io: TokioIo<TcpStream>) {
    let upgraded = Arc::new(Mutex::new(None));
    serve_http(Arc::clone(&state), io, Arc::clone(&upgraded)).await;
    let Some((pending, seen)) = upgraded.lock().expect("one holder").take() else {
        return;
    };
    let Ok(upgraded) = pending.await else { return };
    let parts = upgraded
        .downcast::<TokioIo<TcpStream>>()
        .expect("it went in as this type");
    let (stream, ahead) = (parts.io.into_inner(), parts.read_buf.to_vec());
    let socket = WebSocketStream::from_partially_read(stream, ahead, Role::Server, config());
    echo(&state, &seen, socket.await, |stream| {
        stream.set_zero_linger().expect("an open socket");
    })
    .await;
}

/// Any other connection.
async fn serve_upgraded<S>(state: Arc<State>, io: TokioIo<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let upgraded = Arc::new(Mutex::new(None));
    serve_http(Arc::clone(&state), io, Arc::clone(&upgraded)).await;
    let Some((pending, seen)) = upgraded.lock().expect("one holder").take() else {
        return;
    };
    let Ok(upgraded) = pending.await else { return };
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, config());
    echo(&state, &seen, socket.await, |_| {}).await;
}

type Pending = Arc<Mutex<Option<(hyper::upgrade::OnUpgrade, ReceivedRequest)>>>;

/// Serves requests until an upgrade or the end; what was upgraded is left in `pending`.
async fn serve_http<I>(state: Arc<State>, io: I, pending: Pending)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (state, pending) = (Arc::clone(&state), Arc::clone(&pending));
        async move {
            let seen = ReceivedRequest {
                target: request.uri().to_string(),
                headers: request.headers().clone(),
                upgrade: request.headers().contains_key(UPGRADE),
            };
            state
                .seen
                .lock()
                .expect("no handler panicked")
                .push(seen.clone());
            if !seen.upgrade {
                return Ok::<_, Infallible>(plain(&state, request).await);
            }
            if let Some(status) = refusal(&state, &seen) {
                return Ok(answer(status, "no"));
            }
            let on_upgrade = hyper::upgrade::on(&mut request);
            *pending.lock().expect("one holder") = Some((on_upgrade, seen));
            Ok(switch(&request))
        }
    });
    let server = hyper::server::conn::http1::Builder::new();
    server
        .serve_connection(io, service)
        .with_upgrades()
        .await
        .ok();
}

fn refusal(state: &State, seen: &ReceivedRequest) -> Option<u16> {
    if seen.target.starts_with("/healthz") && !state.healthy.load(Ordering::Relaxed) {
        return Some(503);
    }
    u16::try_from(state.refusal.load(Ordering::Relaxed))
        .ok()
        .filter(|&status| status != 0)
}

/// The 101; of the subprotocols offered, `chat.v2` is taken, or `chat.v1`.
fn switch(request: &Request<Incoming>) -> Response<Body> {
    let key = request
        .headers()
        .get("sec-websocket-key")
        .map_or(&b""[..], |key| key.as_bytes());
    let mut response = Response::builder()
        .status(101)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header("x-from-backend", "yes")
        .header(SEC_WEBSOCKET_ACCEPT, derive_accept_key(key));
    let offered = request
        .headers()
        .get(SEC_WEBSOCKET_PROTOCOL)
        .and_then(|value| value.to_str().ok());
    let offered: Vec<&str> = offered.unwrap_or("").split(',').map(str::trim).collect();
    if let Some(taken) = ["chat.v2", "chat.v1"]
        .iter()
        .find(|name| offered.contains(name))
    {
        response = response.header(SEC_WEBSOCKET_PROTOCOL, *taken);
    }
    response
        .body(
            Full::default()
                .map_err(|never| match never {})
                .boxed_unsync(),
        )
        .expect("a valid response")
}

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

fn answer(status: u16, text: &str) -> Response<Body> {
    let body = Full::from(text.to_owned())
        .map_err(|never| match never {})
        .boxed_unsync();
    Response::builder()
        .status(status)
        .body(body)
        .expect("a valid response")
}

/// Requests that are no upgrade, by path: `/status/204`, `/echo` (the body back as it comes, with
/// its trailers), `/events` (server-sent events, see [`Backend::publish`]), `/headers` (JSON),
/// `/healthz`; all others get the backend's name.
async fn plain(state: &Arc<State>, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    if let Some(status) = path
        .strip_prefix("/status/")
        .and_then(|code| code.parse().ok())
    {
        let empty = matches!(status, 204 | 304);
        return answer(status, if empty { "" } else { "as asked" });
    }
    match path.as_str() {
        "/healthz" if !state.healthy.load(Ordering::Relaxed) => answer(503, "unwell"),
        "/echo" => {
            let announced = request.headers().get("trailer").cloned();
            let mut response = Response::new(request.into_body().boxed_unsync());
            if let Some(announced) = announced {
                response.headers_mut().insert("trailer", announced);
            }
            response
        }
        "/events" => events(state),
        "/headers" => {
            let headers = request.headers().iter().map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into(),
                )
            });
            let headers: serde_json::Map<String, serde_json::Value> = headers.collect();
            answer(200, &serde_json::Value::Object(headers).to_string())
        }
        _ => answer(200, &state.name),
    }
}

fn events(state: &State) -> Response<Body> {
    let events = state.events.subscribe();
    let frames = futures_util::stream::unfold(events, |mut events| async {
        let event: String = events.recv().await.ok()?;
        Some((
            Ok(Frame::data(Bytes::from(format!("data: {event}\n\n")))),
            events,
        ))
    });
    let body = StreamBody::new(frames).boxed_unsync();
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(body)
        .expect("valid")
}

fn config() -> Option<WebSocketConfig> {
    Some(
        WebSocketConfig::default()
            .read_buffer_size(4096)
            .write_buffer_size(0)
            .max_message_size(None)
            .max_frame_size(None),
    )
}

/// A text message that begins with `!` is not sent back, but done.
enum Command {
    /// `!who`: answers with the backend's address.
    Who,
    /// `!seen`: answers with target and headers of the request, as JSON.
    Seen,
    /// `!close 4001 reason`; `!restart` is `!close 1012 restarting`.
    Close(u16, String),
    /// `!end`: closes the TCP connection without a close frame.
    End,
    /// `!reset`: resets it.
    Reset,
    /// `!ping payload`
    Ping(String),
    /// `!sleep`: reads nothing any more.
    Sleep,
    /// `!flood count size`: sends that many binary messages of that size.
    Flood(usize, usize),
}

impl Command {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_prefix('!')?.splitn(3, ' ');
        let (verb, first, second) = (words.next()?, words.next(), words.next());
        Some(match verb {
            "who" => Self::Who,
            "seen" => Self::Seen,
            "close" => Self::Close(first?.parse().ok()?, second.unwrap_or("").to_owned()),
            "restart" => Self::Close(1012, "restarting".to_owned()),
            "end" => Self::End,
            "reset" => Self::Reset,
            "ping" => Self::Ping(first?.to_owned()),
            "sleep" => Self::Sleep,
            "flood" => Self::Flood(first?.parse().ok()?, second?.parse().ok()?),
            _ => return None,
        })
    }
}

/// A session: echoes and commands to its end, which is recorded.
async fn echo<S>(
    state: &State,
    seen: &ReceivedRequest,
    mut socket: WebSocketStream<S>,
    reset: impl Fn(&S),
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let _live = Live::new(&state.live);
    let mut end = None;
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() || message.is_binary() {
            let bytes = message.len() as u64;
            state.received.fetch_add(bytes, Ordering::Relaxed);
        }
        let sent = match &message {
            Message::Close(frame) => {
                end = frame
                    .as_ref()
                    .map(|frame| (u16::from(frame.code), frame.reason.to_string()));
                continue;
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            Message::Text(text) => match Command::parse(text) {
                None => socket.send(message).await,
                Some(Command::Who) => socket.send(Message::text(state.name.clone())).await,
                Some(Command::Seen) => socket.send(Message::text(describe(seen))).await,
                Some(Command::Close(code, reason)) => {
                    let frame = CloseFrame {
                        code: code.into(),
                        reason: reason.into(),
                    };
                    socket.close(Some(frame)).await
                }
                Some(Command::End) => return,
                Some(Command::Reset) => return reset(socket.get_ref()),
                Some(Command::Ping(payload)) => socket.send(Message::Ping(payload.into())).await,
                Some(Command::Sleep) => std::future::pending().await,
                Some(Command::Flood(count, size)) => flood(state, &mut socket, count, size).await,
            },
            Message::Binary(_) => socket.send(message).await,
        };
        if sent.is_err() {
            break;
        }
    }
    state.ends.lock().expect("no handler panicked").push(end);
}

async fn flood<S>(
    state: &State,
    socket: &mut WebSocketStream<S>,
    count: usize,
    size: usize,
) -> Result<(), tokio_tungstenite::tungstenite::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let payload = Bytes::from(vec![b'f'; size]);
    for _ in 0..count {
        socket.send(Message::Binary(payload.clone())).await?;
        state.sent.fetch_add(size as u64, Ordering::Relaxed);
    }
    Ok(())
}

fn describe(seen: &ReceivedRequest) -> String {
    let headers: serde_json::Map<String, serde_json::Value> = seen
        .headers
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into(),
            )
        })
        .collect();
    serde_json::json!({ "target": seen.target, "headers": headers }).to_string()
}

/// Counts a session while it lives, also when its task is aborted.
struct Live<'a>(&'a AtomicUsize);

impl<'a> Live<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
