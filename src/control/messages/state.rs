//! How the broker is, which nodes there are, and whether all sessions are with them.

use std::sync::Arc;

use crate::control::drainer::Elsewhere;
use crate::control::messages::{Messages, NodeStatus};
use crate::core::messages::signal::Answer;
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

    /// Follows whether sessions of this node are with another process.
    pub fn set_elsewhere(&self, elsewhere: Arc<Elsewhere>) {
        // There is one hand-over in the life of a process.
        let _ = self.elsewhere.set(elsewhere);
    }

    /// Whether every process that may have sessions is known, and no session is between two: else
    /// one that is not found may live.
    pub fn knows_all_nodes(&self) -> bool {
        match &self.fleet {
            // The process before this one is at the broker as long as it has sessions.
            Some(fleet) => fleet.is_settled() && !self.has_sessions_on_the_way(),
            None => !self.has_sessions_elsewhere(),
        }
    }

    /// Whether sessions of this node may be between two processes.
    fn has_sessions_on_the_way(&self) -> bool {
        let elsewhere = self.elsewhere.get();
        elsewhere.map_or(self.takes_over, |one| one.on_the_way())
    }

    /// Whether sessions of this node may be with another process, or on the way to it.
    fn has_sessions_elsewhere(&self) -> bool {
        let elsewhere = self.elsewhere.get();
        elsewhere.map_or(self.takes_over, |one| one.any())
    }

    /// The answer about a session that is not found here.
    pub(super) fn not_found(&self) -> Answer {
        match self.has_sessions_on_the_way() {
            true => Answer::Failed,
            false => Answer::NotHere,
        }
    }

    /// The counts of a message as an answer. While sessions are between two processes, none that
    /// were found are no answer.
    pub(super) fn counted(&self, answer: Answer) -> Answer {
        match answer {
            Answer::Counts { counts, unanswered }
                if counts == Default::default() && self.has_sessions_on_the_way() =>
            {
                let unanswered = unanswered.max(1);
                Answer::Counts { counts, unanswered }
            }
            other => other,
        }
    }
}
