//! Moves a session to another backend.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Gateway;
use crate::admin::extract::{Body, Caller};
use crate::admin::orders;
use crate::admin::problem::Problem;
use crate::admin::sessions::{find, parse};
use crate::base::names::BackendId;
use crate::core::session::orders::LeaveOrder;
use crate::core::session::record::Cause;
use crate::core::session::resume::ResumeReason;
use crate::live::{MoveAnswer, OperatorCommand, WorkerCommand};
use crate::telemetry::events::Fields;

/// Where to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Target {
    /// The id of the backend to try first; by default any other than the present one, in the order
    /// of the session's key.
    backend: Option<String>,
}

/// A move that has begun.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::admin) struct Moving {
    id: String,
    /// The backend that the session leaves.
    from: String,
    /// The backend that is tried first; null if none was given.
    to: Option<String>,
}

pub(in crate::admin) async fn begin(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(target): Body<Target>,
) -> Result<(StatusCode, Json<Moving>), Problem> {
    let id = parse(&id)?;
    let to = target.backend.as_deref().map(BackendId::from);
    let order = LeaveOrder {
        code: 1012,
        reason: "moved by an operator".into(),
        // It does not end a session: one that cannot move stays.
        cause: Cause::Rebalanced,
        resume: ResumeReason::Moved,
        operator: Some(Arc::clone(&caller.name)),
    };
    let workers = gateway.live.workers();
    let answers = workers.ask(|answer| {
        WorkerCommand::Operate(OperatorCommand::Move {
            id,
            to: to.clone(),
            order: order.clone(),
            answer,
        })
    });
    let answer = answers.await.into_iter().flatten().next();
    let detail = match answer {
        Some(MoveAnswer::Begun(from)) => {
            let (to, operator) = (target.backend, &*caller.name);
            tracing::info!(%id, %from, to, operator, "session moved by an operator");
            let fields = Fields {
                session: Some(id),
                from: Some((*from).into()),
                to: to.as_deref().map(Into::into),
                ..Fields::new(format!("move {id} away from {from}"))
            };
            orders::note(&gateway, &caller, "move", fields);
            let moving = Moving {
                id: id.to_string(),
                from: from.to_string(),
                to,
            };
            return Ok((StatusCode::ACCEPTED, Json(moving)));
        }
        None => {
            find(&gateway, id).await?;
            format!("session {id} is with a worker that did not answer; try again")
        }
        Some(MoveAnswer::Moving) => format!("session {id} is moving already"),
        Some(MoveAnswer::Ending) => {
            format!("session {id} is closing, or is being handed over")
        }
        Some(MoveAnswer::WithoutBackend) => {
            format!("session {id} has no backend: the gateway itself is at its place")
        }
        Some(MoveAnswer::NotMovable(route)) => format!(
            "session {id} cannot move: route {route} does not reconnect \
             (on_backend_loss = \"reconnect\"), or did not when it began; `sessile kick {id}` closes it, and its client \
             connects again"
        ),
        Some(MoveAnswer::Extension(extensions)) => format!(
            "session {id} cannot move: the gateway does not know an extension that its client and \
             its backend use ({extensions}); `sessile kick {id}` closes it, and its client connects again"
        ),
        Some(MoveAnswer::NoBackend(upstream)) => match to {
            Some(to) => format!(
                "{to} is the session's backend already, is no backend of {upstream}, or takes no \
                 sessions now"
            ),
            None => format!("no other backend of {upstream} takes sessions now"),
        },
    };
    Err(Problem::new(StatusCode::CONFLICT, detail))
}
