//! `/v1/groups/{group}`: members, joins and leaves.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::extract::Parameters;
use crate::admin::problem::Problem;
use crate::base::group::GroupName;
use crate::base::session_id::SessionId;
use crate::base::target::Target;
use crate::control::messages::{FleetPage, Lookup};
use crate::core::messages::member;
use crate::core::messages::signal::{Answer, Question};
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

impl From<member::Member> for Member {
    fn from(view: member::Member) -> Self {
        let seconds = |millis| Duration::from_millis(millis).as_secs_f64();
        Self {
            session: view.id.to_string(),
            principal: view.principal.map(|subject| subject.to_string()),
            route: view.route.to_string(),
            ttl_seconds: view.ttl_ms.map(seconds),
        }
    }
}

/// The members of a group.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct MemberList {
    /// In the order of the sessions' ids.
    items: Vec<Member>,
    /// Get the next page with it as `cursor`; null at the end.
    next: Option<String>,
    /// How many members the group has in all.
    count: u64,
    /// Nodes whose members these are.
    nodes: usize,
    /// Live nodes that did not answer: their members are not listed.
    nodes_missing: usize,
}

/// Whose members are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Extent {
    /// Those of all nodes.
    #[default]
    Fleet,
    /// Those of the node that is asked.
    Node,
}

/// The requested part of a list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    /// Members at most; 1 to 1000.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// `fleet` if not given.
    #[serde(default)]
    scope: Extent,
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
) -> Result<Json<MemberList>, Problem> {
    let group = allowed(&caller, &group)?;
    let after = paging.cursor.as_deref().map(parse_id).transpose()?;
    let limit = paging.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let hub = &publisher.messages;
    let found = match paging.scope {
        Extent::Fleet => hub.members(&group, after, limit).await,
        Extent::Node => {
            let page = hub.members_here(&group, after, limit).await;
            FleetPage {
                nodes: usize::from(page.is_some()),
                missing: usize::from(page.is_none()),
                page: page.unwrap_or_default(),
            }
        }
    };
    let last = found
        .page
        .members
        .last()
        .map(|member| member.id.to_string());
    Ok(Json(MemberList {
        next: last.filter(|_| found.page.more),
        count: found.page.count,
        items: found.page.members.into_iter().map(Member::from).collect(),
        nodes: found.nodes,
        nodes_missing: found.missing,
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
    let ttl_ms = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    change(&publisher, id, Question::Join { id, group, ttl_ms }).await
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
