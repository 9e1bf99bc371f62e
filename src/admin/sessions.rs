//! Live sessions of all workers: list, show, close. There is no global list: each worker returns
//! its first sessions, and the answers are merged.

pub(super) mod close;
mod filter;
mod listing;
pub mod load;
pub(super) mod moving;
pub(super) mod send;
pub(super) mod tap;
pub mod top;
mod view;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Gateway;
use crate::admin::extract::{Body, Caller, Parameters};
use crate::admin::orders;
use crate::admin::page::PAGE_MAX;
use crate::admin::problem::Problem;
use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::live::{Renewal, SessionQuery, SessionView, WorkerCommand};
use crate::telemetry::events::Fields;

pub(super) use filter::Filter;
use filter::interval;
pub(super) use filter::{Number, Order};
use listing::{by_id, sorted, with_rates};
pub(super) use view::key_view;
use view::session;
pub use view::{RateView, Session};

/// The default `limit`.
pub(super) const PAGE_DEFAULT: usize = 100;
/// Sessions of all workers, in the order of their ids or as they were sorted.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SessionPage {
    /// The oldest first, unless they were sorted.
    pub items: Vec<Session>,
    /// What to give as `cursor` for the next page; null on the last, and in a sorted list.
    pub next: Option<String>,
    /// In a sorted list: how many sessions match, listed or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched: Option<usize>,
    /// In a list sorted by a rate: of all sessions that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateView>,
    /// Workers that did not answer in time; their sessions are missing. Usually absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unanswered: Vec<usize>,
}

/// When a session's right ends.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    /// RFC 3339; null for never.
    expires: Option<String>,
}

pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Parameters(mut filter): Parameters<Filter>,
) -> Result<Json<SessionPage>, Problem> {
    let limit = filter.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let interval = filter.interval.as_deref().map(interval).transpose()?;
    let order = filter.sort.as_deref().map(Order::read).transpose()?;
    let mut query = filter.selection()?;
    query.after = filter.cursor;
    if let Some(order) = order {
        if filter.cursor.is_some() {
            let detail = "cursor: a sorted list has no pages; ask for more with `limit`";
            return Err(Problem::bad_request(detail));
        }
        let sorted = sorted(&gateway, &query, order, limit, interval).await;
        return Ok(Json(SessionPage {
            items: sorted.items,
            next: None,
            matched: Some(sorted.matched),
            rate: sorted.total,
            unanswered: sorted.silent,
        }));
    }
    // One more than requested: it shows whether there is a next page.
    let answers = by_id(&gateway, &query, limit + 1).await;
    let unanswered = answers.silent;
    let mut views: Vec<_> = answers.answers.into_iter().flatten().collect();
    views.sort_unstable_by_key(|view| view.facts.id);
    let more = views.len() > limit;
    views.truncate(limit);
    let next = views
        .last()
        .filter(|_| more)
        .map(|view| view.facts.id.to_string());
    Ok(Json(SessionPage {
        items: with_rates(&gateway, views, interval).await,
        next,
        matched: None,
        rate: None,
        unanswered,
    }))
}

pub(super) async fn one(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
) -> Result<Json<Session>, Problem> {
    find(&gateway, parse(&id)?).await.map(Json)
}

pub(super) async fn change(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
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
    let query = SessionQuery::one(id);
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
    let fields = Fields {
        session: Some(id),
        principal: session.principal.as_deref().map(Into::into),
        ..Fields::new(format!("the right of {id} ends at {until}"))
    };
    orders::report(&gateway, &caller, "renew", fields);
    Ok(Json(session))
}

fn parse(id: &str) -> Result<SessionId, Problem> {
    id.parse()
        .map_err(|error| Problem::bad_request(format!("`{id}`: {error}")))
}

async fn find(gateway: &Gateway, id: SessionId) -> Result<Session, Problem> {
    view_of(gateway, id).await.map(|view| session(&view))
}

/// What a worker says of a live session.
pub(in crate::admin) async fn view_of(
    gateway: &Gateway,
    id: SessionId,
) -> Result<SessionView, Problem> {
    let answers = by_id(gateway, &SessionQuery::one(id), 1).await;
    let silent = !answers.silent.is_empty();
    match answers.answers.into_iter().flatten().next() {
        Some(view) => Ok(view),
        None if silent => {
            let detail = "not every worker answered in time; the session may be on one of those";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail))
        }
        None => Err(Problem::not_found(format!(
            "no live session {id} here; `sessile why {id}` shows how it ended, with --fleet on any \
             gateway"
        ))),
    }
}
