//! Which groups there are, on all gateways.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Gateway;
use crate::admin::extract::Parameters;
use crate::admin::groups::{Extent, hub};
use crate::admin::problem::Problem;
use crate::base::group::GROUP_NAME_MAX;
use crate::control::messages::{FleetGroups, Messages};
use crate::core::messages::group_counts::GROUPS_MAX;

/// Groups that are listed unless more are asked for.
const LIMIT_DEFAULT: usize = 100;

/// The largest groups.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct GroupList {
    /// Those with most members first.
    pub items: Vec<GroupSize>,
    /// Always null: this is one page. `prefix` narrows it.
    pub next: Option<String>,
    /// Whether smaller groups are left out.
    pub more: bool,
    /// Nodes whose groups these are.
    pub nodes: usize,
    /// Live nodes that did not answer: their members are not counted.
    pub nodes_missing: usize,
}

/// A group.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupSize {
    /// Its name.
    pub group: String,
    /// Sessions that are members.
    pub members: u64,
}

/// Which groups are listed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupsQuery {
    /// Items at most; 1 to 1000, 100 if not given.
    limit: Option<usize>,
    /// Only groups whose names begin like this.
    #[serde(default)]
    prefix: String,
    /// `fleet`, if not given, or `node`.
    #[serde(default)]
    scope: Extent,
}

pub(in crate::admin) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Parameters(query): Parameters<GroupsQuery>,
) -> Result<Json<GroupList>, Problem> {
    Ok(Json(groups_page(hub(&gateway)?, &query).await?))
}

/// The groups that are asked for.
///
/// # Errors
/// When the prefix is longer than a name can be.
pub(crate) async fn groups_page(hub: &Messages, query: &GroupsQuery) -> Result<GroupList, Problem> {
    if query.prefix.len() > GROUP_NAME_MAX {
        let detail = format!("prefix: the name of a group has at most {GROUP_NAME_MAX} bytes");
        return Err(Problem::bad_request(detail));
    }
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, GROUPS_MAX);
    let found = match query.scope {
        Extent::Fleet => hub.groups(&query.prefix.as_str().into(), limit).await,
        Extent::Node => {
            let counts = hub.groups_here(&query.prefix, limit).await;
            FleetGroups {
                nodes: usize::from(counts.is_some()),
                missing: usize::from(counts.is_none()),
                counts: counts.unwrap_or_default(),
            }
        }
    };
    let items = found.counts.groups.into_iter().map(|one| GroupSize {
        group: one.group.as_str().to_owned(),
        members: one.members,
    });
    Ok(GroupList {
        items: items.collect(),
        next: None,
        more: found.counts.more,
        nodes: found.nodes,
        nodes_missing: found.missing,
    })
}
