//! The Gateway API of a cluster: its objects by lists and watches, the routes that they come to,
//! and statuses written back by the one gateway that is the leader.

mod bring;
mod lead;
mod repeat;
mod state;
mod statuses;

pub(super) use state::GatewayFollower;
