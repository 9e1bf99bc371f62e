//! The gateway's own endpoints for clients: a ticket for a page that is logged in, a longer life
//! for a session.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::json;

use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::core::auth::{Authenticator, CredentialFault};
use crate::core::http::{cors, query};
use crate::core::routing::{Endpoint, Route};
use crate::live::{Renewal, SessionQuery, WorkerCommand};
use crate::proxy::refusal::Refusal;
use crate::proxy::request::admitted::Admitted;
use crate::proxy::request::received::Received;
use crate::proxy::stages::answer::{Answer, Reply};
use crate::proxy::stages::identify::{identify, unauthenticated};
use crate::proxy::stages::refuse::refuse;
use crate::proxy::streams::body::Outgoing;

/// What the gateway itself answers at the request's path, if it does.
pub(crate) fn find(admitted: &Admitted<'_>) -> Option<Endpoint> {
    let table = &admitted.received.generation.table;
    table.endpoint(admitted.head.uri.path()).cloned()
}

/// Answers a request to one of the gateway's own endpoints. Refusals carry the fields of CORS too:
/// without them a browser hides the status from scripts of other origins.
pub(crate) async fn respond(endpoint: Endpoint, admitted: &Admitted<'_>) -> Answer {
    let (received, head) = (admitted.received, &admitted.head);
    let readers = endpoint.origins().map_or(Ok(cors::Readers::Same), |rule| {
        let secure = received.client.secure;
        cors::readers(rule, &head.headers, &received.host, secure)
    });
    let reply = match &readers {
        Err(fault) => Err(Refusal::Origin(fault.clone())),
        Ok(_) => reply(&endpoint, received, head).await,
    };
    let mut answer = match reply {
        Ok(reply) => reply.into(),
        Err(refusal) => refuse(received, &refusal),
    };
    cors::add_readers(answer.response.headers_mut(), readers.as_ref().ok());
    answer
}

/// What the endpoint replies to a page that may use it.
async fn reply(endpoint: &Endpoint, received: &Received, head: &Parts) -> Result<Reply, Refusal> {
    if cors::is_preflight(&head.method, &head.headers) {
        return Ok(permit(endpoint, received));
    }
    if head.method != Method::POST {
        return Err(Refusal::NotPost);
    }
    match endpoint {
        Endpoint::Mint(tickets, asked) => mint(received, tickets, asked, head).await,
        Endpoint::Renew(route) => renew(received, route, head).await,
    }
}

/// Answers a preflight, which has no credential.
fn permit(endpoint: &Endpoint, received: &Received) -> Reply {
    let route = match endpoint {
        Endpoint::Renew(route) => Some(route.name().clone()),
        Endpoint::Mint(..) => None,
    };
    let mut report = received.report(route, None, None);
    report.status = StatusCode::NO_CONTENT.as_u16();
    drop(report);
    let mut response = Response::new(Outgoing::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    let asked = endpoint.asked().iter();
    let sources = asked.flat_map(|one| one.config.header_names());
    cors::add_permissions(response.headers_mut(), sources);
    response
}

async fn mint(
    received: &Received,
    tickets: &Authenticator,
    asked: &[Arc<Authenticator>],
    head: &Parts,
) -> Result<Reply, Refusal> {
    let identity = identify(received, asked, head, false).await?;
    let principal = identity
        .principal
        .unwrap_or_else(|| tickets.named("anonymous"));
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| Refusal::NoRoute)?;
    let random = u128::from_be_bytes(random);
    let minted = tickets.mint(&principal, clock::wall(), random);
    let minted = minted.ok_or(Refusal::NoRoute)?;
    Ok(respond_json(
        received,
        None,
        &json!({
            "ticket": minted.ticket, "parameter": minted.parameter,
            "expires": clock::rfc3339(minted.expires),
        }),
    ))
}

async fn renew(received: &Received, route: &Arc<Route>, head: &Parts) -> Result<Reply, Refusal> {
    let identity = identify(received, &route.authenticators, head, false).await?;
    let Some(principal) = identity.principal else {
        let missing = CredentialFault::Missing;
        return Err(unauthenticated(&route.authenticators, None, missing));
    };
    let raw = head.uri.query().unwrap_or_default();
    let named = query::query_values(raw, "session").next();
    let session = match named.map(|text| text.parse::<SessionId>()) {
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => return Err(Refusal::NoSession),
        None => None,
    };
    let query = SessionQuery {
        id: session,
        route: Some(route.name().to_string()),
        principal: Some(principal.subject.to_string()),
        ..SessionQuery::default()
    };
    let right = principal.right(route.config.auth.expiry_leeway);
    let renewal = Renewal::Credential {
        right: right.clone(),
        claims: Arc::new(principal.claims),
        route: Some(Arc::clone(route)),
    };
    let workers = received.connection.worker.live().workers();
    let renewed = workers.walk(|slice, answer| WorkerCommand::Renew {
        query: query.clone(),
        renewal: renewal.clone(),
        slice,
        answer,
    });
    let renewed: usize = renewed.await.answers.into_iter().sum();
    if renewed == 0 {
        return Err(Refusal::NoSession);
    }
    let expires = right.expires.map(clock::rfc3339);
    Ok(respond_json(
        received,
        Some(route),
        &json!({ "renewed": renewed, "expires": expires }),
    ))
}

fn respond_json(
    received: &Received,
    route: Option<&Arc<Route>>,
    body: &serde_json::Value,
) -> Reply {
    let mut report = received.report(route.map(|route| route.name().clone()), None, None);
    report.status = 200;
    drop(report);
    let mut response = Response::new(Outgoing::own(body.to_string()));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // A ticket is for this page alone and is used once.
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
