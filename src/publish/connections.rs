//! `/@connections/{id}`: the management API of AWS API Gateway for WebSockets, so that code that is
//! written for it talks to sessions here. Requests are signed (`sigv4`) or have a bearer token.
//! A stage in front of the path is skipped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::json;
use tokio::time::timeout;

use crate::base::clock;
use crate::base::message::Message;
use crate::base::session_id::SessionId;
use crate::base::target::Target;
use crate::control::messages::{Lookup, Published};
use crate::core::messages::delivery::{Publication, Recipient};
use crate::core::messages::signal::{Answer, Question};
use crate::publish::Publisher;
use crate::publish::guard::{self, Caller};
use crate::publish::sigv4;

/// Largest payload that AWS takes.
const PAYLOAD_MAX: usize = 128 * 1024;
/// For the body to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// For other gateways to say what became of a message.
const COUNTS_MAX: Duration = Duration::from_secs(3);
/// The first segment of the path.
const CONNECTIONS: &str = "@connections";

static ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// An answer that is an error, as clients of AWS read it.
#[derive(Debug)]
struct Failure(StatusCode, &'static str, String);

impl Failure {
    fn forbidden(message: impl Into<String>) -> Self {
        Self(StatusCode::FORBIDDEN, "ForbiddenException", message.into())
    }

    fn gone() -> Self {
        Self(
            StatusCode::GONE,
            "GoneException",
            "the connection is gone".to_owned(),
        )
    }

    /// Not all nodes have answered, so that another one may have the session. Clients of AWS try
    /// again.
    fn unknown() -> Self {
        Self(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailableException",
            "not all gateways have answered".to_owned(),
        )
    }

    fn too_large(most: usize) -> Self {
        let message = format!("a payload has at most {most} bytes");
        Self(
            StatusCode::PAYLOAD_TOO_LARGE,
            "PayloadTooLargeException",
            message,
        )
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(status, kind, message) = self;
        let kind = [(&ERROR_TYPE, HeaderValue::from_static(kind))];
        (status, kind, Json(json!({ "message": message }))).into_response()
    }
}

pub(super) fn router() -> Router<Arc<Publisher>> {
    Router::new()
        .route("/{connections}/{id}", any(at_root))
        .route("/{stage}/{connections}/{id}", any(at_stage))
}

async fn at_root(
    publisher: State<Arc<Publisher>>,
    Path((name, id)): Path<(String, String)>,
    request: Request,
) -> Response {
    answer(publisher, &name, &id, request).await
}

async fn at_stage(
    publisher: State<Arc<Publisher>>,
    Path((_, name, id)): Path<(String, String, String)>,
    request: Request,
) -> Response {
    answer(publisher, &name, &id, request).await
}

async fn answer(
    State(publisher): State<Arc<Publisher>>,
    name: &str,
    id: &str,
    request: Request,
) -> Response {
    if name != CONNECTIONS {
        let detail = format!("no resource {}; see /openapi.json", request.uri().path());
        return crate::admin::problem::Problem::not_found(detail).into_response();
    }
    let handled = handle(&publisher, id, request).await;
    handled.unwrap_or_else(IntoResponse::into_response)
}

async fn handle(publisher: &Publisher, id: &str, request: Request) -> Result<Response, Failure> {
    let (head, body) = request.into_parts();
    let most = PAYLOAD_MAX.min(publisher.settings.message_bytes);
    let body = timeout(BODY_TIMEOUT, to_bytes(body, most)).await;
    let body = body
        .ok()
        .and_then(Result::ok)
        .ok_or_else(|| Failure::too_large(most))?;
    let caller = caller(publisher, &head, &body)?;
    let id: SessionId = id.parse().map_err(|_| Failure::gone())?;
    let target = Target::Session(id);
    let allowed = caller.check(&target);
    allowed.map_err(|problem| Failure::forbidden(problem.detail()))?;
    match head.method {
        Method::POST => post(publisher, target, body).await,
        Method::GET => get(publisher, id).await,
        Method::DELETE => delete(publisher, id, caller.name()).await,
        _ => Err(Failure(
            StatusCode::METHOD_NOT_ALLOWED,
            "ForbiddenException",
            format!("{} is not a method of connections", head.method),
        )),
    }
}

fn caller(publisher: &Publisher, head: &Parts, body: &[u8]) -> Result<Caller, Failure> {
    let tokens = &publisher.settings.tokens;
    if !sigv4::is_signed(head) {
        let caller = guard::caller(tokens, &head.headers);
        return caller.map_err(|problem| Failure::forbidden(problem.detail()));
    }
    let place = sigv4::verify(tokens, head, body, clock::wall());
    let place = place.map_err(|error| Failure::forbidden(error.to_string()))?;
    Caller::new(tokens, place).map_err(|problem| Failure::forbidden(problem.detail()))
}

/// Sends one message: of text if the payload is UTF-8, else binary.
async fn post(publisher: &Publisher, target: Target, body: Bytes) -> Result<Response, Failure> {
    let message = match std::str::from_utf8(&body) {
        Ok(text) => Message::Text(text.into()),
        Err(_) => Message::Binary(body[..].into()),
    };
    let publication = Publication {
        id: None,
        to: vec![target],
        except: Vec::new(),
        side: Recipient::Client,
        message,
        expires: None,
    };
    let publishing = publisher
        .messages
        .publish(publication, Some(COUNTS_MAX))
        .await;
    let Published::Done(outcome) = publishing.complete().await else {
        return Ok(StatusCode::OK.into_response());
    };
    let counts = outcome.counts;
    let known = outcome.nodes_missing == Some(0)
        && outcome.unanswered == 0
        && outcome.carried.is_none_or(|carried| carried.is_ok())
        && publisher.messages.knows_all_nodes();
    match (counts.delivered + counts.queued, counts.dropped) {
        (1.., _) => Ok(StatusCode::OK.into_response()),
        (_, 1..) => Err(Failure(
            StatusCode::TOO_MANY_REQUESTS,
            "LimitExceededException",
            "the client takes messages too slowly, or the session ends".to_owned(),
        )),
        _ if known => Err(Failure::gone()),
        _ => Err(Failure::unknown()),
    }
}

async fn get(publisher: &Publisher, id: SessionId) -> Result<Response, Failure> {
    let Answer::Found(found) = ask(publisher, Question::Find { id }).await? else {
        return Err(Failure::unknown());
    };
    let time = |millis: u64| clock::rfc3339(clock::at_unix_millis(millis));
    let client = found.client.parse::<SocketAddr>();
    let address = client.map_or_else(|_| found.client.to_string(), |one| one.ip().to_string());
    Ok(Json(json!({
        "connectedAt": time(found.granted_ms),
        "identity": { "sourceIp": address, "userAgent": "" },
        "lastActiveAt": time(found.active_ms),
    }))
    .into_response())
}

async fn delete(publisher: &Publisher, id: SessionId, caller: &str) -> Result<Response, Failure> {
    let by = format!("publisher {caller}").into();
    ask(publisher, Question::Close { id, by, with: None }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The answer of the node that has the session.
async fn ask(publisher: &Publisher, question: Question) -> Result<Answer, Failure> {
    match publisher.messages.ask_about(question).await {
        Lookup::Answered(answer) => Ok(answer),
        Lookup::Nowhere => Err(Failure::gone()),
        Lookup::Unknown => Err(Failure::unknown()),
    }
}
