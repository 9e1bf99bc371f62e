//! The admin API's own little server: one address, few connections, on the control runtime.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Router, body};
use hyper::body::Incoming as HyperBody;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::admin::Gateway;
use crate::admin::guard::{Guard, Holder};
use crate::admin::problem::Problem;
use crate::admin::resources::resources;
use crate::base::addr::ListenAddr;
use crate::config::snapshot::Admin;
use crate::core::auth::certificate_holder;
use crate::io::carrier::Carrier;
use crate::io::net::listener::{self, BindError, Inheritance, ListenOptions, Owner};
use crate::io::net::socket::Socket;

/// Connections at once; more wait in the backlog.
const CONNECTIONS_MAX: usize = 256;
/// For a TLS handshake.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// For a request's head, and between requests of one connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request's body.
const BODY_MAX: usize = 64 * 1024;
/// For answers that are under way when the gateway ends.
const GRACE: Duration = Duration::from_secs(2);

/// Bound, and not serving yet: operators' requests queue.
#[derive(Debug)]
pub struct Bound {
    socket: listener::Bound,
    tls: Option<Arc<ServerConfig>>,
    guard: Guard,
}

/// Binds the address of the admin API; `tls` is what its settings ask for.
///
/// # Errors
/// When it cannot be listened on.
pub fn bind(
    admin: &Admin,
    tls: Option<Arc<ServerConfig>>,
    inheritance: &mut Inheritance,
) -> Result<Bound, BindError> {
    let options = ListenOptions {
        backlog: 128,
        keepalive: Some(Duration::from_secs(60)),
    };
    let listen = std::slice::from_ref(&admin.listen);
    let mut sockets = listener::bind_all(listen, options, &Owner::Admin, inheritance)?;
    Ok(Bound {
        socket: sockets.remove(0),
        tls,
        guard: Guard::new(admin),
    })
}

impl Bound {
    /// Where it listens: port 0 has become the port that the system chose.
    pub fn address(&self) -> &ListenAddr {
        self.socket.address()
    }

    /// A second handle to the socket.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn share(&self) -> io::Result<listener::Bound> {
        self.socket.share()
    }

    /// Answers until `shutdown` comes, and then what was asked already.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub async fn serve(
        self,
        gateway: Arc<Gateway>,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let mut acceptor = self.socket.start()?;
        let mut accepting = gateway.live.accepting();
        let (router, tls) = (router(gateway, self.guard), self.tls);
        let (stop, stopping) = watch::channel(());
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let open = *accepting.borrow_and_update() && connections.len() < CONNECTIONS_MAX;
            tokio::select! {
                () = &mut shutdown => break,
                Ok(()) = accepting.changed() => {}
                Some(_) = connections.join_next() => {}
                accepted = acceptor.accept(), if open => {
                    match accepted.map(|incoming| incoming.socket.attach()) {
                        Ok(Ok(socket)) => {
                            let (router, stopping) = (router.clone(), stopping.clone());
                            connections.spawn(admit_peer(socket, tls.clone(), router, stopping));
                        }
                        Ok(Err(error)) => tracing::warn!(%error, "admin connection lost"),
                        Err(error) => tracing::warn!(%error, source = %error.source, "admin"),
                    }
                }
            }
        }
        drop(stop);
        let done = async { while connections.join_next().await.is_some() {} };
        // Whoever is still reading by then is cut off with the rest of the gateway.
        let _ = timeout(GRACE, done).await;
        Ok(())
    }
}

/// One connection with or without TLS, until it closes or the gateway ends.
async fn admit_peer(
    socket: Socket,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    stopping: watch::Receiver<()>,
) {
    let carrier = match tls {
        None => Carrier::from(socket),
        Some(tls) => match timeout(TLS_TIMEOUT, Carrier::accept_tls(socket, tls)).await {
            Ok(Ok(carrier)) => carrier,
            Ok(Err(error)) => return tracing::debug!(%error, "admin connection without TLS"),
            Err(_) => return tracing::debug!("admin connection: TLS takes too long"),
        },
    };
    converse(carrier, router, stopping).await;
}

async fn converse(carrier: Carrier, router: Router, mut stopping: watch::Receiver<()>) {
    let holder = carrier.peer_certificate().and_then(certificate_holder);
    let holder = holder.map(|(subject, expires)| Holder { subject, expires });
    let service = service_fn(move |mut request: hyper::Request<HyperBody>| {
        if let Some(holder) = holder.clone() {
            request.extensions_mut().insert(holder);
        }
        router.clone().oneshot(request.map(body::Body::new))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(carrier), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        // An error says that the sender is gone, which is the sign.
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "admin connection broke");
    }
}

/// All resources behind the guard.
pub(super) fn router(gateway: Arc<Gateway>, guard: Guard) -> Router {
    let mut router = Router::new();
    for resource in resources() {
        router = router.route(resource.path, resource.handler);
    }
    router
        .fallback(async |uri: Uri| {
            Problem::not_found(format!("no resource {}; GET / lists them", uri.path()))
        })
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            let detail = format!("{} does not take {method}", uri.path());
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn_with_state(guard, admit))
        .with_state(gateway)
}

async fn admit(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let holder = request.extensions().get::<Holder>();
    let (method, path) = (request.method(), request.uri().path());
    let mut response = match guard.check(method, path, request.headers(), holder) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
