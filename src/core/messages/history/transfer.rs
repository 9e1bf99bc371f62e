//! What one process hands over of its history to the next one of the same gateway.

use std::sync::Arc;

use crate::base::group::GroupName;
use crate::base::history_id::HistoryId;
use crate::core::messages::history::History;
use crate::core::messages::history::lineage::Incarnation;

/// What holds for all groups. The last that is handed over: without it the next process tells
/// clients of a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Messages before it may be missing of groups that are not handed over.
    pub begins: HistoryId,
    /// Messages of any group before it may have been missed.
    pub interrupted: HistoryId,
    /// Whose ids are known.
    pub lineage: Vec<Incarnation>,
}

/// A message that is handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried<T> {
    /// Those that it has: the first is what it is kept under.
    pub ids: Vec<HistoryId>,
    /// The message.
    pub message: T,
}

impl<T: Clone> History<T> {
    /// What completes the messages up to `after`: where those of each group begin, and what holds
    /// for all. `None` if there are messages behind `after`.
    pub fn completion(&self, after: HistoryId) -> Option<(Vec<(GroupName, HistoryId)>, Head)> {
        if self.order.last().is_some_and(|(id, _)| *id > after) {
            return None;
        }
        let begins = |floor: HistoryId| self.start.max(floor);
        let groups = self.groups.iter();
        let floors = groups.map(|(name, kept)| (name.clone(), begins(kept.floor)));
        let lineage = self.lineage.as_ref();
        let head = Head {
            begins: begins(self.lost),
            interrupted: self.interrupted,
            lineage: lineage.map_or_else(Vec::new, |one| one.all(self.last).collect()),
        };
        Some((floors.collect(), head))
    }

    /// Where the messages of a group began in the process before this one.
    pub fn adopt_floor(&mut self, group: GroupName, floor: HistoryId) {
        self.floors.insert(group, floor);
    }

    /// Takes what holds for all groups of the process before this one, of which all messages and
    /// floors are here.
    pub fn adopt_head(&mut self, head: Head) {
        let floors = std::mem::take(&mut self.floors);
        for (group, kept) in &mut self.groups {
            kept.raise(floors.get(group).copied().unwrap_or(head.begins));
        }
        // Floors and losses say it from now on.
        self.start = HistoryId::default();
        self.lost = self.lost.max(head.begins);
        self.interrupted = self.interrupted.max(head.interrupted);
        // The clock may have been set back.
        let lasts = head.lineage.iter().map(|one| one.last);
        self.last = lasts.fold(self.last, HistoryId::max);
        if let Some(lineage) = &mut self.lineage {
            lineage.follow(head.lineage);
        }
    }

    /// The oldest messages behind `after`, until they have `most` bytes.
    pub fn behind(&self, after: HistoryId, most: usize) -> Vec<Carried<T>> {
        let mut found: Vec<Carried<T>> = Vec::new();
        let mut bytes = 0;
        let from = after.next(after.millis);
        for (id, group) in self.order.range((from, first_name())..) {
            if found
                .last()
                .is_some_and(|last| last.ids.first() == Some(id))
            {
                continue;
            }
            let kept = self.groups.get(group);
            let entry = kept.and_then(|kept| {
                let place = kept.messages.binary_search_by_key(id, |entry| entry.id);
                kept.messages.get(place.ok()?)
            });
            let Some(entry) = entry else { continue };
            if bytes > 0 && bytes + entry.bytes > most {
                break;
            }
            bytes += entry.bytes;
            let ids = [*id].into_iter().chain(entry.others.iter().copied());
            found.push(Carried {
                ids: ids.collect(),
                message: entry.message.clone(),
            });
        }
        found
    }

    /// Keeps a message of another process: it may be older than those that are here. `ids` are
    /// those of [`Carried`].
    pub fn adopt(
        &mut self,
        (ids, name): (&[HistoryId], Option<&Arc<str>>),
        groups: &[GroupName],
        bytes: usize,
        message: &T,
        now: u64,
    ) {
        let Some(id) = ids.first().filter(|_| !self.is_twin(ids, groups, name)) else {
            return;
        };
        let new = |group: &&GroupName| !self.order.contains(&(*id, (*group).clone()));
        let groups: Vec<_> = groups.iter().filter(new).cloned().collect();
        self.put(ids, &groups, bytes, message, now);
    }
}

/// No name is before it.
fn first_name() -> GroupName {
    GroupName::parse(" ").expect("a name")
}
