//! The configuration in force, what was refused and why, and the reload order.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::admin::Gateway;
use crate::admin::extract::Caller;
use crate::admin::problem::Problem;
use crate::admin::sources::FileView;
use crate::base::clock;
use crate::config::diagnostic::Diagnostic;
use crate::config::overlay::DocumentView;
use crate::control::supervisor::{Origin, PendingChange, ReloadReport};

/// The configuration, and the outcome of its last reading.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ConfigView {
    /// Where it came from.
    file: FileView,
    /// The file's part as it serves, defaults included; secrets are `***`.
    config: Value,
    /// Settings of the file that take effect at the next start; `config` shows the ones in use.
    restart_pending: Vec<String>,
    /// The same with the values in use and those of the next start, secrets masked.
    restart_changes: Vec<PendingChange>,
    /// What other sources add and override, by document, with the status of each.
    documents: Vec<DocumentView>,
    /// The faults of the file as it is now, if it was refused (I4).
    refused: Option<RefusedView>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct RefusedView {
    /// RFC 3339.
    at: String,
    /// Every fault, with file, line and column.
    #[schemars(with = "Vec<Value>")]
    diagnostics: Vec<Diagnostic>,
}

/// What a reload changed.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ReloadView {
    #[serde(flatten)]
    report: ReloadReport,
    /// Suspicious settings that took effect.
    #[schemars(with = "Vec<Value>")]
    warnings: Vec<Diagnostic>,
}

pub(super) async fn show(State(gateway): State<Arc<Gateway>>) -> Json<ConfigView> {
    let supervisor = &gateway.supervisor;
    Json(ConfigView {
        file: FileView::of(supervisor),
        config: supervisor.in_force(),
        restart_pending: supervisor.restart_pending(),
        restart_changes: supervisor.restart_changes(),
        documents: supervisor.documents().await,
        refused: supervisor.refused().map(|refused| RefusedView {
            at: clock::rfc3339(refused.at),
            diagnostics: refused.faults,
        }),
    })
}

pub(super) async fn reload(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
) -> Result<Json<ReloadView>, Problem> {
    let supervisor = Arc::clone(&gateway.supervisor);
    // A task of its own, so that an operator who disconnects does not stop a reload halfway.
    let origin = Origin::operator(Arc::clone(&caller.name));
    let reload = tokio::spawn(async move { supervisor.reload(&origin).await });
    match reload.await {
        Ok(Ok(report)) => {
            let warnings = gateway.supervisor.loaded().warnings.clone();
            Ok(Json(ReloadView { report, warnings }))
        }
        Ok(Err(faults)) => {
            let detail = "the configuration has faults; the one before it stays in force";
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
            Err(problem.with("diagnostics", faults))
        }
        Err(error) => {
            tracing::error!(%error, "reload failed");
            let detail = "the reload itself failed; see the log";
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail))
        }
    }
}
