//! The listener of the publishing API and its router.

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware;
use axum::routing::{get, post, put};

use crate::admin::api_socket::{ApiSettings, ApiSocket};
use crate::admin::problem::Problem;
use crate::config::snapshot::Publish;
use crate::io::net::listener::{BindError, Inheritance, Owner};
use crate::io::tls::server::ServerTls;
use crate::publish::{Publisher, connections, grip, groups, guard, messages, openapi};

/// Binds the address of the publishing API; `tls` is built from its settings.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(
    settings: &Publish,
    tls: Option<Arc<ServerTls>>,
    inheritance: &mut Inheritance,
) -> Result<ApiSocket, BindError> {
    let settings = ApiSettings {
        listen: &settings.listen,
        backlog: 1024,
        mode: settings.socket_mode,
        owner: Owner::Publish,
    };
    ApiSocket::bind(&settings, tls, inheritance)
}

/// Serves until `shutdown`, then finishes the requests in progress.
///
/// # Errors
/// When the runtime cannot watch the socket.
pub async fn serve(
    socket: ApiSocket,
    publisher: Arc<Publisher>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let accepting = publisher.live.accepting();
    socket.serve(router(publisher), accepting, shutdown).await
}

fn router(publisher: Arc<Publisher>) -> Router {
    let body_max = publisher.body_max();
    let guarded = Router::new()
        .route("/v1/messages", post(messages::publish))
        .route("/v1/groups/{group}", get(groups::members))
        .route("/v1/groups/{group}/events", get(groups::follow))
        .route(
            "/v1/groups/{group}/sessions/{id}",
            put(groups::join).delete(groups::leave),
        )
        .layer(middleware::from_fn_with_state(
            Arc::clone(&publisher),
            guard::admit,
        ));
    guarded
        .route("/openapi.json", get(openapi::show))
        .merge(connections::router())
        .merge(grip::router())
        .fallback(async |uri: Uri| {
            let detail = format!("no resource {}; see /openapi.json", uri.path());
            Problem::not_found(detail)
        })
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            let detail = format!("{} does not take {method}", uri.path());
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
        })
        .layer(DefaultBodyLimit::max(body_max))
        .with_state(publisher)
}
