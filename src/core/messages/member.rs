//! A session as a member of a group.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::metadata::Metadata;
use crate::base::names::RouteName;
use crate::base::session_id::SessionId;

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The session.
    pub id: SessionId,
    /// The subject of its principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Arc<str>>,
    /// Its route.
    pub route: RouteName,
    /// Milliseconds until the membership ends; `None` until the session ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// What it is described by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

impl Member {
    /// What it takes in an answer, about, in bytes.
    pub fn size(&self) -> usize {
        let principal = self.principal.as_ref().map_or(0, |subject| subject.len());
        let metadata = self.metadata.as_ref().map_or(0, |it| it.as_str().len());
        128 + principal + self.route.as_str().len() + metadata
    }
}

/// Some members of a group, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersPage {
    /// These.
    pub members: Vec<Member>,
    /// Whether there are more behind them.
    pub more: bool,
    /// How many members there are in all.
    pub count: u64,
}

impl MembersPage {
    /// Keeps the first members: `most`, and not more than about so many bytes.
    pub fn cut(&mut self, most: usize, bytes: usize) {
        let mut left = bytes;
        let fits = self.members.iter().take(most).take_while(|member| {
            let size = member.size();
            let fits = size <= left;
            left = left.saturating_sub(size);
            fits
        });
        let kept = fits.count();
        self.more |= kept < self.members.len();
        self.members.truncate(kept);
    }

    /// The pages of several nodes, as one. A member that two nodes have, while it is handed over,
    /// is there once.
    pub fn merge(pages: Vec<Self>) -> Self {
        // Behind the last member of a page that has more, that node's members are not known.
        let cut = pages.iter().filter(|page| page.more);
        let until = cut.map(|page| page.members.last().map(|member| member.id));
        let until = until.min().flatten();
        let (more, count) = pages.iter().fold((false, 0), |(more, count), page| {
            (more || page.more, page.count.saturating_add(count))
        });
        let members = pages.into_iter().flat_map(|page| page.members);
        let known = |member: &Member| until.is_none_or(|until| member.id <= until);
        let mut members: Vec<_> = members.filter(known).collect();
        members.sort_by_key(|member| member.id);
        members.dedup_by_key(|member| member.id);
        Self {
            members,
            more,
            count,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn member(number: u128) -> Member {
        Member {
            id: SessionId::new(1, number),
            principal: Some("ann".into()),
            route: "chat".into(),
            ttl_ms: None,
            metadata: None,
        }
    }

    proptest! {
        /// Whatever node has whatever member, and however small the pages are, a walk over the
        /// pages lists every member once.
        #[test]
        fn pages_of_all_nodes_list_every_member_once(
            nodes in prop::collection::vec(prop::collection::btree_set(0_u128..60, 0..30), 1..4),
            most in 1_usize..8,
            bytes in 140_usize..2000,
        ) {
            let mut listed = Vec::new();
            let mut after = None;
            loop {
                let page = |all: &BTreeSet<u128>| {
                    let behind = all.iter().filter(|number| after.is_none_or(|one| **number > one));
                    let mut page = MembersPage {
                        members: behind.map(|number| member(*number)).collect(),
                        more: false,
                        count: all.len() as u64,
                    };
                    page.cut(most, bytes);
                    page
                };
                let mut page = MembersPage::merge(nodes.iter().map(page).collect());
                page.cut(most, bytes);
                let numbers = page.members.iter().map(|member| {
                    (0..60).find(|number| SessionId::new(1, *number) == member.id).expect("one")
                });
                listed.extend(numbers);
                after = listed.last().copied();
                if !page.more {
                    break;
                }
                prop_assert!(!page.members.is_empty(), "the walk ends");
            }
            let all: BTreeSet<_> = nodes.into_iter().flatten().collect();
            prop_assert_eq!(listed, all.into_iter().collect::<Vec<_>>());
        }
    }
}
