//! The groups with most members, of one node or of several.

use std::cmp::Ordering;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::base::group::GroupName;

/// Most groups in one answer.
pub const GROUPS_MAX: usize = 1000;

/// A group and how many members it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCount {
    /// Its name.
    pub group: GroupName,
    /// Sessions that are members.
    pub members: u64,
}

/// The groups with most members first; groups of one size by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCounts {
    /// These.
    pub groups: Vec<GroupCount>,
    /// Whether smaller ones are left out.
    pub more: bool,
}

impl GroupCounts {
    /// The counts of several nodes, as one list of at most `most`. A group that one node has left
    /// out counts there as empty.
    pub fn merge(nodes: Vec<Self>, most: usize) -> Self {
        let more = nodes.iter().any(|node| node.more);
        let mut sums: HashMap<GroupName, u64> = HashMap::new();
        for one in nodes.into_iter().flat_map(|node| node.groups) {
            let sum = sums.entry(one.group).or_default();
            *sum = sum.saturating_add(one.members);
        }
        let mut largest = LargestGroups::new(most);
        for (group, members) in sums {
            largest.add(GroupCount { group, members });
        }
        let mut merged = largest.into_counts();
        merged.more |= more;
        merged
    }
}

/// The largest of the groups that were added, found without keeping more than a few of them.
#[derive(Debug)]
pub struct LargestGroups {
    most: usize,
    more: bool,
    found: Vec<GroupCount>,
}

impl LargestGroups {
    /// None yet.
    pub fn new(most: usize) -> Self {
        Self {
            most: most.clamp(1, GROUPS_MAX),
            more: false,
            found: Vec::new(),
        }
    }

    /// Adds a group. In the long run this takes constant time.
    pub fn add(&mut self, one: GroupCount) {
        self.found.push(one);
        if self.found.len() >= self.most * 2 {
            self.cut();
        }
    }

    /// The largest ones, in order.
    pub fn into_counts(mut self) -> GroupCounts {
        self.cut();
        self.found.sort_unstable_by(order);
        GroupCounts {
            groups: self.found,
            more: self.more,
        }
    }

    fn cut(&mut self) {
        if self.found.len() > self.most {
            self.found.select_nth_unstable_by(self.most - 1, order);
            self.found.truncate(self.most);
            self.more = true;
        }
    }
}

fn order(one: &GroupCount, other: &GroupCount) -> Ordering {
    let by_size = other.members.cmp(&one.members);
    by_size.then_with(|| one.group.cmp(&other.group))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(number: u16, members: u64) -> GroupCount {
        let group = GroupName::parse(&format!("room-{number:05}")).expect("a name");
        GroupCount { group, members }
    }

    fn largest(all: &[GroupCount], most: usize) -> GroupCounts {
        let mut largest = LargestGroups::new(most);
        all.iter().cloned().for_each(|one| largest.add(one));
        largest.into_counts()
    }

    #[test]
    fn nodes_add_up() {
        let nodes = [
            largest(&[count(1, 3), count(2, 9)], 5),
            largest(&[count(1, 7), count(3, 1)], 5),
        ];
        let merged = GroupCounts::merge(nodes.to_vec(), 2);
        assert_eq!(merged.groups, [count(1, 10), count(2, 9)]);
        assert!(merged.more, "room-00003 is left out");
        assert!(!GroupCounts::merge(nodes.to_vec(), 3).more);
        let cut = largest(&[count(1, 3), count(2, 9)], 1);
        assert!(GroupCounts::merge(vec![cut], 5).more, "a node left one out");
    }

    proptest! {
        /// The list is the beginning of the sorted list of all groups.
        #[test]
        fn the_largest_are_those_of_a_sorted_list(
            members in prop::collection::vec(1_u64..20, 0..200),
            most in 1_usize..50,
        ) {
            let all = members.iter().zip(0..).map(|(members, number)| count(number, *members));
            let mut all: Vec<_> = all.collect();
            let found = largest(&all, most);
            all.sort_by(order);
            prop_assert_eq!(found.more, all.len() > most);
            all.truncate(most);
            prop_assert_eq!(found.groups, all);
        }
    }
}
