//! Resources of published messages and groups.

use crate::admin::resource::Resource;
use crate::admin::{groups, messages};

/// Messages and groups of all gateways.
pub(super) fn all() -> Vec<Resource> {
    vec![
        Resource::post(
            "/v1/messages",
            messages::publish,
            "Publishes a message to sessions, principals, groups or routes of all gateways.",
        )
        .body::<messages::NewMessage>()
        .answers::<messages::PublishedView>()
        .statuses(&[202, 400, 409, 413]),
        Resource::get(
            "/v1/groups",
            groups::overview::list,
            "The largest groups of sessions, on all gateways.",
        )
        .query::<groups::overview::GroupsQuery>()
        .answers::<groups::GroupList>()
        .statuses(&[200, 400, 409]),
        Resource::get(
            "/v1/groups/{group}",
            groups::list,
            "The members of a group of sessions, on all gateways.",
        )
        .query::<groups::MembersQuery>()
        .answers::<groups::MemberList>()
        .statuses(&[200, 400, 409]),
        Resource::get(
            "/v1/groups/{group}/events",
            groups::events,
            "The members of a group, then joins and leaves, as server-sent events.",
        )
        .statuses(&[200, 400, 409, 503]),
    ]
}
