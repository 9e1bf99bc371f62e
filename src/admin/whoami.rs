//! The identity and the role that a request has, so that a client offers only what it may do.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::Gateway;
use crate::admin::extract::Caller;

/// Its path.
pub(super) const PATH: &str = "/v1/whoami";

/// The client of this request.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Identity {
    /// As in records: the subject of the client's certificate, else `token`, `read_token` or
    /// `local`. Null for a client that is not accepted.
    operator: Option<String>,
    /// `operate`, `read` for a client that changes nothing, or `none` for one that is not accepted.
    role: &'static str,
    /// The name of the gateway, for clients that are accepted.
    node: Option<String>,
}

/// The answer to a client that has no credential, or one that is not accepted. It is no problem: a
/// browser writes those to its console, and the dashboard begins with this question.
pub(super) fn stranger(method: &Method, path: &str, refused: StatusCode) -> Option<Response> {
    let stranger = Identity {
        operator: None,
        role: "none",
        node: None,
    };
    let asks = *method == Method::GET && path == PATH && refused == StatusCode::UNAUTHORIZED;
    asks.then(|| Json(stranger).into_response())
}

pub(super) async fn show(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Json<Identity> {
    Json(Identity {
        operator: Some(caller.name.to_string()),
        role: caller.role.as_str(),
        node: Some(gateway.node.to_string()),
    })
}
