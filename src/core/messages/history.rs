//! Messages of groups that are kept for clients that come back.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::base::group::GroupName;
use crate::base::history_id::HistoryId;
use crate::base::target::Target;
use crate::config::snapshot;

/// What a message costs beside its payload, in bytes.
const OVERHEAD: usize = 256;
/// Bits at the end of an id that are the gateway's.
const TAG_BITS: u32 = 16;
/// Messages that are dropped in one go because of their age.
const EXPIRED_MAX: usize = 64;
/// Milliseconds by which the broker may deliver a message later to one process than to another.
const LAG_MAX: u64 = 10_000;
/// Milliseconds within which one name means one message.
const SAME_WITHIN: u64 = 60_000;

/// The messages of a node. `T` is a message.
#[derive(Debug)]
pub struct History<T> {
    rules: Arc<[snapshot::History]>,
    groups: HashMap<GroupName, Kept<T>>,
    /// All messages of all groups, the oldest first.
    order: BTreeSet<(HistoryId, GroupName)>,
    bytes: usize,
    bytes_max: usize,
    last: HistoryId,
    /// Nothing before it was kept, or it was of a group that has no messages any more.
    begins: HistoryId,
    /// Messages before it may have been missed.
    interrupted: HistoryId,
    /// What the ids of this gateway end with; `None` where a log gives the ids of all gateways.
    tag: Option<u16>,
    /// With what they ended before a hand-over was complete.
    former_tag: Option<u16>,
    /// Set while another process of this gateway keeps the same messages.
    twins: Option<Twins>,
}

#[derive(Debug)]
struct Kept<T> {
    rule: usize,
    messages: VecDeque<Entry<T>>,
    /// How many of them have a second id.
    twins: usize,
    /// The last one that was dropped.
    dropped: HistoryId,
}

#[derive(Debug)]
struct Entry<T> {
    id: HistoryId,
    /// That of another process of this gateway, which got the same message of the broker.
    twin: Option<HistoryId>,
    bytes: usize,
    message: T,
}

impl<T> Entry<T> {
    /// Whether it is behind `since`: compared with the id of the process that gave `since`.
    fn is_behind(&self, since: HistoryId) -> bool {
        let same = |twin: &HistoryId| tag_of(*twin) == tag_of(since);
        self.twin.filter(same).unwrap_or(self.id) > since
    }
}

/// Messages that another process of this gateway may keep too, under ids of its own.
#[derive(Debug, Default)]
struct Twins {
    /// The ids of messages by what the fleet calls them.
    names: HashMap<Arc<str>, HistoryId>,
    /// What the ids of the other process end with.
    tag: Option<u16>,
    /// From then on nothing of it is to come.
    until: Option<u64>,
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
    /// `tag` tells the ids of one gateway from those of others.
    pub fn new(
        rules: Arc<[snapshot::History]>,
        bytes_max: usize,
        now: u64,
        tag: Option<u16>,
    ) -> Self {
        Self {
            rules,
            groups: HashMap::new(),
            order: BTreeSet::new(),
            bytes: 0,
            bytes_max,
            last: HistoryId::default(),
            begins: HistoryId::at(now),
            interrupted: HistoryId::default(),
            tag,
            former_tag: None,
            twins: None,
        }
    }

    /// The process before this one gets the same messages until some time after
    /// [`handed_over`](Self::handed_over).
    pub fn begin_handover(&mut self) {
        self.twins = self.tag.map(|_| Twins::default());
    }

    /// All that the process before this one has kept is here.
    pub fn handed_over(&mut self, now: u64) {
        if let Some(twins) = &mut self.twins {
            twins.until = Some(now.saturating_add(LAG_MAX));
        }
    }

    /// Goes on with the ids of the process before this one when no message of it is to come.
    fn settle(&mut self, now: u64) {
        let over = |twins: &Twins| twins.until.is_some_and(|until| now > until);
        if let Some(twins) = self.twins.take_if(|twins| over(twins))
            && let Some(tag) = twins.tag
        {
            self.former_tag = self.tag.replace(tag);
        }
    }

    /// Notes that the same message was kept under another id of this gateway; returns whether it
    /// was. `name` is what the fleet calls it.
    fn is_twin(&mut self, id: HistoryId, groups: &[GroupName], name: Option<&Arc<str>>) -> bool {
        let Some((twins, name)) = self.twins.as_mut().zip(name) else {
            return false;
        };
        let known = twins.names.get(name).copied();
        let near = |known: &HistoryId| known.millis.abs_diff(id.millis) < SAME_WITHIN;
        let Some(known) = known.filter(near).filter(|known| *known != id) else {
            twins.names.insert(Arc::clone(name), id);
            return false;
        };
        self.last = self.last.max(id);
        for group in groups {
            let Some(kept) = self.groups.get_mut(group) else {
                continue;
            };
            let place = kept.messages.binary_search_by_key(&known, |one| one.id);
            if let Some(entry) = place.ok().and_then(|place| kept.messages.get_mut(place)) {
                kept.twins += usize::from(entry.twin.is_none());
                entry.twin = Some(id);
            }
        }
        true
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
        let Some(tag) = self.tag else {
            return self.last.next(now);
        };
        let number = match now > self.last.millis {
            true => 0,
            false => (self.last.number >> TAG_BITS) + 1,
        };
        HistoryId {
            millis: now.max(self.last.millis),
            number: number << TAG_BITS | u64::from(tag),
        }
    }

    /// What the ids of this gateway end with.
    pub fn tag(&self) -> Option<u16> {
        self.tag
    }

    /// The ids of the process before this one end with `tag`: this one goes on with it once that
    /// one keeps no more. Until then no two messages get the same id.
    pub fn set_next_tag(&mut self, tag: u16) {
        if let Some(twins) = &mut self.twins {
            twins.tag = Some(tag);
        }
    }

    /// Messages of a group may have been missed until `now`.
    pub fn interrupt(&mut self, group: &GroupName, now: HistoryId) {
        match self.groups.get_mut(group) {
            Some(kept) => kept.dropped = now,
            None => self.begins = self.begins.max(now),
        }
    }

    /// Messages of all groups may have been missed until `now`.
    pub fn interrupt_all(&mut self, now: HistoryId) {
        self.begins = self.begins.max(now);
        self.interrupted = self.interrupted.max(now);
    }

    /// Whether another gateway gave this id.
    fn is_foreign(&self, id: HistoryId) -> bool {
        let is_time = id.number == u64::MAX;
        let next = self.twins.as_ref().and_then(|twins| twins.tag);
        let mut known = [self.former_tag, next].into_iter().flatten();
        let is = |own| tag_of(id) == own;
        !is_time && self.tag.is_some_and(|own| !is(own)) && !known.any(is)
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
        self.settle(now);
        if !self.is_twin(id, groups, name) {
            self.put(id, groups, bytes, message, now);
        }
    }

    fn put(&mut self, id: HistoryId, groups: &[GroupName], bytes: usize, message: &T, now: u64) {
        self.last = self.last.max(id);
        for group in groups {
            self.keep_one(id, group, bytes + OVERHEAD, message.clone(), now);
        }
        self.drop_old(now);
    }

    fn keep_one(&mut self, id: HistoryId, group: &GroupName, bytes: usize, message: T, now: u64) {
        let Some(rule) = rule_of(&self.rules, &Target::Group(group.clone())) else {
            return;
        };
        let (most, age) = (self.rules[rule].messages, self.rules[rule].age);
        let begins = self.begins;
        let kept = self.groups.entry(group.clone()).or_insert_with(|| Kept {
            rule,
            messages: VecDeque::new(),
            twins: 0,
            dropped: begins,
        });
        kept.messages.push_back(Entry {
            id,
            twin: None,
            bytes,
            message,
        });
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
            kept.twins -= usize::from(entry.twin.is_some());
            kept.dropped = entry.id;
            self.order.remove(&(entry.id, group.clone()));
        }
        if kept.messages.is_empty() {
            self.begins = self.begins.max(kept.dropped);
            self.groups.remove(group);
        }
    }

    /// The id of the newest message.
    pub fn last(&self) -> HistoryId {
        self.last
    }

    /// Nothing before it was kept, about.
    pub fn begins(&self) -> HistoryId {
        self.begins
    }

    /// The oldest messages behind `after`, until they have `most` bytes.
    pub fn behind(&self, after: HistoryId, most: usize) -> Vec<(HistoryId, T)> {
        let mut found: Vec<(HistoryId, T)> = Vec::new();
        let mut bytes = 0;
        let from = after.next(after.millis);
        for (id, group) in self.order.range((from, first_name())..) {
            if found.last().is_some_and(|(last, _)| last == id) {
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
            found.push((*id, entry.message.clone()));
        }
        found
    }

    /// Another process kept messages before this one, the first of them at `begins`.
    pub fn begins_at(&mut self, begins: HistoryId) {
        self.begins = begins;
    }

    /// Keeps a message of another process: it may be older than those that are here.
    pub fn adopt(
        &mut self,
        (id, name): (HistoryId, Option<&Arc<str>>),
        groups: &[GroupName],
        bytes: usize,
        message: &T,
        now: u64,
    ) {
        if self.is_twin(id, groups, name) {
            return;
        }
        let here = |group: &GroupName| self.order.contains(&(id, group.clone()));
        let new: Vec<_> = groups
            .iter()
            .filter(|group| !here(group))
            .cloned()
            .collect();
        let last = self.last;
        self.put(id, &new, bytes, message, now);
        if id < last {
            for group in &new {
                if let Some(kept) = self.groups.get_mut(group) {
                    kept.messages
                        .make_contiguous()
                        .sort_unstable_by_key(|entry| entry.id);
                }
            }
        }
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
                gap |= since < self.begins;
                continue;
            };
            gap |= since < kept.dropped;
            let from = match kept.twins {
                0 => kept.messages.partition_point(|entry| entry.id <= since),
                _ => 0,
            };
            let rest = kept.messages.range(from..);
            for entry in rest.filter(|entry| entry.is_behind(since)) {
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

/// No name is before it.
fn first_name() -> GroupName {
    GroupName::parse(" ").expect("a name")
}

fn rule_of(rules: &[snapshot::History], target: &Target) -> Option<usize> {
    let names = |rule: &snapshot::History| rule.groups.iter().any(|one| one.permits(target));
    matches!(target, Target::Group(_)).then_some(())?;
    rules.iter().position(names)
}

/// What an id ends with.
fn tag_of(id: HistoryId) -> u16 {
    // The low bits are meant.
    id.number as u16
}

fn is_old(id: HistoryId, age: Duration, now: u64) -> bool {
    u128::from(now.saturating_sub(id.millis)) > age.as_millis()
}

#[cfg(test)]
mod tests;
