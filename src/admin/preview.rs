//! The effects of a change, before it is made.

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;

use crate::admin::Gateway;
use crate::admin::extract::{Body, Caller};
use crate::admin::problem::Problem;
use crate::admin::role::Role;
use crate::config::document_key::DocumentKey;
use crate::config::documents::{Change, Document};
use crate::control::load::Reach;
use crate::control::supervisor;
use crate::control::supervisor::preview::{Preview, PreviewFault, Turn};

/// Largest candidate, in bytes; a configuration of 10,000 backends takes less than a fifth of it.
pub(super) const BODY_MAX: usize = 8 << 20;
/// Limit on waiting for the preview before this one.
const TURN_MAX: Duration = Duration::from_secs(10);
/// Limit on computing a preview.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// A configuration to preview.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// A whole gateway.toml to replace the one in force. Relative paths in it start at the
    /// directory of the configuration file.
    #[serde(default)]
    pub config: Option<String>,
    /// Its name in diagnostics; `candidate.toml` by default.
    pub name: Option<String>,
    /// Documents to write to etcd, by key below the prefix, such as `routes/chat`; null deletes a
    /// document.
    #[serde(default)]
    pub documents: BTreeMap<String, Value>,
}

/// The one client that may have a preview now. The permit is taken before the body is read, so only
/// one candidate is in memory.
pub(super) struct Admitted {
    reach: Reach,
    turn: Turn,
}

impl FromRequestParts<Arc<Gateway>> for Admitted {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        gateway: &Arc<Gateway>,
    ) -> Result<Self, Problem> {
        let caller = Caller::of(&parts.extensions);
        let reach = match caller.role {
            Role::Operate => Reach::Everything,
            Role::Read if caller.is_local() => Reach::Nothing,
            Role::Read => {
                let detail = "from another machine, only an operator may ask for a preview";
                return Err(Problem::new(StatusCode::FORBIDDEN, detail));
            }
        };
        match timeout(TURN_MAX, gateway.supervisor.preview_turn()).await {
            Ok(turn) => Ok(Self { reach, turn }),
            Err(_) => {
                let detail = "another preview is under way";
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail))
            }
        }
    }
}

pub(super) async fn preview(
    State(gateway): State<Arc<Gateway>>,
    Admitted { reach, turn }: Admitted,
    Body(candidate): Body<Candidate>,
) -> Result<Json<Preview>, Problem> {
    if candidate.config.is_none() && candidate.documents.is_empty() {
        return Err(Problem::bad_request("body: give `config` or `documents`"));
    }
    let documents = candidate.documents.iter().map(|(key, value)| {
        let key = DocumentKey::from_str(key).map_err(|error| format!("{key}: {error}"))?;
        Ok(match value {
            Value::Null => Change::Delete(key),
            value => Change::Put(Document {
                key,
                text: value.to_string().into(),
                revision: i64::MAX,
            }),
        })
    });
    let documents = documents.collect::<Result<_, String>>();
    let candidate = supervisor::preview::Candidate {
        name: candidate
            .name
            .unwrap_or_else(|| "candidate.toml".to_owned()),
        text: candidate.config,
        documents: documents.map_err(Problem::bad_request)?,
    };
    let preview = gateway.supervisor.preview(turn, candidate, reach);
    match timeout(ANSWER_MAX, preview).await {
        Ok(Ok(preview)) => Ok(Json(preview)),
        Ok(Err(PreviewFault::NamesOutside)) => {
            let detail = "the candidate names files or variables of the environment; only an \
                          operator may ask for its preview";
            Err(Problem::new(StatusCode::FORBIDDEN, detail))
        }
        Ok(Err(PreviewFault::Refused(faults))) => {
            let detail = "the candidate has faults; it would be refused";
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
            Err(problem.with("diagnostics", faults))
        }
        Ok(Err(PreviewFault::TooLarge)) => {
            let detail = "the preview of this candidate would take too much memory";
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail))
        }
        Err(_) => {
            let detail = format!("the preview takes longer than {ANSWER_MAX:?}");
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail))
        }
    }
}
