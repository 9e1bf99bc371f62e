//! What a change would do, before it is made.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Gateway;
use crate::admin::extract::Body;
use crate::admin::problem::Problem;
use crate::control::supervisor::preview::Preview;

/// Bytes of a candidate; a configuration of 10,000 backends has less than a tenth of it.
pub(super) const BODY_MAX: usize = 16 << 20;

/// What might be put into force.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// A whole gateway.toml. Files that it names are looked for beside the configuration file.
    pub config: String,
    /// What to call it where something is wrong with it; `candidate.toml` if not given.
    pub name: Option<String>,
}

pub(super) async fn preview(
    State(gateway): State<Arc<Gateway>>,
    Body(candidate): Body<Candidate>,
) -> Result<Json<Preview>, Problem> {
    let name = candidate.name.as_deref().unwrap_or("candidate.toml");
    let preview = gateway.supervisor.preview(name, candidate.config).await;
    preview.map(Json).map_err(|faults| {
        let detail = "the candidate has faults; it would be refused";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with("diagnostics", faults)
    })
}
