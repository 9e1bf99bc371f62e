//! The members of a group of sessions, on all gateways.

mod follow;
mod member;
pub(crate) mod overview;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Gateway;
use crate::admin::extract::{Caller, Parameters};
use crate::admin::page::PAGE_MAX;
use crate::admin::problem::Problem;
use crate::base::group::GroupName;
use crate::control::messages::{FleetPage, Messages};

pub use follow::MembersEvent;
pub(crate) use follow::stream;
pub use member::GroupMember;
pub use overview::{GroupList, GroupSize};

/// The members of a group.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct MemberList {
    /// In the order of the sessions' ids.
    pub items: Vec<GroupMember>,
    /// What to give as `cursor` for the next page; null on the last.
    pub next: Option<String>,
    /// How many members the group has in all.
    pub count: u64,
    /// Nodes whose members these are.
    pub nodes: usize,
    /// Live nodes that did not answer: their members are not listed.
    pub nodes_missing: usize,
}

/// Whose members are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Extent {
    /// Those of all gateways.
    #[default]
    Fleet,
    /// Those of the gateway that is asked.
    Node,
}

/// The requested part of a list of members.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MembersQuery {
    /// Items at most; 1 to 1000.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// `fleet`, if not given, or `node`.
    #[serde(default)]
    scope: Extent,
}

/// A page of members.
///
/// # Errors
/// When the cursor is none.
pub(crate) async fn members_page(
    hub: &Messages,
    group: &GroupName,
    query: &MembersQuery,
) -> Result<MemberList, Problem> {
    let after = query.cursor.as_deref().map(|cursor| {
        let after = cursor.parse();
        after.map_err(|error| Problem::bad_request(format!("cursor: `{cursor}`: {error}")))
    });
    let after = after.transpose()?;
    let limit = query.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let found = match query.scope {
        Extent::Fleet => hub.members(group, after, limit).await,
        Extent::Node => {
            let page = hub.members_here(group, after, limit).await;
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
    Ok(MemberList {
        next: last.filter(|_| found.page.more),
        count: found.page.count,
        items: found.page.members.iter().map(GroupMember::from).collect(),
        nodes: found.nodes,
        nodes_missing: found.missing,
    })
}

pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Path(group): Path<String>,
    Parameters(query): Parameters<MembersQuery>,
) -> Result<Json<MemberList>, Problem> {
    let (hub, group) = (hub(&gateway)?, parse(&group)?);
    Ok(Json(members_page(hub, &group, &query).await?))
}

pub(super) async fn events(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(group): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (hub, group) = (hub(&gateway)?, parse(&group)?);
    stream(hub, &group, (&caller.name, &headers))
}

fn hub(gateway: &Gateway) -> Result<&Messages, Problem> {
    gateway.messages.as_deref().ok_or_else(|| {
        let detail = "this gateway has no groups: `[publish]` is not configured";
        Problem::new(StatusCode::CONFLICT, detail)
    })
}

fn parse(group: &str) -> Result<GroupName, Problem> {
    GroupName::parse(group).map_err(|error| Problem::bad_request(error.to_string()))
}
