//! How the broker is, and which nodes there are.

use crate::control::messages::{Messages, NodeStatus};
use crate::io::broker::BrokerStatus;

impl Messages {
    /// How the broker is; `None` without one.
    pub fn broker(&self) -> Option<BrokerStatus> {
        let fleet = self.fleet.as_ref();
        fleet.map(|fleet| fleet.broker().status())
    }

    /// The other live nodes.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        let fleet = self.fleet.as_ref();
        fleet.map_or_else(Vec::new, |fleet| fleet.statuses())
    }

    /// Whether every live node is known.
    pub fn knows_all_nodes(&self) -> bool {
        self.fleet.as_ref().is_none_or(|fleet| fleet.is_settled())
    }
}
