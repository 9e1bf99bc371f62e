//! `/v1/groups/{group}`: members, joins and leaves.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Page;
use crate::admin::extract::Parameters;
use crate::admin::problem::Problem;
use crate::base::group::GroupName;
use crate::base::session_id::SessionId;
use crate::base::target::Target;
use crate::live::MemberView;
use crate::publish::Publisher;
use crate::publish::guard::Caller;

/// Most members on one page.
const PAGE_MAX: usize = 1000;

/// A member of a group.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Member {
    /// The id of the session.
    session: String,
    /// The subject of its principal.
    principal: Option<String>,
    /// Its route.
    route: String,
    /// Seconds until the membership ends; null until the session ends.
    ttl_seconds: Option<f64>,
}

impl From<MemberView> for Member {
    fn from(view: MemberView) -> Self {
        Self {
            session: view.id.to_string(),
            principal: view.principal.map(|subject| subject.to_string()),
            route: view.route.to_string(),
            ttl_seconds: view.ttl.map(|ttl| ttl.as_secs_f64()),
        }
    }
}

/// The requested part of a list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    /// Members at most; 1 to 1000.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// How a session joins.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Joining {
    /// The membership ends after this time: `30s`, `5m`. Not given: with the session.
    ttl: Option<String>,
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
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Page<Member>>, Problem> {
    let group = allowed(&caller, &group)?;
    let after = paging.cursor.as_deref().map(parse_id).transpose()?;
    let limit = paging.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let mut members = publisher.messages.members(&group, after, limit + 1).await;
    let more = members.len() > limit;
    members.truncate(limit);
    let last = members.last().map(|member| member.id.to_string());
    Ok(Json(Page {
        items: members.into_iter().map(Member::from).collect(),
        next: last.filter(|_| more),
    }))
}

pub(super) async fn join(
    State(publisher): State<Arc<Publisher>>,
    Extension(caller): Extension<Caller>,
    Path((group, id)): Path<(String, String)>,
    Parameters(joining): Parameters<Joining>,
) -> Result<Json<Changed>, Problem> {
    let group = allowed(&caller, &group)?;
    let id = parse_id(&id)?;
    let ttl = joining.ttl.as_deref().map(parse_ttl).transpose()?;
    match publisher.messages.join(id, &group, ttl).await {
        Some(Ok(changed)) => Ok(Json(Changed { changed })),
        Some(Err(error)) => Err(Problem::new(StatusCode::CONFLICT, error.to_string())),
        None => Err(not_here(id)),
    }
}

pub(super) async fn leave(
    State(publisher): State<Arc<Publisher>>,
    Extension(caller): Extension<Caller>,
    Path((group, id)): Path<(String, String)>,
) -> Result<Json<Changed>, Problem> {
    let group = allowed(&caller, &group)?;
    let id = parse_id(&id)?;
    let left = publisher.messages.leave(id, &group).await;
    let changed = left.ok_or_else(|| not_here(id))?;
    Ok(Json(Changed { changed }))
}

/// The group, if the publisher may steer it.
fn allowed(caller: &Caller, group: &str) -> Result<GroupName, Problem> {
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

fn not_here(id: SessionId) -> Problem {
    Problem::not_found(format!("session {id} is not on this node, or has ended"))
}
