//! `?scope=fleet`: one gateway answers a question for all that follow the same etcd. The question
//! goes to the others as it came, without the scope, and the answers become one list. A gateway
//! that does not answer makes the list partial, which the list says.
//!
//! The addresses of the others come from etcd, where a tenant may have written them. So only
//! addresses in `admin.fleet.networks` are asked, by number, and each answer must be of the gateway
//! that is registered there.

pub mod client;
mod merge;
mod order;
mod totals;

use std::sync::Arc;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;

use crate::admin::Gateway;
use crate::admin::fleet::client::NODE;
use crate::admin::fleet::merge::{Answer, Given, Scope, merge};
use crate::admin::fleet::order::FleetOrder;
use crate::admin::own_scope::has_own_scope;
use crate::admin::problem::Problem;
use crate::core::http::event_stream::EVENT_STREAM;

pub(super) use crate::admin::fleet::merge::FleetPage;

/// Gateways that are asked at most.
pub(super) const ASKED_MAX: usize = 64;

/// Answers requests of the scope `fleet`; passes others on.
pub(super) async fn scoped(
    State(gateway): State<Arc<Gateway>>,
    mut request: Request,
    next: Next,
) -> Response {
    if has_own_scope(request.uri().path()) {
        return next.run(request).await;
    }
    let asked = match Scope::take(request.uri()) {
        Ok(Some(asked)) => asked,
        Ok(None) => return next.run(request).await,
        Err(detail) => return Problem::bad_request(detail).into_response(),
    };
    if asked.fleet && (request.method() != Method::GET || !request.uri().path().starts_with("/v1/"))
    {
        let detail = "`scope=fleet` is for GET requests of /v1: an order goes to one gateway";
        return Problem::bad_request(detail).into_response();
    }
    if let Ok(uri) = asked.target(None).parse() {
        *request.uri_mut() = uri;
    }
    if !asked.fleet {
        return next.run(request).await;
    }
    let page = ask_all(&gateway, &asked, request, next).await;
    match page {
        Ok(page) => Json(page).into_response(),
        Err(response) => response,
    }
}

/// The answers of all gateways as one list; the local answer as it is if it is a client's fault.
async fn ask_all(
    gateway: &Gateway,
    asked: &Scope,
    mut request: Request,
    next: Next,
) -> Result<FleetPage, Response> {
    let own = gateway.node.to_string();
    let fleet = gateway.fleet.as_deref();
    let others = fleet.map(|fleet| fleet.others()).unwrap_or_default();
    let wanted = |node: &str| asked.wants(node);
    let (near, far) = others.split_at(others.len().min(ASKED_MAX));
    let near: Vec<_> = near.iter().filter(|other| wanted(&other.node)).collect();
    let distant = join_all(near.iter().map(|other| async {
        let target = asked.target(Some(&other.node));
        let given = gateway.fleet_client.ask(other, &target).await;
        Answer::of(other, given)
    }));
    let local = async {
        if !wanted(&own) {
            return Ok(None);
        }
        if let Ok(uri) = asked.target(Some(&own)).parse() {
            *request.uri_mut() = uri;
        }
        let response = next.run(request).await;
        let status = response.status();
        let streams = response.headers().get("content-type");
        let streams = streams.is_some_and(|kind| kind.as_bytes() == EVENT_STREAM.as_bytes());
        if streams || (status.is_client_error() && status != StatusCode::NOT_FOUND) {
            return Err(response);
        }
        let body = to_bytes(response.into_body(), usize::MAX).await;
        let given = body.map(|body| Given { status, body });
        let given = given.map_err(|error| error.to_string());
        Ok(Some(Answer::new(own.clone(), given)))
    };
    let (distant, local) = tokio::join!(distant, local);
    let mut answers: Vec<_> = local?.into_iter().chain(distant).collect();
    answers.extend(far.iter().filter(|other| wanted(&other.node)).map(|other| {
        let reason = format!("more than {ASKED_MAX} gateways are registered");
        Answer::of(other, Err(reason))
    }));
    let mut page = merge(answers);
    page.totals.merge(&gateway.live.table());
    let (path, parameters) = asked.question();
    if let Some(order) = FleetOrder::of(path, parameters) {
        order.apply(&mut page.items);
    }
    if let Some(fault) = fleet.and_then(|fleet| fleet.fault()) {
        page.partial = true;
        page.fault = Some(format!("the list of gateways may be old: {fault}"));
    }
    Ok(page)
}

/// Names the gateway in every answer.
pub(super) async fn named(
    State(node): State<HeaderValue>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(NODE, node);
    response
}

/// The name as a header's value; a name that cannot be one is left out.
pub(super) fn node_header(node: &str) -> HeaderValue {
    HeaderValue::from_str(node).unwrap_or_else(|_| HeaderValue::from_static(""))
}
