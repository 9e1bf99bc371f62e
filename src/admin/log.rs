//! The level of the log, at run time.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Gateway;
use crate::admin::extract::{Body, Caller};
use crate::admin::orders;
use crate::admin::problem::Problem;
use crate::telemetry::events::Fields;
use crate::telemetry::log::LogLevel;

/// The level of the log.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogView {
    /// `error`, `warn`, `info`, `debug` or `trace`, or by module: `info,sessile::proxy=debug`.
    level: String,
}

pub(super) async fn show(State(gateway): State<Arc<Gateway>>) -> Result<Json<LogView>, Problem> {
    Ok(Json(LogView {
        level: log(&gateway)?.level(),
    }))
}

pub(super) async fn set(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Body(wanted): Body<LogView>,
) -> Result<Json<LogView>, Problem> {
    let log = log(&gateway)?;
    log.set_level(&wanted.level)
        .map_err(|error| Problem::bad_request(error.to_string()))?;
    let to = log.level();
    let operator = &*caller.name;
    // A line that shows at most levels.
    tracing::warn!(operator, log_level = to, "log level changed by an operator");
    let fields = Fields {
        to: Some(to.as_str().into()),
        ..Fields::new(format!("log level {to}"))
    };
    orders::note(&gateway, &caller, "log_level", fields);
    Ok(Json(LogView { level: log.level() }))
}

fn log(gateway: &Gateway) -> Result<&LogLevel, Problem> {
    let none = || Problem::new(StatusCode::CONFLICT, "this gateway has no log of its own");
    gateway.log.as_ref().ok_or_else(none)
}
