//! Live sessions of all workers: list, show, close. There is no global list: each worker returns
//! its first sessions, and the answers are merged by id.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Gateway;
use crate::admin::extract::{Body, Caller, Parameters};
use crate::admin::page::PAGE_MAX;
use crate::admin::problem::Problem;
use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::base::traffic::Traffic;
use crate::core::session::orders::CloseOrder;
use crate::core::session::record::{Cause, EndOrder};
use crate::live::{ANSWER_MAX, Renewal, SessionQuery, SessionView, Walked, WorkerCommand};

/// The default `limit`.
const PAGE_DEFAULT: usize = 100;
/// Bytes left in a close frame after the code (RFC 6455, section 5.5).
const REASON_MAX: usize = 123;
/// Policy violation: clients that reconnect automatically on 1001 and 1012 should not do so on this
/// code.
const CLOSE_CODE: u16 = 1008;
const CLOSE_REASON: &str = "closed by an operator";

/// A live session.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// Sorts by start time.
    pub id: String,
    /// The listener that accepted the client.
    pub listener: String,
    /// The matched route.
    pub route: String,
    /// The upstream of the route.
    pub upstream: String,
    /// The backend that holds the session.
    pub backend: String,
    /// The principal, if the route authenticates.
    pub principal: Option<String>,
    /// The authenticator that identified the principal.
    pub authenticator: Option<String>,
    /// When its right expires; RFC 3339, null for never. It lives a little longer, see
    /// `expiry.leeway`.
    pub expires: Option<String>,
    /// The client's address.
    pub client: String,
    /// The requested host.
    pub host: String,
    /// The request's target, with secrets redacted.
    pub target: String,
    /// The request id, as in backends and other records.
    pub request_id: String,
    /// Negotiated.
    pub subprotocol: Option<String>,
    /// Time of the request; RFC 3339.
    pub started: String,
    /// From the request to the 101.
    pub handshake_ms: f64,
    /// Since the 101.
    pub age_seconds: f64,
    /// Since the last byte in either direction, to a tenth of a second.
    pub idle_seconds: f64,
    /// The worker that runs the session.
    pub worker: usize,
    /// How often the session resumed on another backend; `backend` is the current one.
    #[serde(default)]
    pub resumes: u32,
    /// Messages of the client that were lost with a backend.
    #[serde(default)]
    pub messages_lost: u64,
    /// Whether the session is closing.
    pub closing: bool,
    /// From the client.
    pub to_backend: TrafficView,
    /// From the backend.
    pub to_client: TrafficView,
}

/// Whole messages and control frames by kind, and bytes of everything.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TrafficView {
    /// On the wire, frame headers included.
    pub bytes: u64,
    /// Messages.
    pub text: u64,
    /// Messages.
    pub binary: u64,
    /// Frames.
    pub ping: u64,
    /// Frames.
    pub pong: u64,
    /// Frames.
    pub close: u64,
}

/// Sessions of all workers, in the order of their ids.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SessionPage {
    /// The oldest first.
    pub items: Vec<Session>,
    /// What to give as `cursor` for the next page; null on the last.
    pub next: Option<String>,
    /// Workers that did not answer in time; their sessions are missing. Usually absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unanswered: Vec<usize>,
}

/// Filters for the list.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// Only of this route.
    route: Option<String>,
    /// Only of this upstream.
    upstream: Option<String>,
    /// Only on the backend with this id.
    backend: Option<String>,
    /// Only of this principal.
    principal: Option<String>,
    /// Sessions at most; 1 to 1000, 100 if not given.
    limit: Option<usize>,
    /// `next` of the page before.
    #[schemars(with = "Option<String>")]
    cursor: Option<SessionId>,
}

/// How to close.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Close {
    /// Close code: 1000 to 1003, 1007 to 1013 or 3000 to 4999; 1008 if not given.
    code: Option<u16>,
    /// At most 123 bytes; `closed by an operator` if not given.
    reason: Option<String>,
}

/// When a session's right ends.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    /// RFC 3339; null for never.
    expires: Option<String>,
}

/// A close that has begun.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Closing {
    id: String,
    code: u16,
    reason: String,
}

pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Parameters(filter): Parameters<Filter>,
) -> Json<SessionPage> {
    let limit = filter.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let query = SessionQuery {
        id: None,
        after: filter.cursor,
        route: filter.route,
        upstream: filter.upstream,
        backend: filter.backend,
        principal: filter.principal,
    };
    // One more than requested: it shows whether there is a next page.
    let answers = sessions(&gateway, &query, limit + 1).await;
    let unanswered = answers.silent;
    let mut views: Vec<_> = answers.answers.into_iter().flatten().collect();
    views.sort_unstable_by_key(|view| view.facts.id);
    let more = views.len() > limit;
    views.truncate(limit);
    let next = views
        .last()
        .filter(|_| more)
        .map(|view| view.facts.id.to_string());
    Json(SessionPage {
        items: views.iter().map(session).collect(),
        next,
        unanswered,
    })
}

pub(super) async fn one(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
) -> Result<Json<Session>, Problem> {
    find(&gateway, parse(&id)?).await.map(Json)
}

pub(super) async fn close(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(id): Path<String>,
    Parameters(how): Parameters<Close>,
) -> Result<(StatusCode, Json<Closing>), Problem> {
    let id = parse(&id)?;
    let code = how.code.unwrap_or(CLOSE_CODE);
    if !matches!(code, 1000..=1003 | 1007..=1013 | 3000..=4999) {
        let detail = "code: give one that browsers accept: 1000-1003, 1007-1013 or 3000-4999";
        return Err(Problem::bad_request(detail));
    }
    let reason: Arc<str> = how.reason.as_deref().unwrap_or(CLOSE_REASON).into();
    if reason.len() > REASON_MAX {
        let detail = format!(
            "reason: {} bytes, at most {REASON_MAX} fit into a close frame",
            reason.len()
        );
        return Err(Problem::bad_request(detail));
    }
    let order = CloseOrder {
        code,
        reason: Arc::clone(&reason),
        cause: Cause::Kicked,
    };
    let query = SessionQuery {
        id: Some(id),
        ..SessionQuery::default()
    };
    let given = Arc::new(EndOrder {
        reason: Some(Arc::clone(&reason)),
        operator: Some(Arc::clone(&caller.name)),
        revocation: None,
    });
    let closed = gateway
        .live
        .workers()
        .walk(|slice, answer| WorkerCommand::Close {
            query: query.clone(),
            order: order.clone(),
            given: Some(Arc::clone(&given)),
            slice,
            answer,
        });
    if closed.await.answers.into_iter().sum::<usize>() == 0 {
        find(&gateway, id).await?;
        return Err(Problem::new(
            StatusCode::CONFLICT,
            format!("session {id} is closing already, or is being handed over"),
        ));
    }
    let operator = &*caller.name;
    tracing::info!(%id, code, %reason, operator, "session closed by an operator");
    let closing = Closing {
        id: id.to_string(),
        code,
        reason: reason.to_string(),
    };
    Ok((StatusCode::ACCEPTED, Json(closing)))
}

pub(super) async fn change(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    Body(change): Body<Change>,
) -> Result<Json<Session>, Problem> {
    let id = parse(&id)?;
    let expires = match change.expires {
        Some(text) => Some(
            humantime::parse_rfc3339_weak(&text)
                .map_err(|_| Problem::bad_request(format!("expires: `{text}` is not RFC 3339")))?,
        ),
        None => None,
    };
    let query = SessionQuery {
        id: Some(id),
        ..SessionQuery::default()
    };
    let renewed = gateway
        .live
        .workers()
        .walk(|slice, answer| WorkerCommand::Renew {
            query: query.clone(),
            renewal: Renewal::Until(expires),
            slice,
            answer,
        });
    let renewed: usize = renewed.await.answers.into_iter().sum();
    let session = find(&gateway, id).await?;
    if renewed == 0 {
        let detail = format!("session {id} has no principal, is closing, or is being handed over");
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let until = expires.map_or_else(|| "the end of the session".to_owned(), clock::rfc3339);
    tracing::info!(%id, until, "right of a session changed by an operator");
    Ok(Json(session))
}

fn parse(id: &str) -> Result<SessionId, Problem> {
    id.parse()
        .map_err(|error| Problem::bad_request(format!("`{id}`: {error}")))
}

async fn find(gateway: &Gateway, id: SessionId) -> Result<Session, Problem> {
    let query = SessionQuery {
        id: Some(id),
        ..SessionQuery::default()
    };
    let answers = sessions(gateway, &query, 1).await;
    let silent = !answers.silent.is_empty();
    match answers.answers.into_iter().flatten().next() {
        Some(view) => Ok(session(&view)),
        None if silent => {
            let detail = "not every worker answered in time; the session may be on one of those";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail))
        }
        None => Err(Problem::not_found(format!(
            "no live session {id}; its record says how it ended"
        ))),
    }
}

/// The sessions of each worker.
async fn sessions(
    gateway: &Gateway,
    query: &SessionQuery,
    limit: usize,
) -> Walked<Vec<SessionView>> {
    let ask = |slice, answer| WorkerCommand::Sessions {
        query: query.clone(),
        limit,
        slice,
        answer,
    };
    // A worker's next slices are of no use once it has given as many as the page holds.
    let enough = |found: &[Vec<SessionView>]| found.iter().map(Vec::len).sum::<usize>() >= limit;
    let workers = gateway.live.workers();
    workers
        .walk_until(ANSWER_MAX, query.after, ask, enough)
        .await
}

fn session(view: &SessionView) -> Session {
    let facts = &view.facts;
    let right = facts.right.as_deref();
    let tenths = |time: Duration| (time.as_secs_f64() * 10.0).round() / 10.0;
    Session {
        id: facts.id.to_string(),
        listener: facts.listener.to_string(),
        route: facts.route.to_string(),
        upstream: facts.upstream.to_string(),
        backend: facts.backend.to_string(),
        principal: facts.principal.as_deref().map(str::to_owned),
        authenticator: right.map(|right| right.authenticator.to_string()),
        expires: right.and_then(|right| right.expires).map(clock::rfc3339),
        client: facts.client.to_string(),
        host: facts.host.to_string(),
        target: facts.target.to_string(),
        request_id: facts.request_id().into_owned(),
        subprotocol: facts.subprotocol.as_deref().map(str::to_owned),
        started: clock::rfc3339(facts.started),
        handshake_ms: facts.handshake.as_micros() as f64 / 1000.0,
        age_seconds: tenths(view.age),
        idle_seconds: tenths(view.idle),
        worker: view.worker,
        resumes: view.moves.resumes,
        messages_lost: view.moves.messages_lost,
        closing: view.closing,
        to_backend: traffic(&view.to_backend),
        to_client: traffic(&view.to_client),
    }
}

fn traffic(traffic: &Traffic) -> TrafficView {
    let Traffic {
        bytes,
        text,
        binary,
        ping,
        pong,
        close,
    } = *traffic;
    TrafficView {
        bytes,
        text,
        binary,
        ping: ping.into(),
        pong: pong.into(),
        close: close.into(),
    }
}
