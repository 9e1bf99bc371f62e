//! The sessions of a worker by principal and by group, so that a message to a few sessions costs
//! the same among ten sessions and among a hundred thousand.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::base::group::GroupName;
use crate::base::metadata::Metadata;
use crate::base::session_id::SessionId;
use crate::config::snapshot::MessageType;

/// Names of other services at the broker to which the sessions of one worker may be subscribed.
/// Clients choose what fills a name, and each one is a subscription at the broker.
const NAMES_MAX: usize = 65_536;

/// Bounds on groups (I8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupBounds {
    /// Most groups of one session.
    pub per_session: usize,
    /// Most memberships of one worker.
    pub per_worker: usize,
}

/// A session cannot join a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// It is in too many.
    #[error("the session is in {0} groups, which is the most that are allowed")]
    Session(usize),
    /// The node has too many memberships.
    #[error("this node has as many memberships as are allowed")]
    Node,
    /// The worker has too many names of other services.
    #[error("this node is subscribed to as many names as are allowed")]
    Names,
}

/// A session's place in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Which group.
    pub group: GroupName,
    /// When it ends by itself; `None` with the session.
    pub expires: Option<Instant>,
    /// What the session is described by there.
    pub metadata: Option<Metadata>,
}

impl Membership {
    /// Those of a session that is described alike in all of its groups.
    pub fn all(groups: Vec<GroupName>, metadata: Option<&Metadata>) -> Vec<Self> {
        let each = groups.into_iter().map(|group| Self {
            metadata: metadata.cloned(),
            ..Self::for_good(group)
        });
        each.collect()
    }

    /// One that ends with its session.
    pub const fn for_good(group: GroupName) -> Self {
        Self {
            group,
            expires: None,
            metadata: None,
        }
    }
}

/// A name at the broker from which a session gets messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subscription {
    /// As the broker has it.
    pub name: Arc<str>,
    /// What the client receives.
    pub message_type: MessageType,
}

/// What a session is a member of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memberships {
    /// Groups.
    pub groups: Vec<Membership>,
    /// Names at the broker, each at most once.
    pub subscriptions: Vec<Subscription>,
}

/// What a change of memberships came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The session joined, or left.
    pub changed: bool,
    /// The name has its first session here, or its last one is gone.
    pub edge: bool,
}

/// Some sessions in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembersSlice {
    /// These.
    pub ids: Vec<SessionId>,
    /// Where the next slice begins; `None` after the last.
    pub next: Option<SessionId>,
}

#[derive(Debug)]
enum Members {
    One(SessionId),
    Many(BTreeSet<SessionId>),
}

/// The index.
#[derive(Debug, Default)]
pub struct TargetIndex {
    principals: HashMap<Arc<str>, Members>,
    groups: HashMap<GroupName, Members>,
    memberships: HashMap<SessionId, Vec<Membership>>,
    subscribers: HashMap<Subscription, Members>,
    subscriptions: HashMap<SessionId, Vec<Subscription>>,
    /// Memberships with an end.
    expiring: BTreeSet<(Instant, SessionId, GroupName)>,
    /// Groups and subscriptions of all sessions.
    count: usize,
}

impl TargetIndex {
    /// Adds a session of a principal. Returns whether it is the first.
    pub fn add_principal(&mut self, subject: &Arc<str>, id: SessionId) -> bool {
        insert(&mut self.principals, subject, id).edge
    }

    /// Removes a session of a principal. Returns whether it was the last.
    pub fn remove_principal(&mut self, subject: &str, id: SessionId) -> bool {
        remove(&mut self.principals, subject, id).edge
    }

    /// Makes a session a member of a group. One that is a member already gets the new end, and the
    /// new metadata if there is some.
    ///
    /// # Errors
    /// Beyond the bounds; nothing changes then.
    pub fn join(
        &mut self,
        id: SessionId,
        mut membership: Membership,
        bounds: GroupBounds,
    ) -> Result<Change, JoinError> {
        let known = self.memberships.get(&id).map_or(&[][..], |all| &all[..]);
        let place = known.iter().position(|one| one.group == membership.group);
        if place.is_none() && known.len() >= bounds.per_session {
            return Err(JoinError::Session(known.len()));
        }
        if place.is_none() && self.count >= bounds.per_worker {
            return Err(JoinError::Node);
        }
        if let Some(known) = place.map(|place| &known[place]) {
            let kept = &known.metadata;
            membership.metadata = membership.metadata.or_else(|| kept.clone());
        }
        let Membership { group, expires, .. } = &membership;
        if let Some(at) = expires {
            self.expiring.insert((*at, id, group.clone()));
        }
        let change = insert(&mut self.groups, group, id);
        let all = self.memberships.entry(id).or_default();
        match place {
            None => {
                all.push(membership);
                self.count += 1;
            }
            Some(place) => {
                let before = std::mem::replace(&mut all[place], membership);
                let (before, now) = (before.expires, all[place].expires);
                if let Some(at) = before.filter(|_| before != now) {
                    self.expiring.remove(&(at, id, all[place].group.clone()));
                }
            }
        }
        Ok(change)
    }

    /// Ends a membership.
    pub fn leave(&mut self, id: SessionId, group: &GroupName) -> Change {
        let Some(all) = self.memberships.get_mut(&id) else {
            return Change::default();
        };
        let Some(place) = all.iter().position(|one| one.group == *group) else {
            return Change::default();
        };
        let membership = all.swap_remove(place);
        if all.is_empty() {
            self.memberships.remove(&id);
        }
        self.count -= 1;
        if let Some(at) = membership.expires {
            self.expiring.remove(&(at, id, membership.group.clone()));
        }
        remove(&mut self.groups, group.as_str(), id)
    }

    /// Ends all memberships of a session. Returns them, and which groups lost their last member.
    pub fn leave_all(&mut self, id: SessionId) -> Vec<(GroupName, Change)> {
        let groups: Vec<_> = self
            .groups_of(id)
            .iter()
            .map(|one| one.group.clone())
            .collect();
        let left = groups.into_iter().map(|group| {
            let change = self.leave(id, &group);
            (group, change)
        });
        left.collect()
    }

    /// Subscribes a session to a name.
    ///
    /// # Errors
    /// Beyond the bounds; nothing changes then.
    pub fn subscribe(
        &mut self,
        id: SessionId,
        subscription: Subscription,
        bounds: GroupBounds,
    ) -> Result<Change, JoinError> {
        let known = self.subscriptions_of(id);
        if known.iter().any(|one| one.name == subscription.name) {
            return Ok(Change::default());
        }
        if self.count >= bounds.per_worker {
            return Err(JoinError::Node);
        }
        if self.subscribers.len() >= NAMES_MAX && !self.subscribers.contains_key(&subscription) {
            return Err(JoinError::Names);
        }
        let change = insert(&mut self.subscribers, &subscription, id);
        let all = self.subscriptions.entry(id).or_default();
        all.push(subscription);
        self.count += 1;
        Ok(change)
    }

    /// Ends all subscriptions of a session. Returns the names that lost their last session, of one
    /// message type.
    pub fn unsubscribe_all(&mut self, id: SessionId) -> Vec<Arc<str>> {
        let all = self.subscriptions.remove(&id).unwrap_or_default();
        self.count -= all.len();
        let subscribers = &mut self.subscribers;
        let over = all.into_iter().filter_map(|one| {
            let change = remove(subscribers, &one, id);
            change.edge.then_some(one.name)
        });
        over.collect()
    }

    /// A session's names at the broker.
    pub fn subscriptions_of(&self, id: SessionId) -> &[Subscription] {
        self.subscriptions.get(&id).map_or(&[], |all| all)
    }

    /// The sessions of a subscription, behind `after`.
    pub fn subscribers(
        &self,
        subscription: &Subscription,
        after: Option<SessionId>,
        most: usize,
    ) -> MembersSlice {
        slice(self.subscribers.get(subscription), after, most)
    }

    /// Ends memberships that are over, `most` at most. Returns them.
    pub fn expire(&mut self, now: Instant, most: usize) -> Vec<(SessionId, GroupName, Change)> {
        let mut over = Vec::new();
        while over.len() < most {
            let first = self.expiring.first();
            let Some((_, id, group)) = first.filter(|(at, ..)| *at <= now).cloned() else {
                break;
            };
            let change = self.leave(id, &group);
            over.push((id, group, change));
        }
        over
    }

    /// A session's membership in a group.
    pub fn membership(&self, id: SessionId, group: &GroupName) -> Option<&Membership> {
        self.groups_of(id).iter().find(|one| one.group == *group)
    }

    /// A session's groups.
    pub fn groups_of(&self, id: SessionId) -> &[Membership] {
        self.memberships.get(&id).map_or(&[], |all| all)
    }

    /// The sessions of a group, behind `after`.
    pub fn group(&self, name: &str, after: Option<SessionId>, most: usize) -> MembersSlice {
        slice(self.groups.get(name), after, most)
    }

    /// How many sessions a group has.
    pub fn group_size(&self, name: &str) -> usize {
        match self.groups.get(name) {
            None => 0,
            Some(Members::One(_)) => 1,
            Some(Members::Many(ids)) => ids.len(),
        }
    }

    /// The sessions of a principal, behind `after`.
    pub fn principal(&self, subject: &str, after: Option<SessionId>, most: usize) -> MembersSlice {
        slice(self.principals.get(subject), after, most)
    }

    /// Groups and subscriptions of all sessions.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no session is in a group or subscribed.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

fn insert<K: Clone + Eq + Hash>(all: &mut HashMap<K, Members>, key: &K, id: SessionId) -> Change {
    let Some(members) = all.get_mut(key) else {
        all.insert(key.clone(), Members::One(id));
        return Change {
            changed: true,
            edge: true,
        };
    };
    let changed = match members {
        Members::One(one) if *one == id => false,
        Members::One(one) => {
            *members = Members::Many(BTreeSet::from([*one, id]));
            true
        }
        Members::Many(ids) => ids.insert(id),
    };
    Change {
        changed,
        edge: false,
    }
}

fn remove<K: Borrow<Q> + Eq + Hash, Q: Eq + Hash + ?Sized>(
    all: &mut HashMap<K, Members>,
    key: &Q,
    id: SessionId,
) -> Change {
    let (changed, edge) = match all.get_mut(key) {
        Some(Members::One(one)) if *one == id => (true, true),
        Some(Members::Many(ids)) => {
            let removed = ids.remove(&id);
            (removed, ids.is_empty())
        }
        _ => (false, false),
    };
    if edge {
        all.remove(key);
    }
    Change { changed, edge }
}

fn slice(members: Option<&Members>, after: Option<SessionId>, most: usize) -> MembersSlice {
    let behind = |id: &SessionId| after.is_none_or(|after| *id > after);
    let mut ids = Vec::new();
    let mut next = None;
    match members {
        None => {}
        Some(Members::One(id)) => ids.extend(Some(*id).filter(behind)),
        Some(Members::Many(all)) => {
            let after = after.map_or(Bound::Unbounded, Bound::Excluded);
            let mut rest = all.range((after, Bound::Unbounded));
            ids.extend(rest.by_ref().take(most));
            next = ids.last().copied().filter(|_| rest.next().is_some());
        }
    }
    MembersSlice { ids, next }
}

#[cfg(test)]
mod tests;
