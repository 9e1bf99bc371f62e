//! Which groups there are, on this node and on all nodes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::group::GroupName;
use crate::control::messages::Messages;
use crate::control::messages::sessions::{ANSWER_MAX, SLICE_MAX};
use crate::core::messages::group_counts::{GroupCount, GroupCounts, LargestGroups};
use crate::core::messages::signal::{Answer, Question};
use crate::live::{MessageCommand, WorkerCommand};

/// Groups that are looked at before other tasks of the thread get a turn.
const TURN: usize = 4096;

/// What came of asking all nodes for their groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetGroups {
    /// The groups.
    pub counts: GroupCounts,
    /// Nodes that answered, this one among them.
    pub nodes: usize,
    /// Nodes that did not.
    pub missing: usize,
}

impl Messages {
    /// The largest groups of all nodes whose names begin with `prefix`.
    pub async fn groups(&self, prefix: &Arc<str>, most: usize) -> FleetGroups {
        let here = self.groups_here(prefix, most);
        let there = async {
            let fleet = self.fleet.as_ref()?;
            let prefix = Arc::clone(prefix);
            let question = Question::Groups { prefix, most };
            Some(fleet.ask(question, ANSWER_MAX, |_| false).await)
        };
        let (here, there) = tokio::join!(here, there);
        let (mut lists, mut missing) = (Vec::new(), 0);
        match here {
            Some(counts) => lists.push(counts),
            None => missing += 1,
        }
        if let Some(replies) = there {
            missing += replies.missing;
            for answer in replies.answers {
                match answer {
                    Answer::Groups(counts) => lists.push(counts),
                    _ => missing += 1,
                }
            }
        }
        let nodes = lists.len();
        FleetGroups {
            counts: GroupCounts::merge(lists, most),
            nodes,
            missing,
        }
    }

    /// The largest groups of this node whose names begin with `prefix`; `None` if a worker does not
    /// answer. Sessions are walked slice by slice. One list is made at a time, since it holds the
    /// names of all groups.
    pub async fn groups_here(&self, prefix: &str, most: usize) -> Option<GroupCounts> {
        let _turn = self.listing.acquire().await;
        let mut members: HashMap<GroupName, u64> = HashMap::new();
        let command =
            |slice, answer| WorkerCommand::Messages(MessageCommand::Groups { slice, answer });
        let each = |_, groups: Vec<GroupName>| {
            let groups = groups.into_iter();
            for group in groups.filter(|group| group.as_str().starts_with(prefix)) {
                *members.entry(group).or_default() += 1;
            }
            true
        };
        let workers = self.live.workers();
        let silent = workers.walk_each(SLICE_MAX, None, command, each).await;
        if !silent.is_empty() {
            return None;
        }
        let mut largest = LargestGroups::new(most);
        for (number, (group, members)) in members.into_iter().enumerate() {
            largest.add(GroupCount { group, members });
            if number % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
        Some(largest.into_counts())
    }
}
