//! One connection of the admin API: TLS, then HTTP until it ends. The same guard that watches
//! clients of the data plane watches it: a request that could be read in two ways is refused.

use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming as HyperBody;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Semaphore, watch};
use tokio::task::yield_now;
use tokio::time::{Sleep, sleep, timeout};
use tower::ServiceExt as _;

use crate::admin::extract::Peer;
use crate::admin::guard::Holder;
use crate::admin::problem::Problem;
use crate::core::auth::certificate_holder;
use crate::core::wire::request_guard::RequestGuard;
use crate::io::carrier::Carrier;
use crate::io::net::socket::Socket;
use crate::io::tls::server::ServerTls;

/// Limit on a TLS handshake.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// Limit on reading a request's head, and on idling between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Limit on the time in which a client accepts no bytes of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest request head, in bytes.
const HEAD_MAX: usize = 32 * 1024;

/// What a connection serves, and until when.
pub(super) struct Serving {
    pub(super) router: Router,
    pub(super) tls: Option<Arc<ServerTls>>,
    pub(super) stopping: watch::Receiver<()>,
    /// One turn for all connections.
    pub(super) turns: Arc<Semaphore>,
}

/// Serves a connection until it closes or the gateway ends.
pub(super) async fn serve(socket: Socket, peer: Option<IpAddr>, serving: Serving) {
    let Serving {
        router,
        tls,
        stopping,
        turns,
    } = serving;
    let carrier = match tls {
        None => Carrier::from(socket),
        Some(tls) => match timeout(TLS_TIMEOUT, Carrier::accept_tls(socket, &tls)).await {
            Ok(Ok(carrier)) => carrier,
            Ok(Err(error)) => return tracing::debug!(%error, "admin connection without TLS"),
            Err(_) => return tracing::debug!("admin connection: TLS takes too long"),
        },
    };
    let holder = carrier.peer_certificate().and_then(certificate_holder);
    let holder = holder.map(|(subject, expires)| Holder { subject, expires });
    let guard = Arc::<Mutex<RequestGuard>>::default();
    let client = Client {
        router,
        peer,
        holder,
        guard: Arc::clone(&guard),
        requests: AtomicU64::new(0),
        turns,
    };
    let watched = Watched {
        carrier,
        guard,
        stall: None,
    };
    converse(watched, client, stopping).await;
}

async fn converse(watched: Watched, client: Client, mut stopping: watch::Receiver<()>) {
    let client = Arc::new(client);
    let service = service_fn(move |request| {
        let client = Arc::clone(&client);
        async move { client.answer(request).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(HEAD_MAX)
        .serve_connection(TokioIo::new(watched), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        // A dropped sender means stop.
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "admin connection broke");
    }
}

/// The client of a connection.
struct Client {
    router: Router,
    peer: Option<IpAddr>,
    holder: Option<Holder>,
    guard: Arc<Mutex<RequestGuard>>,
    /// Requests that hyper has handed over.
    requests: AtomicU64,
    turns: Arc<Semaphore>,
}

impl Client {
    async fn answer(
        &self,
        mut request: hyper::Request<HyperBody>,
    ) -> Result<Response, std::convert::Infallible> {
        let index = self.requests.fetch_add(1, Ordering::Relaxed);
        let verdict = locked(&self.guard).verdict(index);
        if let Err(fault) = verdict {
            let detail = format!("malformed request: {fault}");
            let problem = Problem::new(StatusCode::BAD_REQUEST, detail);
            let mut response = problem.into_response();
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
            return Ok(response);
        }
        request.extensions_mut().insert(Peer(self.peer));
        if let Some(holder) = self.holder.clone() {
            request.extensions_mut().insert(holder);
        }
        let probes = matches!(request.uri().path(), "/livez" | "/readyz");
        let answer = self.router.clone().oneshot(request.map(Body::new));
        match probes {
            true => answer.await,
            false => self.in_turn(answer).await,
        }
    }

    /// Begins `work` when it is this connection's turn. Most answers are made in one go, and the
    /// control plane has one thread: between any two of them everything else goes on, however many
    /// requests wait on however many connections. What waits for something gives its turn away.
    async fn in_turn<T>(&self, work: impl Future<Output = T>) -> T {
        let turn = self.turns.acquire().await;
        yield_now().await;
        let mut work = pin!(work);
        let first = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
        drop(turn);
        match first {
            Poll::Ready(done) => done,
            Poll::Pending => work.await,
        }
    }
}

fn locked(guard: &Mutex<RequestGuard>) -> std::sync::MutexGuard<'_, RequestGuard> {
    guard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client's stream, whose bytes pass the request guard before hyper. A client that stops reading
/// its answer loses the connection.
struct Watched {
    carrier: Carrier,
    guard: Arc<Mutex<RequestGuard>>,
    /// Runs while the client accepts no bytes.
    stall: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    fn within_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stall = None;
            return poll;
        }
        let stall = self
            .stall
            .get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT)));
        match stall.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.carrier).poll_read(cx, buffer);
        let new = &buffer.filled()[before..];
        if !new.is_empty() {
            locked(&self.guard).observe(new);
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
        let poll = Pin::new(&mut self.carrier).poll_write(cx, bytes);
        self.within_time(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.carrier).poll_write_vectored(cx, bytes);
        self.within_time(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.carrier.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.carrier).poll_flush(cx);
        self.within_time(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.carrier).poll_shutdown(cx);
        self.within_time(cx, poll)
    }
}

#[cfg(test)]
mod tests;
