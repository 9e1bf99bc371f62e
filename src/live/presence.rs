//! Joins and leaves of groups that are watched, from the workers to the control plane. Nothing is
//! done for other groups; while none is watched, a join costs one atomic load.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};

use tokio::sync::mpsc;

use crate::base::group::GroupName;
use crate::base::session_id::SessionId;
use crate::base::target::Target;
use crate::config::broker_name::BrokerName;
use crate::config::snapshot::PresenceTo;
use crate::core::messages::member::Member;
use crate::core::messages::presence::Item;

/// Notes that wait for the control plane. Beyond that they are lost, and snapshots are made anew.
const NOTES_MAX: usize = 16_384;

/// What workers report of watched groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PresenceNote {
    /// A session joined or left.
    Changed {
        /// The group.
        group: GroupName,
        /// What changed.
        item: Item,
    },
    /// A slice of the members that a worker has. What it reported before is older, what it reports
    /// later is newer.
    Slice {
        /// The group.
        group: GroupName,
        /// Who asked, and for which snapshot.
        asked: RosterAsk,
        /// The worker.
        worker: usize,
        /// The members.
        members: Vec<Member>,
        /// Where the next slice begins; `None` after the last.
        next: Option<SessionId>,
    },
}

/// Which snapshot a slice is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterAsk {
    /// The node that watches.
    pub node: Arc<str>,
    /// The number of the snapshot.
    pub snapshot: u64,
}

/// The way of joins and leaves.
#[derive(Debug)]
pub struct PresenceFeed {
    any: AtomicBool,
    watched: RwLock<HashSet<GroupName>>,
    notes: mpsc::Sender<PresenceNote>,
    receiver: Mutex<Option<mpsc::Receiver<PresenceNote>>>,
    lost: AtomicBool,
    /// Reports that were lost so far.
    losses: AtomicU64,
    /// Groups whose joins and leaves are published at the broker.
    published: Vec<PresenceTo>,
}

impl Default for PresenceFeed {
    fn default() -> Self {
        let (notes, receiver) = mpsc::channel(NOTES_MAX);
        Self {
            any: AtomicBool::new(false),
            watched: RwLock::default(),
            notes,
            receiver: Mutex::new(Some(receiver)),
            lost: AtomicBool::new(false),
            losses: AtomicU64::new(0),
            published: Vec::new(),
        }
    }
}

impl PresenceFeed {
    /// A feed of groups that are watched, and of those whose joins and leaves are published.
    pub fn publishing(published: Vec<PresenceTo>) -> Self {
        Self {
            published,
            ..Self::default()
        }
    }

    /// Under which name joins and leaves of a group are published, if they are.
    pub fn published(&self, group: &GroupName) -> Option<&BrokerName> {
        if self.published.is_empty() {
            return None;
        }
        let target = Target::Group(group.clone());
        let names = |one: &&PresenceTo| one.groups.iter().any(|scope| scope.permits(&target));
        self.published.iter().find(names).map(|one| &one.to)
    }

    /// Whether joins and leaves of a group are to be reported.
    pub fn is_watched(&self, group: &GroupName) -> bool {
        self.has_watcher(group) || self.published(group).is_some()
    }

    fn has_watcher(&self, group: &GroupName) -> bool {
        // Slices are commands: a worker that gets one sees what was stored before.
        self.any.load(Ordering::Acquire) && {
            let watched = self.watched.read();
            watched
                .unwrap_or_else(PoisonError::into_inner)
                .contains(group)
        }
    }

    /// These groups are watched from now on, too.
    pub fn add<'a>(&self, groups: impl Iterator<Item = &'a GroupName>) {
        let mut watched = self.watched();
        watched.extend(groups.cloned());
        self.any.store(!watched.is_empty(), Ordering::Release);
    }

    /// Only these of the groups are watched from now on.
    pub fn retain(&self, goes_on: impl Fn(&GroupName) -> bool) {
        let ended: Vec<_> = {
            let watched = self.watched.read().unwrap_or_else(PoisonError::into_inner);
            let ended = watched.iter().filter(|group| !goes_on(group));
            ended.cloned().collect()
        };
        if ended.is_empty() {
            return;
        }
        // Workers wait for this lock, so only what changes is done under it.
        let mut watched = self.watched();
        for group in &ended {
            watched.remove(group);
        }
        self.any.store(!watched.is_empty(), Ordering::Release);
    }

    fn watched(&self) -> RwLockWriteGuard<'_, HashSet<GroupName>> {
        self.watched.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports something.
    pub fn report(&self, note: PresenceNote) {
        if self.notes.try_send(note).is_err() {
            self.losses.fetch_add(1, Ordering::Relaxed);
            self.lost.store(true, Ordering::Release);
        }
    }

    /// Whether reports were lost since the last call.
    pub fn take_lost(&self) -> bool {
        self.lost.swap(false, Ordering::AcqRel)
    }

    /// Reports that were lost so far.
    pub fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }

    /// The reports; only once.
    pub fn take_notes(&self) -> Option<mpsc::Receiver<PresenceNote>> {
        let mut receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        receiver.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i8_reports_are_bounded_and_a_loss_is_noticed_once() {
        let feed = PresenceFeed::default();
        let group = GroupName::parse("lobby").expect("a name");
        assert!(!feed.is_watched(&group));
        feed.add([&group].into_iter());
        assert!(feed.is_watched(&group));
        assert!(!feed.is_watched(&GroupName::parse("other").expect("a name")));
        let note = PresenceNote::Changed {
            group: group.clone(),
            item: Item::Whole,
        };
        for _ in 0..NOTES_MAX {
            feed.report(note.clone());
        }
        assert!(!feed.take_lost());
        feed.report(note);
        assert!(feed.take_lost() && !feed.take_lost());
        feed.retain(|_| false);
        assert!(!feed.is_watched(&group));
        assert!(feed.take_notes().is_some() && feed.take_notes().is_none());
    }
}
