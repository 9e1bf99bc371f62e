//! `POST /publish/`: the endpoint that libraries of GRIP publish to, as Pushpin has it. A channel
//! is a group. A publisher presents its token, or a JSON Web Token that is signed with it and names
//! the publisher as issuer.

mod item;
mod token;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::json;
use tokio::time::timeout;

use crate::base::group::GroupName;
use crate::base::session_id::SessionId;
use crate::base::target::Target;
use crate::control::messages::Lookup;
use crate::core::messages::delivery::{Publication, Recipient};
use crate::core::messages::signal::{CloseWith, Question};
use crate::publish::Publisher;
use crate::publish::grip::item::{Action, Item};
use crate::publish::guard::Caller;

/// For the body to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Members that are asked for at once.
const PAGE: usize = 1000;

/// An answer that is an error, as Pushpin has it.
#[derive(Debug)]
struct Failure(StatusCode, String);

impl Failure {
    /// Not all gateways have answered. Publishers try again.
    fn incomplete() -> Self {
        let why = "not all gateways have answered".to_owned();
        Self(StatusCode::SERVICE_UNAVAILABLE, why)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, format!("{}\n", self.1)).into_response()
    }
}

impl From<item::Fault> for Failure {
    fn from(fault: item::Fault) -> Self {
        Self(StatusCode::BAD_REQUEST, fault.0)
    }
}

pub(super) fn router() -> Router<Arc<Publisher>> {
    Router::new()
        .route("/publish", post(publish))
        .route("/publish/", post(publish))
}

async fn publish(State(publisher): State<Arc<Publisher>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    match handle(&publisher, &head.headers, body).await {
        Ok(()) => published(&head.headers),
        Err(failure) => failure.into_response(),
    }
}

fn published(headers: &HeaderMap) -> Response {
    let accepted = headers.get(ACCEPT).and_then(|kinds| kinds.to_str().ok());
    match accepted.is_some_and(|kinds| kinds.contains("application/json")) {
        true => Json(json!({ "message": "Published" })).into_response(),
        false => "Published\n".into_response(),
    }
}

async fn handle(publisher: &Publisher, headers: &HeaderMap, body: Body) -> Result<(), Failure> {
    let caller = token::caller(&publisher.settings.tokens, headers);
    let caller = caller.map_err(|problem| Failure(problem.status(), problem.detail().into()))?;
    let most = publisher.body_max();
    let body = timeout(BODY_TIMEOUT, to_bytes(body, most)).await;
    let body = body.ok().and_then(Result::ok).ok_or_else(|| {
        let why = format!("the body is longer than {most} bytes, or did not come in time");
        Failure(StatusCode::PAYLOAD_TOO_LARGE, why)
    })?;
    let items = item::read(&body, publisher.settings.message_bytes)?;
    // All or none: what is refused is not sent in part.
    for item in &items {
        let allowed = caller.check(&Target::Group(item.channel.clone()));
        allowed.map_err(|problem| Failure(problem.status(), problem.detail().into()))?;
    }
    for Item { channel, action } in items {
        match action {
            Action::Send(message) => {
                let publication = Publication {
                    id: None,
                    to: vec![Target::Group(channel)],
                    except: Vec::new(),
                    side: Recipient::Client,
                    message,
                    expires: None,
                };
                // In order, whatever becomes of it: Pushpin counts nothing.
                drop(publisher.messages.publish(publication, None).await);
            }
            Action::Close(with) => close_all(publisher, &caller, &channel, &with).await?,
            Action::Nothing => {}
        }
    }
    Ok(())
}

/// Closes the sessions of a group, on all nodes, with a token that opens each of them. Those that
/// join it meanwhile are not closed: its clients may come back at once.
async fn close_all(
    publisher: &Publisher,
    caller: &Caller,
    group: &GroupName,
    with: &CloseWith,
) -> Result<(), Failure> {
    let by: Arc<str> = format!("publisher {}", caller.name()).into();
    for id in members(publisher, group).await? {
        let allowed = caller.check(&Target::Session(id));
        allowed.map_err(|problem| Failure(problem.status(), problem.detail().into()))?;
        let question = Question::Close {
            id,
            by: Arc::clone(&by),
            with: Some(with.clone()),
        };
        if publisher.messages.ask_about(question).await == Lookup::Unknown {
            return Err(Failure::incomplete());
        }
    }
    Ok(())
}

async fn members(publisher: &Publisher, group: &GroupName) -> Result<Vec<SessionId>, Failure> {
    let mut members: Vec<SessionId> = Vec::new();
    loop {
        let after = members.last().copied();
        let found = publisher.messages.members(group, after, PAGE).await;
        if found.missing > 0 || found.nodes == 0 {
            return Err(Failure::incomplete());
        }
        members.extend(found.page.members.iter().map(|member| member.id));
        if !found.page.more {
            return Ok(members);
        }
    }
}
