//! Closes one session, or all that match.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Gateway;
use crate::admin::extract::{Caller, Parameters};
use crate::admin::orders;
use crate::admin::problem::Problem;
use crate::admin::sessions::filter::{named, selection};
use crate::admin::sessions::{find, parse};
use crate::core::session::orders::CloseOrder;
use crate::core::session::record::{Cause, EndOrder};
use crate::live::{SessionQuery, WorkerCommand};
use crate::telemetry::events::Fields;

/// Bytes left in a close frame after the code (RFC 6455, section 5.5).
const REASON_MAX: usize = 123;
/// Policy violation: clients that reconnect automatically on 1001 and 1012 should not do so on this
/// code.
const CLOSE_CODE: u16 = 1008;
const CLOSE_REASON: &str = "closed by an operator";

/// How to close.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Close {
    /// Close code: 1000 to 1003, 1007 to 1013 or 3000 to 4999; 1008 if not given.
    code: Option<u16>,
    /// At most 123 bytes; `closed by an operator` if not given.
    reason: Option<String>,
}

selection!(
    /// Which sessions to close, and how.
    CloseMany {
        /// Close every session; required where there is no filter.
        all: Option<bool>,
        /// Close code: 1000 to 1003, 1007 to 1013 or 3000 to 4999; 1008 if not given.
        code: Option<u16>,
        /// At most 123 bytes; `closed by an operator` if not given.
        reason: Option<String>,
    }
);

/// A close that has begun.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::admin) struct Closing {
    id: String,
    code: u16,
    reason: String,
}

/// Closes that have begun.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::admin) struct ClosingMany {
    /// How many sessions.
    closing: usize,
    code: u16,
    reason: String,
    /// Workers that did not answer in time; sessions of theirs may not be closing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unanswered: Vec<usize>,
}

pub(in crate::admin) async fn one(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(id): Path<String>,
    Parameters(how): Parameters<Close>,
) -> Result<(StatusCode, Json<Closing>), Problem> {
    let id = parse(&id)?;
    let order = order(how.code, how.reason)?;
    let (closed, _) = close(&gateway, &caller, &SessionQuery::one(id), &order).await;
    if closed == 0 {
        find(&gateway, id).await?;
        return Err(Problem::new(
            StatusCode::CONFLICT,
            format!("session {id} is closing already, or is being handed over"),
        ));
    }
    let (code, reason, operator) = (order.code, &*order.reason, &*caller.name);
    tracing::info!(%id, code, %reason, operator, "session closed by an operator");
    let fields = Fields {
        session: Some(id),
        close_code: Some(code),
        reason: Some(reason.into()),
        ..Fields::new(format!("close {id} with {code} {reason:?}"))
    };
    orders::note(&gateway, &caller, "close", fields);
    let closing = Closing {
        id: id.to_string(),
        code,
        reason: reason.to_owned(),
    };
    Ok((StatusCode::ACCEPTED, Json(closing)))
}

pub(in crate::admin) async fn many(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Parameters(mut which): Parameters<CloseMany>,
) -> Result<(StatusCode, Json<ClosingMany>), Problem> {
    let order = order(which.code, which.reason.take())?;
    let query = named(which.selection()?, which.all)?;
    let (closing, unanswered) = close(&gateway, &caller, &query, &order).await;
    let (code, reason, operator) = (order.code, &*order.reason, &*caller.name);
    tracing::info!(closing, code, %reason, operator, %query, "sessions closed by an operator");
    let fields = Fields {
        sessions: u64::try_from(closing).ok(),
        close_code: Some(code),
        reason: Some(reason.into()),
        ..Fields::new(format!(
            "close {closing} sessions with {code} {reason:?}: {query}"
        ))
    };
    orders::note(&gateway, &caller, "close", fields);
    let closing = ClosingMany {
        closing,
        code,
        reason: reason.to_owned(),
        unanswered,
    };
    Ok((StatusCode::ACCEPTED, Json(closing)))
}

fn order(code: Option<u16>, reason: Option<String>) -> Result<CloseOrder, Problem> {
    let code = code.unwrap_or(CLOSE_CODE);
    if !matches!(code, 1000..=1003 | 1007..=1013 | 3000..=4999) {
        let detail = "code: give one that browsers accept: 1000-1003, 1007-1013 or 3000-4999";
        return Err(Problem::bad_request(detail));
    }
    let reason = reason.as_deref().unwrap_or(CLOSE_REASON);
    if reason.len() > REASON_MAX {
        let detail = format!(
            "reason: {} bytes, at most {REASON_MAX} fit into a close frame",
            reason.len()
        );
        return Err(Problem::bad_request(detail));
    }
    Ok(CloseOrder {
        code,
        reason: reason.into(),
        cause: Cause::Kicked,
    })
}

/// Begins the end of sessions. Returns of how many, and the workers that did not answer.
async fn close(
    gateway: &Gateway,
    caller: &Caller,
    query: &SessionQuery,
    order: &CloseOrder,
) -> (usize, Vec<usize>) {
    let given = Arc::new(EndOrder {
        reason: Some(Arc::clone(&order.reason)),
        operator: Some(Arc::clone(&caller.name)),
        revocation: None,
    });
    let workers = gateway.live.workers();
    let closed = workers.walk(|slice, answer| WorkerCommand::Close {
        query: query.clone(),
        order: order.clone(),
        given: Some(Arc::clone(&given)),
        slice,
        answer,
    });
    let closed = closed.await;
    (closed.answers.into_iter().sum(), closed.silent)
}
