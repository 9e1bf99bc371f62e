//! `/v1/groups/{group}`: members, joins and leaves.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::admin::extract::Parameters;
use crate::admin::groups::{MemberList, MembersQuery, members_page, stream};
use crate::admin::problem::Problem;
use crate::base::group::GroupName;
use crate::base::metadata::Metadata;
use crate::base::session_id::SessionId;
use crate::base::target::Target;
use crate::control::messages::Lookup;
use crate::core::messages::signal::{Answer, Question};
use crate::publish::Publisher;
use crate::publish::body::OptionalBody;
use crate::publish::guard::Caller;

/// How a session joins.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Joining {
    /// The membership ends after this time: `30s`, `5m`. Not given: with the session.
    ttl: Option<String>,
}

/// What a session is described by in the group.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Described {
    /// A JSON object of at most 1 KiB, for those who list or watch the group.
    #[schemars(with = "Option<Map<String, Value>>")]
    metadata: Option<Metadata>,
}

/// What a join or a leave came to.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Changed {
    /// Whether the session was not a member before, or was one until now.
    changed: bool,
}

pub(super) async fn members(
    State(publisher): State<Arc<Publisher>>,
    Extension(caller): Extension<Caller>,
    Path(group): Path<String>,
    Parameters(paging): Parameters<MembersQuery>,
) -> Result<Json<MemberList>, Problem> {
    let group = allowed(&caller, &group)?;
    Ok(Json(
        members_page(&publisher.messages, &group, &paging).await?,
    ))
}

pub(super) async fn follow(
    State(publisher): State<Arc<Publisher>>,
    Extension(caller): Extension<Caller>,
    Path(group): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let group = allowed(&caller, &group)?;
    // Not the name of an operator.
    let owner = format!("publish:{}", caller.name());
    stream(&publisher.messages, &group, (&owner, &headers))
}

pub(super) async fn join(
    State(publisher): State<Arc<Publisher>>,
    Extension(caller): Extension<Caller>,
    Path((group, id)): Path<(String, String)>,
    Parameters(joining): Parameters<Joining>,
    OptionalBody(described): OptionalBody<Described>,
) -> Result<Json<Changed>, Problem> {
    let group = allowed(&caller, &group)?;
    let id = parse_id(&id)?;
    let ttl = joining.ttl.as_deref().map(parse_ttl).transpose()?;
    let ttl_ms = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    let question = Question::Join {
        id,
        group,
        ttl_ms,
        metadata: described.metadata,
    };
    change(&publisher, id, question).await
}

pub(super) async fn leave(
    State(publisher): State<Arc<Publisher>>,
    Extension(caller): Extension<Caller>,
    Path((group, id)): Path<(String, String)>,
) -> Result<Json<Changed>, Problem> {
    let group = allowed(&caller, &group)?;
    let id = parse_id(&id)?;
    change(&publisher, id, Question::Leave { id, group }).await
}

/// Changes memberships of a session, on whatever node it is.
async fn change(
    publisher: &Publisher,
    id: SessionId,
    question: Question,
) -> Result<Json<Changed>, Problem> {
    match publisher.messages.ask_about(question).await {
        Lookup::Answered(Answer::Done { changed }) => Ok(Json(Changed { changed })),
        Lookup::Answered(Answer::Refused { why }) => {
            Err(Problem::new(StatusCode::CONFLICT, why.to_string()))
        }
        Lookup::Nowhere => Err(Problem::not_found(format!(
            "session {id} is on no node, or has ended"
        ))),
        Lookup::Answered(_) | Lookup::Unknown => {
            let detail = format!(
                "session {id} is not on this node, and not all other nodes have answered; try again"
            );
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail))
        }
    }
}

/// The group, if the publisher may steer it.
pub(super) fn allowed(caller: &Caller, group: &str) -> Result<GroupName, Problem> {
    let group = GroupName::parse(group);
    let group = group.map_err(|error| Problem::bad_request(error.to_string()))?;
    caller.check(&Target::Group(group.clone()))?;
    Ok(group)
}

fn parse_id(text: &str) -> Result<SessionId, Problem> {
    let id = text.parse::<SessionId>();
    id.map_err(|error| Problem::bad_request(format!("`{text}`: {error}")))
}

fn parse_ttl(text: &str) -> Result<Duration, Problem> {
    let ttl = humantime::parse_duration(text);
    let ttl = ttl.map_err(|error| Problem::bad_request(format!("ttl: {error}; write `30s`")))?;
    // Beyond that it is as good as the session's whole life.
    let bounded = ttl > Duration::ZERO && ttl <= Duration::from_secs(366 * 24 * 60 * 60);
    bounded
        .then_some(ttl)
        .ok_or_else(|| Problem::bad_request("ttl: give more than nothing and at most a year"))
}
