//! The server of the admin API: one address, few connections, on the control runtime. `api_socket`
//! accepts them, `connection` serves one of them, `connections` bounds their number.

use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use crate::admin::Gateway;
use crate::admin::api_socket::{ApiSettings, ApiSocket};
use crate::admin::extract::{Caller, Peer};
use crate::admin::fleet::{named, node_header, scoped};
use crate::admin::guard::{Guard, Holder};
use crate::admin::problem::Problem;
use crate::admin::resources::resources;
use crate::admin::{stream_end, ui, whoami};
use crate::base::addr::ListenAddr;
use crate::base::text::escape_json;
use crate::config::snapshot::Admin;
use crate::io::net::listener::{self, BindError, Inheritance, Owner};
use crate::io::tls::server::ServerTls;

/// Largest request body, in bytes.
const BODY_MAX: usize = 64 * 1024;

/// Bound, but not serving yet: requests queue.
#[derive(Debug)]
pub struct Bound {
    socket: ApiSocket,
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
    let settings = ApiSettings {
        listen: &admin.listen,
        backlog: 128,
        mode: admin.socket_mode,
        owner: Owner::Admin,
    };
    Ok(Bound {
        socket: ApiSocket::bind(&settings, tls, inheritance)?,
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
        self.socket.serve(router, accepting, shutdown).await
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
            let end = guard.end(request.headers(), request.extensions().get());
            request.extensions_mut().insert(Caller { role, name, peer });
            stream_end::until(end, next.run(request).await)
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
