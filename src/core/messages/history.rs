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
}

#[derive(Debug)]
struct Kept<T> {
    rule: usize,
    messages: VecDeque<Entry<T>>,
    /// The last one that was dropped.
    dropped: HistoryId,
}

#[derive(Debug)]
struct Entry<T> {
    id: HistoryId,
    bytes: usize,
    message: T,
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

    /// Goes on with the ids of another process.
    pub fn set_tag(&mut self, tag: u16) {
        self.tag = self.tag.map(|_| tag);
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
        let tag = |tag| id.number & u64::from(u16::MAX) == u64::from(tag);
        !is_time && self.tag.is_some_and(|own| !tag(own))
    }

    /// Keeps a message of so many bytes, which is for these groups. `id` is larger than all before.
    pub fn keep(
        &mut self,
        id: HistoryId,
        groups: &[GroupName],
        bytes: usize,
        message: &T,
        now: u64,
    ) {
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
            dropped: begins,
        });
        kept.messages.push_back(Entry { id, bytes, message });
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
        id: HistoryId,
        groups: &[GroupName],
        bytes: usize,
        message: &T,
        now: u64,
    ) {
        let here = |group: &GroupName| self.order.contains(&(id, group.clone()));
        let new: Vec<_> = groups
            .iter()
            .filter(|group| !here(group))
            .cloned()
            .collect();
        let last = self.last;
        self.keep(id, &new, bytes, message, now);
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
            let from = kept.messages.partition_point(|entry| entry.id <= since);
            for entry in kept.messages.range(from..) {
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

fn is_old(id: HistoryId, age: Duration, now: u64) -> bool {
    u128::from(now.saturating_sub(id.millis)) > age.as_millis()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(name: &str) -> GroupName {
        GroupName::parse(name).expect("a name")
    }

    fn history(messages: usize, age: u64, bytes_max: usize) -> History<u32> {
        let rule = snapshot::History {
            groups: vec!["group:kept-*".parse().expect("a scope")],
            messages,
            age: Duration::from_millis(age),
        };
        History::new([rule].into(), bytes_max, 0, None)
    }

    #[test]
    fn only_groups_with_a_rule_are_kept() {
        let rules = history(10, 1000, 1 << 20).rules;
        let target = |text: &str| text.parse::<Target>().expect("a target");
        let targets = [
            "group:kept-b",
            "group:other",
            "principal:kept-a",
            "group:kept-a",
            "all",
        ];
        let kept = History::<u32>::kept_of(&rules, &targets.map(target));
        assert_eq!(kept, [group("kept-a"), group("kept-b")]);
    }

    #[test]
    fn i8_the_bytes_of_all_groups_are_bounded() {
        let mut history = history(1000, 100_000, 10 * (OVERHEAD + 100));
        for number in 0..100 {
            let id = history.next_id(number);
            let name = group(&format!("kept-{}", number % 7));
            history.keep(id, &[name], 100, &0, number);
        }
        assert_eq!(history.order.len(), 10);
        assert_eq!(history.bytes, 10 * (OVERHEAD + 100));
        assert!(history.groups.len() <= 7);
    }

    #[test]
    fn an_id_of_another_gateway_and_an_interruption_are_gaps() {
        let rules = history(10, 100_000, 1 << 20).rules;
        let gateway = |tag| History::<u32>::new(Arc::clone(&rules), 1 << 20, 0, Some(tag));
        let (mut one, other) = (gateway(1), gateway(2));
        let mine = [group("kept-a")];
        let mut keep = |millis| {
            let id = one.next_id(millis);
            one.keep(id, &mine, 1, &0, millis);
            id
        };
        let ids = [keep(5), keep(5), keep(4), keep(6)];
        assert!(
            ids.is_sorted() && ids.iter().all(|id| id.number & 0xFFFF == 1),
            "{ids:?}"
        );
        assert!(!one.since(&mine, ids[0], 10, 9).gap);
        assert!(
            other.since(&mine, ids[0], 10, 9).gap,
            "an id of another gateway"
        );
        one.interrupt(&mine[0], HistoryId::at(7));
        assert!(
            one.since(&mine, ids[3], 10, 9).gap,
            "nothing came for a while"
        );
        let id = one.next_id(8);
        one.keep(id, &mine, 1, &0, 8);
        assert!(!one.since(&mine, id, 10, 9).gap);
        one.interrupt_all(HistoryId::at(9));
        assert!(one.since(&mine, id, 10, 9).gap);
    }

    /// What was published, as a list.
    #[derive(Clone, Debug)]
    struct Step {
        groups: Vec<u8>,
        later: u64,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = (prop::collection::vec(0_u8..4, 1..3), 0_u64..40);
        let step = step.prop_map(|(groups, later)| Step { groups, later });
        prop::collection::vec(step, 1..60)
    }

    proptest! {
        /// A client gets what it missed once and in order, or is told that something is missing.
        #[test]
        fn what_was_missed_comes_once_or_a_gap_is_told(
            steps in steps(),
            messages in 1_usize..12,
            age in 1_u64..400,
            room in 1_usize..40,
            of in prop::collection::btree_set(0_u8..4, 1..4),
            seen in any::<prop::sample::Index>(),
            page in 1_usize..5,
        ) {
            let mut history = history(messages, age, room * (OVERHEAD + 1));
            let name = |number: u8| group(&format!("kept-{number}"));
            let mut now = 1;
            let mut published: Vec<(HistoryId, u32, Vec<u8>)> = vec![];
            for (number, step) in steps.iter().enumerate() {
                now += step.later;
                let mut groups: Vec<_> = step.groups.iter().copied().map(name).collect();
                groups.sort_unstable();
                groups.dedup();
                let id = history.next_id(now);
                prop_assert!(published.last().is_none_or(|(last, ..)| *last < id));
                history.keep(id, &groups, 1, &(number as u32), now);
                published.push((id, number as u32, step.groups.clone()));
            }
            let (since, ..) = published[seen.index(published.len())];
            let mine: Vec<_> = of.iter().copied().map(name).collect();
            let Missed { messages, gap, more } = history.since(&mine, since, usize::MAX, now);
            prop_assert!(!more);
            // The same in pages.
            let (mut paged, mut from) = (vec![], since);
            loop {
                let Missed { messages, more, .. } = history.since(&mine, from, page, now);
                for number in messages {
                    from = published[number as usize].0;
                    paged.push(number);
                }
                if !more {
                    break;
                }
            }
            prop_assert_eq!(&paged, &messages);
            let behind = published.iter().filter(|(id, ..)| *id > since);
            let for_me = behind.filter(|(_, _, groups)| groups.iter().any(|one| of.contains(one)));
            let expected: Vec<_> = for_me.map(|(_, number, _)| *number).collect();
            match gap {
                false => prop_assert_eq!(messages, expected),
                true => {
                    let mut rest = expected.iter();
                    prop_assert!(messages.iter().all(|one| rest.any(|other| other == one)));
                }
            }
        }
    }
}
