//! The configuration in force, what was refused and why, and the order to read it again.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::admin::Gateway;
use crate::admin::problem::Problem;
use crate::admin::status::FileView;
use crate::base::clock;
use crate::config::diagnostic::Diagnostic;
use crate::core::routing::RoutingTable;

/// The configuration, with what became of its last reading.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ConfigView {
    /// Where it came from.
    file: FileView,
    /// In force, defaults included; secrets are `***`.
    config: Value,
    /// What is wrong with the file as it is now, if that was refused.
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
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct ReloadView {
    /// Of the routing table in force.
    generation: u64,
    /// Of the routing table in force.
    digest: String,
    /// By name.
    routes: Changes,
    /// By name; a change of backends is one of their upstream.
    upstreams: Changes,
    /// Keys whose change waits for a restart.
    restart_for: Vec<String>,
    /// What is suspicious, but took effect.
    #[schemars(with = "Vec<Value>")]
    warnings: Vec<Diagnostic>,
}

/// What came, went, and stayed otherwise.
#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
struct Changes {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
}

pub(super) async fn show(State(gateway): State<Arc<Gateway>>) -> Json<ConfigView> {
    let file = gateway.control.file();
    let refused = file.refused.map(|refused| RefusedView {
        at: clock::rfc3339(refused.at),
        diagnostics: refused.diagnostics,
    });
    Json(ConfigView {
        file: FileView {
            path: file.path.display().to_string(),
            loaded: clock::rfc3339(file.loaded),
            refused: refused.as_ref().map(|refused| refused.at.clone()),
        },
        config: gateway.control.config(),
        refused,
    })
}

pub(super) async fn reload(
    State(gateway): State<Arc<Gateway>>,
) -> Result<Json<ReloadView>, Problem> {
    let before = gateway.live.table_arc();
    let control = Arc::clone(&gateway.control);
    // In a task of its own, since an operator who hangs up must not stop a reload halfway.
    let reload = tokio::spawn(async move { control.reload().await });
    let reloaded = match reload.await {
        Ok(Ok(reloaded)) => reloaded,
        Ok(Err(diagnostics)) => {
            let detail = "the configuration has faults; the one before stays in force";
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
            return Err(problem.with("diagnostics", diagnostics));
        }
        Err(error) => {
            tracing::error!(%error, "reload failed");
            let detail = "the reload itself failed; see the log";
            return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail));
        }
    };
    let after = gateway.live.table_arc();
    let (routes, upstreams) = changes(&before, &after);
    Ok(Json(ReloadView {
        generation: after.generation,
        digest: after.digest.to_string(),
        routes,
        upstreams,
        restart_for: reloaded.restart_for,
        warnings: reloaded.warnings,
    }))
}

/// Of routes and of upstreams.
fn changes(before: &RoutingTable, after: &RoutingTable) -> (Changes, Changes) {
    let routes = |table: &RoutingTable| {
        let routes = table.routes().iter();
        routes
            .map(|route| (route.name().to_string(), route.config.clone()))
            .collect()
    };
    let upstreams = |table: &RoutingTable| {
        let upstreams = table.upstreams();
        upstreams
            .map(|upstream| (upstream.name().to_string(), upstream.config.clone()))
            .collect()
    };
    (
        Changes::between(&routes(before), &routes(after)),
        Changes::between(&upstreams(before), &upstreams(after)),
    )
}

impl Changes {
    fn between<T: PartialEq>(before: &BTreeMap<String, T>, after: &BTreeMap<String, T>) -> Self {
        let only = |these: &BTreeMap<String, T>, those: &BTreeMap<String, T>| {
            these
                .keys()
                .filter(|name| !those.contains_key(*name))
                .cloned()
                .collect()
        };
        let changed = after
            .iter()
            .filter(|(name, now)| before.get(*name).is_some_and(|was| was != *now));
        Self {
            added: only(after, before),
            removed: only(before, after),
            changed: changed.map(|(name, _)| name.clone()).collect(),
        }
    }
}
