//! The server of the admin API: one address, few connections, on the control runtime. `connection`
//! serves one of them, `connections` bounds their number.

use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::admin::Gateway;
use crate::admin::connection::{Serving, serve};
use crate::admin::connections::Connections;
use crate::admin::extract::{Caller, Peer};
use crate::admin::fleet::{named, node_header, scoped};
use crate::admin::guard::{Guard, Holder};
use crate::admin::problem::Problem;
use crate::admin::resources::resources;
use crate::admin::{ui, whoami};
use crate::base::addr::ListenAddr;
use crate::base::text::escape_json;
use crate::config::snapshot::Admin;
use crate::io::net::listener::{self, BindError, Inheritance, ListenOptions, Owner};
use crate::io::tls::server::ServerTls;

/// Largest request body, in bytes.
const BODY_MAX: usize = 64 * 1024;
/// Time for answers in progress when the gateway ends.
const GRACE: Duration = Duration::from_secs(2);

/// Bound, but not serving yet: requests queue.
#[derive(Debug)]
pub struct Bound {
    socket: listener::Bound,
    tls: Option<Arc<ServerTls>>,
    guard: Guard,
}

/// Binds the address of the admin API; `tls` is built from its settings.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(
    admin: &Admin,
    tls: Option<Arc<ServerTls>>,
    inheritance: &mut Inheritance,
) -> Result<Bound, BindError> {
    let options = ListenOptions {
        backlog: 128,
        keepalive: Some(Duration::from_secs(60)),
        mode: admin.socket_mode,
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
    /// The bound address: port 0 has become the port that the system chose.
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

    /// Serves until `shutdown`, then finishes the requests in progress.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub async fn serve(
        self,
        gateway: Arc<Gateway>,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let accepting = gateway.live.accepting();
        let router = router(gateway, self.guard);
        let serving = RouterServer {
            socket: self.socket,
            tls: self.tls,
            router,
        };
        serving.serve(accepting, shutdown).await
    }
}

/// A router on a listening socket.
pub(crate) struct RouterServer {
    /// Where it listens.
    pub(crate) socket: listener::Bound,
    /// Set where it speaks TLS.
    pub(crate) tls: Option<Arc<ServerTls>>,
    /// What it serves.
    pub(crate) router: Router,
}

impl RouterServer {
    /// Serves until `shutdown`, then finishes the requests in progress. Connections are accepted
    /// while `accepting` says so.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub(crate) async fn serve(
        self,
        mut accepting: watch::Receiver<bool>,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let mut acceptor = self.socket.start()?;
        let (router, tls) = (self.router, self.tls);
        let (stop, stopping) = watch::channel(());
        let turns = Arc::new(Semaphore::new(1));
        let mut tasks = JoinSet::new();
        let mut connections = Connections::default();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let open = *accepting.borrow_and_update();
            tokio::select! {
                () = &mut shutdown => break,
                Ok(()) = accepting.changed() => {}
                Some(_) = tasks.join_next() => {}
                accepted = acceptor.accept(), if open => {
                    match accepted.map(|one| (one.peer, one.socket.attach())) {
                        Ok((peer, Ok(socket))) => {
                            let serving = Serving {
                                router: router.clone(),
                                tls: tls.clone(),
                                stopping: stopping.clone(),
                                turns: Arc::clone(&turns),
                            };
                            let peer = peer.map(|peer| peer.ip());
                            let task = tasks.spawn(serve(socket, peer, serving));
                            connections.enter(peer, task);
                        }
                        Ok((_, Err(error))) => tracing::warn!(%error, "admin connection lost"),
                        Err(error) => tracing::warn!(%error, source = %error.source, "admin"),
                    }
                }
            }
        }
        drop(stop);
        let done = async { while tasks.join_next().await.is_some() {} };
        // Answers still in progress are cut off with the rest of the gateway.
        let _ = timeout(GRACE, done).await;
        Ok(())
    }
}

/// All resources, behind the guard.
pub(super) fn router(gateway: Arc<Gateway>, guard: Guard) -> Router {
    let node = node_header(&gateway.node);
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
        .layer(middleware::from_fn_with_state(Arc::clone(&gateway), scoped))
        .layer(middleware::from_fn_with_state(node, named))
        .layer(middleware::from_fn_with_state(guard, admit))
        .with_state(gateway)
}

async fn admit(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let is_dashboard = path.starts_with(ui::PAGE);
    // The redirect is the same for everyone, and a browser has no token yet.
    let response = match ui::redirect(method, path, request.headers()) {
        Some(redirect) => redirect,
        None => guarded(&guard, request, next).await,
    };
    let mut response = visible(response).await;
    let headers = response.headers_mut();
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if is_dashboard {
        ui::protect(headers);
    }
    response
}

async fn guarded(guard: &Guard, mut request: Request, next: Next) -> Response {
    let holder = request.extensions().get::<Holder>();
    let (method, path) = (request.method(), request.uri().path());
    match guard.check(method, path, request.headers(), holder) {
        Ok(role) => {
            let name = guard.name(request.headers(), request.extensions().get());
            let peer = request.extensions().get().and_then(|Peer(peer)| *peer);
            request.extensions_mut().insert(Caller { role, name, peer });
            next.run(request).await
        }
        Err(problem) => match whoami::stranger(method, path, problem.status()) {
            Some(answer) => answer,
            None => problem.into_response(),
        },
    }
}

/// Escapes control characters: JSON answers contain texts of clients, and people read them in
/// terminals.
async fn visible(response: Response) -> Response {
    let kind = response.headers().get(CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().ends_with(b"json")) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let bytes = match to_bytes(body, usize::MAX).await {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::error!(%error, "an answer of the admin API broke off");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let escaped = match std::str::from_utf8(&bytes).map(escape_json) {
        Ok(Cow::Owned(escaped)) => escaped,
        Ok(Cow::Borrowed(_)) | Err(_) => return Response::from_parts(head, bytes.into()),
    };
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, escaped.into())
}
