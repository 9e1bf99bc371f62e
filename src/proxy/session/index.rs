//! Which sessions of a worker published messages are for: the index of principals, groups and
//! subscriptions, kept up to date as sessions begin and end. Without `[publish]` and `[broker]`
//! there is none, and it costs nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::base::clock;
use crate::base::group::GroupName;
use crate::base::history_id::HistoryId;
use crate::base::session_id::SessionId;
use crate::core::messages::index::{
    Change, JoinError, MembersSlice, Membership, Memberships, Subscription, TargetIndex,
};
use crate::core::messages::member::Member;
use crate::core::messages::presence::Item;
use crate::core::messages::topic::Topic;
use crate::live::{MessagesSetup, PresenceNote, RecordedAt, ReplayRequest};
use crate::proxy::context::worker::Worker;
use crate::proxy::session::live_session::{Ownership, Session};

/// Memberships that are ended in one go.
const EXPIRED_MAX: usize = 256;

/// The index of one worker.
pub(crate) struct SessionIndex(Option<Indexed>);

struct Indexed {
    index: RefCell<TargetIndex>,
    /// Where groups have a history: the newest message when each session began. Its delivery may
    /// still be on its way to this worker.
    newest: RefCell<HashMap<SessionId, HistoryId>>,
    /// The last message of the history that each session got.
    seen: RefCell<HashMap<SessionId, HistoryId>>,
    /// Sessions that wait for what they have missed, with the groups that were asked for.
    behind: RefCell<HashMap<SessionId, Vec<GroupName>>>,
    /// When sessions came from the process before this one.
    adopted: RefCell<HashMap<SessionId, Instant>>,
    setup: Arc<MessagesSetup>,
}

impl SessionIndex {
    pub(crate) fn new(worker: &Worker) -> Self {
        let setup = worker.live().messages();
        Self(setup.map(|setup| Indexed {
            index: RefCell::default(),
            newest: RefCell::default(),
            seen: RefCell::default(),
            behind: RefCell::default(),
            adopted: RefCell::default(),
            setup: Arc::clone(setup),
        }))
    }

    /// Adds a session, and what it is a member of.
    pub(crate) fn add(&self, session: &Session, memberships: Memberships) {
        let Some(this) = &self.0 else { return };
        if let Some(replays) = &this.setup.replays {
            this.newest.borrow_mut().insert(session.id, replays.last());
        }
        let mut index = this.index.borrow_mut();
        if let Some(subject) = &session.facts.borrow().principal
            && index.add_principal(subject, session.id)
        {
            this.add_interest(Topic::Principal(Arc::clone(subject)));
        }
        for subscription in memberships.subscriptions {
            let name = Arc::clone(&subscription.name);
            match index.subscribe(session.id, subscription, this.setup.bounds) {
                Ok(Change { edge: true, .. }) => this.add_interest(Topic::Foreign(name)),
                Ok(_) => {}
                Err(error) => {
                    session.metrics.subscription_refused("bounds");
                    tracing::debug!(id = %session.id, %name, %error, "not subscribed");
                }
            }
        }
        for membership in memberships.groups {
            let group = membership.group.clone();
            match index.join(session.id, membership, this.setup.bounds) {
                Ok(change) => this.joined(&index, session, &group, change.changed, change),
                Err(error) => {
                    this.setup.note_refused();
                    tracing::debug!(id = %session.id, %group, %error, "group not joined");
                }
            }
        }
    }

    /// Asks for what a session has missed whose client says that it has all up to `since`.
    pub(crate) fn ask_for_client(&self, id: SessionId, since: HistoryId) {
        let this = self.0.as_ref();
        if let Some(replays) = this.and_then(|this| this.setup.replays.as_ref()) {
            let now = clock::unix_millis(clock::wall());
            self.ask_for_missed(id, replays.place(since, now), true);
        }
    }

    /// Asks for what a session has missed behind `since`. Until it comes, the session does not get
    /// messages of the history. `tells_gap` is whether its client learns that some may be missing.
    pub(crate) fn ask_for_missed(&self, id: SessionId, since: HistoryId, tells_gap: bool) {
        let Some(this) = &self.0 else { return };
        let Some(replays) = &this.setup.replays else {
            return;
        };
        let index = this.index.borrow();
        let groups = index.groups_of(id).iter().map(|one| one.group.clone());
        let groups: Vec<_> = groups.collect();
        if groups.is_empty() {
            return;
        }
        this.seen.borrow_mut().insert(id, since);
        this.behind.borrow_mut().insert(id, groups.clone());
        replays.push(ReplayRequest {
            id,
            groups,
            since,
            tells_gap,
        });
    }

    /// A session misses a message of the history while it is held for another process. If it stays,
    /// it asks for it.
    pub(crate) fn fall_behind(&self, id: SessionId) {
        let Some(this) = &self.0 else { return };
        let groups = self.groups_of(id).into_iter();
        let groups = groups.map(|one| one.group).collect();
        this.behind.borrow_mut().insert(id, groups);
    }

    /// The same for a session that is behind already: behind the last message that it got.
    pub(crate) fn ask_again(&self, id: SessionId) {
        let Some(this) = &self.0 else { return };
        let behind = this.behind.borrow().contains_key(&id);
        if let Some(seen) = self.seen(id).filter(|_| behind) {
            self.ask_for_missed(id, seen, true);
        }
    }

    /// Whether a session is in one of these groups.
    pub(crate) fn is_in(&self, id: SessionId, groups: &[GroupName]) -> bool {
        let Some(this) = &self.0 else { return false };
        let index = this.index.borrow();
        let mine = index.groups_of(id).iter();
        mine.map(|one| &one.group).any(|one| groups.contains(one))
    }

    /// A session got a message of the history.
    pub(crate) fn note_seen(&self, id: SessionId, event: HistoryId) {
        if let Some(this) = &self.0 {
            this.seen.borrow_mut().insert(id, event);
        }
    }

    /// The last message of the history that a session got, or the newest when it began.
    pub(crate) fn seen(&self, id: SessionId) -> Option<HistoryId> {
        let this = self.0.as_ref()?;
        let seen = this.seen.borrow().get(&id).copied();
        seen.or_else(|| this.newest.borrow().get(&id).copied())
    }

    /// Whether a session gets a message of the history as one that it has missed, or got it so.
    pub(crate) fn gets_later(&self, id: SessionId, at: &RecordedAt) -> bool {
        let Some(this) = &self.0 else { return false };
        let (seen, behind) = (this.seen.borrow(), this.behind.borrow());
        let got = seen.get(&id).is_some_and(|seen| *seen >= at.id);
        let asked = |groups: &Vec<GroupName>| groups.iter().any(|one| at.groups.contains(one));
        got || behind.get(&id).is_some_and(asked)
    }

    /// A session has all messages of the history up to `last` that are for it.
    pub(crate) fn caught_up(&self, id: SessionId, last: HistoryId) {
        if let Some(this) = &self.0 {
            this.behind.borrow_mut().remove(&id);
            this.seen.borrow_mut().insert(id, last);
        }
    }

    /// A session has come from the process before this one.
    pub(crate) fn note_adopted(&self, id: SessionId) {
        if let Some(this) = &self.0 {
            this.adopted.borrow_mut().insert(id, clock::now());
        }
    }

    /// Whether a session came from the process before this one behind a message that both got at
    /// this time, so that it may have got it there.
    pub(crate) fn came_behind(&self, id: SessionId, came: Instant) -> bool {
        let this = self.0.as_ref();
        let adopted = this.and_then(|this| this.adopted.borrow().get(&id).copied());
        adopted.is_some_and(|adopted| adopted >= came)
    }

    /// Removes a session.
    pub(crate) fn remove(&self, session: &Session) {
        let Some(this) = &self.0 else { return };
        this.newest.borrow_mut().remove(&session.id);
        this.seen.borrow_mut().remove(&session.id);
        this.behind.borrow_mut().remove(&session.id);
        this.adopted.borrow_mut().remove(&session.id);
        let mut index = this.index.borrow_mut();
        if let Some(subject) = &session.facts.borrow().principal
            && index.remove_principal(subject, session.id)
        {
            this.remove_interest(&Topic::Principal(Arc::clone(subject)));
        }
        let moved = session.ownership.get() == Ownership::Gone;
        for name in index.unsubscribe_all(session.id) {
            this.remove_interest(&Topic::Foreign(name));
        }
        for (group, change) in index.leave_all(session.id) {
            this.left(session.id, group, change, moved);
        }
    }

    /// Makes a session of this worker a member of a group.
    ///
    /// # Errors
    /// Beyond the bounds.
    pub(crate) fn join(
        &self,
        session: &Session,
        membership: Membership,
    ) -> Result<bool, JoinError> {
        let Some(this) = &self.0 else {
            return Err(JoinError::Node);
        };
        let (group, described) = (membership.group.clone(), membership.metadata.is_some());
        let mut index = this.index.borrow_mut();
        let joined = index.join(session.id, membership, this.setup.bounds)?;
        let shown = joined.changed || described;
        this.joined(&index, session, &group, shown, joined);
        Ok(joined.changed)
    }

    /// Ends a membership. Returns whether there was one.
    pub(crate) fn leave(&self, id: SessionId, group: &GroupName) -> bool {
        let Some(this) = &self.0 else { return false };
        let left = this.index.borrow_mut().leave(id, group);
        this.left(id, group.clone(), left, false);
        left.changed
    }

    /// Ends memberships that are over.
    pub(crate) fn expire(&self, now: Instant) {
        let Some(this) = &self.0 else { return };
        let over = this.index.borrow_mut().expire(now, EXPIRED_MAX);
        for (id, group, change) in over {
            this.left(id, group, change, false);
        }
    }

    /// A session as a member of a group; `None` if it is none.
    pub(crate) fn member(&self, session: &Session, group: &GroupName) -> Option<Member> {
        let this = self.0.as_ref()?;
        member(&this.index.borrow(), session, group)
    }

    /// Reports something about a group that is watched.
    pub(crate) fn report(&self, note: PresenceNote) {
        if let Some(this) = &self.0 {
            this.setup.presence.report(note);
        }
    }

    /// A session's groups.
    pub(crate) fn groups_of(&self, id: SessionId) -> Vec<Membership> {
        let this = self.0.as_ref();
        this.map_or_else(Vec::new, |this| this.index.borrow().groups_of(id).to_vec())
    }

    /// How many sessions a group has.
    pub(crate) fn count(&self, topic: &Topic) -> usize {
        match (&self.0, topic) {
            (Some(this), Topic::Group(name)) => this.index.borrow().group_size(name.as_str()),
            _ => 0,
        }
    }

    /// The names at the broker that a session is subscribed to.
    pub(crate) fn subscriptions_of(&self, id: SessionId) -> Vec<Subscription> {
        let index = self.0.as_ref().map(|this| this.index.borrow());
        index.map_or_else(Vec::new, |index| index.subscriptions_of(id).to_vec())
    }

    /// The sessions of a subscription, behind `after`.
    pub(crate) fn subscribers(
        &self,
        subscription: &Subscription,
        after: Option<SessionId>,
        most: usize,
    ) -> MembersSlice {
        let index = self.0.as_ref().map(|this| this.index.borrow());
        index.map_or_else(MembersSlice::default, |index| {
            index.subscribers(subscription, after, most)
        })
    }

    /// The sessions of a group, or of a principal, behind `after`.
    pub(crate) fn slice(
        &self,
        topic: &Topic,
        after: Option<SessionId>,
        most: usize,
    ) -> MembersSlice {
        let none = MembersSlice::default();
        let Some(this) = &self.0 else { return none };
        let index = this.index.borrow();
        match topic {
            Topic::Group(name) => index.group(name.as_str(), after, most),
            Topic::Principal(subject) => index.principal(subject, after, most),
            _ => none,
        }
    }
}

impl Indexed {
    fn add_interest(&self, topic: Topic) {
        if let Some(interest) = &self.setup.interest {
            interest.add(topic);
        }
    }

    fn remove_interest(&self, topic: &Topic) {
        if let Some(interest) = &self.setup.interest {
            interest.remove(topic);
        }
    }

    /// A session joined a group; `shown` is whether watchers learn something new of it.
    fn joined(
        &self,
        index: &TargetIndex,
        session: &Session,
        group: &GroupName,
        shown: bool,
        change: Change,
    ) {
        if change.edge {
            self.add_interest(Topic::Group(group.clone()));
        }
        if shown
            && self.setup.presence.is_watched(group)
            && let Some(member) = member(index, session, group)
        {
            // The time that is left changes constantly, so watchers do not get it.
            let item = Item::Member(Member {
                ttl_ms: None,
                ..member
            });
            let group = group.clone();
            let note = PresenceNote::Changed { group, item };
            self.setup.presence.report(note);
        }
    }

    fn left(&self, id: SessionId, group: GroupName, change: Change, moved: bool) {
        if change.changed && self.setup.presence.is_watched(&group) {
            let item = Item::Left { id, moved };
            let note = PresenceNote::Changed {
                group: group.clone(),
                item,
            };
            self.setup.presence.report(note);
        }
        if change.edge {
            self.remove_interest(&Topic::Group(group));
        }
    }
}

fn member(index: &TargetIndex, session: &Session, group: &GroupName) -> Option<Member> {
    let membership = index.membership(session.id, group)?;
    let left = |at: Instant| at.saturating_duration_since(clock::now()).as_millis();
    let facts = session.facts.borrow();
    Some(Member {
        id: session.id,
        principal: facts.principal.clone(),
        route: facts.route.clone(),
        ttl_ms: (membership.expires).map(|at| u64::try_from(left(at)).unwrap_or(u64::MAX)),
        metadata: membership.metadata.clone(),
    })
}

#[cfg(test)]
impl SessionIndex {
    /// Makes a session that is here under another id than its own a member of a group.
    pub(crate) fn join_as(&self, id: SessionId, membership: Membership) {
        let this = self.0.as_ref().expect("messages are published");
        let joined = this
            .index
            .borrow_mut()
            .join(id, membership, this.setup.bounds);
        joined.expect("within the bounds");
    }
}
