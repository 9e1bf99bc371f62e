//! Messages of groups that are kept for clients that come back.

mod joined;
pub mod lineage;
mod transfer;
mod twins;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::base::group::GroupName;
use crate::base::history_id::HistoryId;
use crate::base::target::Target;
use crate::config::snapshot;
use crate::core::messages::history::lineage::{Lineage, is_of_log, mark_of};
use crate::core::messages::history::twins::Twins;

pub use transfer::{Carried, Head};

/// What a message costs beside its payload, in bytes.
const OVERHEAD: usize = 256;
/// Messages that are dropped in one go because of their age.
const EXPIRED_MAX: usize = 64;

/// The messages of a node. `T` is a message.
#[derive(Debug)]
pub struct History<T> {
    rules: Arc<[snapshot::History]>,
    groups: BTreeMap<GroupName, Kept<T>>,
    /// All messages of all groups, the oldest first.
    order: BTreeSet<(HistoryId, GroupName)>,
    bytes: usize,
    bytes_max: usize,
    last: HistoryId,
    /// Nothing before it was kept.
    start: HistoryId,
    /// Messages up to it may be missing of groups of which there are none any more.
    lost: HistoryId,
    /// Messages of any group before it may have been missed.
    interrupted: HistoryId,
    /// Of the ids; `None` where a log gives the ids of all gateways.
    lineage: Option<Lineage>,
    /// Set while another process of this gateway keeps the same messages.
    twins: Option<Twins>,
    /// Where groups began in the process before this one, until it has handed over all.
    floors: BTreeMap<GroupName, HistoryId>,
}

#[derive(Debug)]
struct Kept<T> {
    rule: usize,
    messages: VecDeque<Entry<T>>,
    /// How many of them have further ids.
    twins: usize,
    /// The last one that is missing.
    floor: HistoryId,
}

#[derive(Debug)]
struct Entry<T> {
    id: HistoryId,
    /// Those of other processes of this gateway, which got the same message of the broker.
    others: Vec<HistoryId>,
    bytes: usize,
    message: T,
}

impl<T> Entry<T> {
    /// Whether it is behind `since`: compared with the id of the process that gave `since`.
    fn is_behind(&self, since: HistoryId) -> bool {
        let mark = mark_of(since);
        let mut all = [self.id].into_iter().chain(self.others.iter().copied());
        all.find(|id| mark_of(*id) == mark).unwrap_or(self.id) > since
    }

    /// The largest of its ids.
    fn largest(&self) -> HistoryId {
        self.others.iter().copied().fold(self.id, HistoryId::max)
    }
}

/// What a client has missed.
#[derive(Debug, PartialEq, Eq)]
pub struct Missed<T> {
    /// In order.
    pub messages: Vec<T>,
    /// Others may be missing, because they are not kept any more.
    pub gap: bool,
    /// Further ones follow these.
    pub more: bool,
}

impl<T: Clone> History<T> {
    /// No message yet. `now` is in milliseconds since 1970, here and below.
    /// `mark` tells the ids of this process from those of all others; without one, the log of a
    /// fleet gives them.
    pub fn new(
        rules: Arc<[snapshot::History]>,
        bytes_max: usize,
        now: u64,
        mark: Option<u32>,
    ) -> Self {
        let (start, lineage) = (HistoryId::at(now), mark.map(Lineage::new));
        // A client that has nothing yet has all up to this place.
        let first = |lineage: &Lineage| lineage.next_id(HistoryId::default(), now);
        Self {
            rules,
            groups: BTreeMap::new(),
            order: BTreeSet::new(),
            bytes: 0,
            bytes_max,
            last: lineage.as_ref().map_or(start, first),
            start,
            lost: HistoryId::default(),
            interrupted: HistoryId::default(),
            lineage,
            twins: None,
            floors: BTreeMap::new(),
        }
    }

    /// The process before this one gets the same messages until some time after
    /// [`handed_over`](Self::handed_over).
    pub fn begin_handover(&mut self) {
        self.twins = self.lineage.as_ref().map(|_| Twins::default());
    }

    /// All that the process before this one has kept is here.
    pub fn handed_over(&mut self, now: u64) {
        if let Some(twins) = &mut self.twins {
            twins.end_after(now);
        }
    }

    /// The longest time that a group keeps its messages.
    pub fn age_max(rules: &[snapshot::History]) -> Duration {
        rules.iter().map(|rule| rule.age).max().unwrap_or_default()
    }

    /// The groups among these targets whose messages are kept.
    pub fn kept_of(rules: &[snapshot::History], targets: &[Target]) -> Vec<GroupName> {
        let mut groups: Vec<_> = targets
            .iter()
            .filter(|target| rule_of(rules, target).is_some())
            .filter_map(|target| match target {
                Target::Group(name) => Some(name.clone()),
                _ => None,
            })
            .collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// The id of a message that comes now.
    pub fn next_id(&self, now: u64) -> HistoryId {
        match &self.lineage {
            Some(lineage) => lineage.next_id(self.last, now),
            None => self.last.next(now),
        }
    }

    /// Messages of a group may have been missed until `now`.
    pub fn interrupt(&mut self, group: &GroupName, now: HistoryId) {
        match self.groups.get_mut(group) {
            Some(kept) => kept.raise(now),
            None => self.lost = self.lost.max(now),
        }
    }

    /// Messages of all groups may have been missed until `now`.
    pub fn interrupt_all(&mut self, now: HistoryId) {
        self.lost = self.lost.max(now);
        self.interrupted = self.interrupted.max(now);
    }

    /// Whether an id is no place in this history: another gateway gave it.
    fn is_foreign(&self, id: HistoryId) -> bool {
        let is_time = id.number == u64::MAX;
        let known = match &self.lineage {
            Some(lineage) => lineage.has(id),
            None => is_of_log(id),
        };
        !is_time && !known
    }

    /// Keeps a message of so many bytes, which is for these groups. `id` is larger than all before.
    /// `name` is what the fleet calls it: two processes of one gateway may both get it.
    pub fn keep(
        &mut self,
        (id, name): (HistoryId, Option<&Arc<str>>),
        groups: &[GroupName],
        bytes: usize,
        message: &T,
        now: u64,
    ) {
        self.twins.take_if(|twins| twins.is_over(now));
        if !self.is_twin(&[id], groups, name) {
            self.put(&[id], groups, bytes, message, now);
        }
    }

    /// The first of `ids` is what it is kept under here.
    fn put(
        &mut self,
        ids: &[HistoryId],
        groups: &[GroupName],
        bytes: usize,
        message: &T,
        now: u64,
    ) {
        self.last = ids.iter().copied().fold(self.last, HistoryId::max);
        for group in groups {
            self.put_in(group, ids, bytes + OVERHEAD, message.clone(), now);
        }
        self.drop_old(now);
    }

    fn put_in(&mut self, group: &GroupName, ids: &[HistoryId], bytes: usize, message: T, now: u64) {
        let Some(rule) = rule_of(&self.rules, &Target::Group(group.clone())) else {
            return;
        };
        let Some((&id, others)) = ids.split_first() else {
            return;
        };
        let (most, age) = (self.rules[rule].messages, self.rules[rule].age);
        let kept = self.groups.entry(group.clone()).or_insert_with(|| Kept {
            rule,
            messages: VecDeque::new(),
            twins: 0,
            floor: self.lost,
        });
        let entry = Entry {
            id,
            others: others.to_vec(),
            bytes,
            message,
        };
        kept.twins += usize::from(!others.is_empty());
        let place = kept.messages.partition_point(|before| before.id < id);
        kept.messages.insert(place, entry);
        self.order.insert((id, group.clone()));
        self.bytes += bytes;
        let old = |entry: &Entry<T>| is_old(entry.id, age, now);
        while let Some(kept) = self.groups.get(group)
            && (kept.messages.len() > most || kept.messages.front().is_some_and(old))
        {
            self.drop_first(group);
        }
    }

    /// Drops what is too much, or older than any group keeps it.
    fn drop_old(&mut self, now: u64) {
        let mut expired = 0;
        while let Some((id, group)) = self.order.first() {
            let too_much = self.bytes > self.bytes_max;
            let rule = self.groups.get(group).map(|kept| kept.rule);
            let age = rule.map_or(Duration::ZERO, |rule| self.rules[rule].age);
            if !too_much && (expired == EXPIRED_MAX || !is_old(*id, age, now)) {
                return;
            }
            expired += 1;
            let group = group.clone();
            self.drop_first(&group);
        }
    }

    fn drop_first(&mut self, group: &GroupName) {
        let Some(kept) = self.groups.get_mut(group) else {
            return;
        };
        if let Some(entry) = kept.messages.pop_front() {
            self.bytes -= entry.bytes;
            kept.twins -= usize::from(!entry.others.is_empty());
            kept.raise(entry.largest());
            self.order.remove(&(entry.id, group.clone()));
        }
        if kept.messages.is_empty() {
            self.lost = self.lost.max(kept.floor);
            self.groups.remove(group);
        }
    }

    /// The id of the newest message.
    pub fn last(&self) -> HistoryId {
        self.last
    }

    /// The messages of these groups behind `since`, `most` of them at most.
    pub fn since(
        &self,
        groups: &[GroupName],
        since: HistoryId,
        most: usize,
        now: u64,
    ) -> Missed<T> {
        let mut messages = BTreeMap::new();
        let mut more = false;
        let mut gap = since < self.interrupted || self.is_foreign(since);
        for group in groups {
            let Some(rule) = rule_of(&self.rules, &Target::Group(group.clone())) else {
                continue;
            };
            let age = self.rules[rule].age;
            let Some(kept) = self.groups.get(group) else {
                gap |= since < self.start.max(self.lost);
                continue;
            };
            gap |= since < self.start.max(kept.floor);
            for entry in kept.behind(since) {
                if is_old(entry.id, age, now) {
                    gap = true;
                    continue;
                }
                let full = messages.len() == most;
                let last = messages.last_key_value().map(|(id, _)| *id);
                if full && last.is_some_and(|last| entry.id > last) {
                    more = true;
                    break;
                }
                messages.insert(entry.id, entry.message.clone());
                if messages.len() > most {
                    messages.pop_last();
                    more = true;
                }
            }
        }
        Missed {
            messages: messages.into_values().collect(),
            gap,
            more,
        }
    }
}

impl<T> Kept<T> {
    /// Messages up to `id` are missing.
    fn raise(&mut self, id: HistoryId) {
        self.floor = self.floor.max(id);
    }

    /// The messages behind `since`.
    fn behind(&self, since: HistoryId) -> impl Iterator<Item = &Entry<T>> {
        let from = match self.twins {
            0 => self.messages.partition_point(|entry| entry.id <= since),
            _ => 0,
        };
        let rest = self.messages.range(from..);
        rest.filter(move |entry| entry.is_behind(since))
    }
}

fn rule_of(rules: &[snapshot::History], target: &Target) -> Option<usize> {
    let names = |rule: &snapshot::History| rule.groups.iter().any(|one| one.permits(target));
    matches!(target, Target::Group(_)).then_some(())?;
    rules.iter().position(names)
}

fn is_old(id: HistoryId, age: Duration, now: u64) -> bool {
    u128::from(now.saturating_sub(id.millis)) > age.as_millis()
}

#[cfg(test)]
mod tests;
