//! The members of one group, put together from the streams of all nodes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::session_id::SessionId;
use crate::core::messages::member::Member;
use crate::core::messages::presence::{Item, Part, Place};

/// A member that is handed over stays for so long until its new process shows it.
const MOVING: Duration = Duration::from_secs(10);
/// A snapshot without progress for so long is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// Most members (I8). Further ones are not shown.
pub(super) const MEMBERS_MAX: usize = 100_000;

/// A change of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A session joined, or a member has other metadata.
    Join(Arc<Member>),
    /// A member left.
    Leave(Arc<Member>),
}

/// The members of a group.
#[derive(Debug)]
pub struct Roster {
    members: BTreeMap<SessionId, Entry>,
    nodes: HashMap<Arc<str>, Stream>,
    /// Members that are between two processes, by the end of their time.
    moving: BTreeSet<(Instant, SessionId)>,
    /// Most members now.
    most: usize,
    /// Members were left out.
    cut: bool,
}

#[derive(Debug)]
struct Entry {
    member: Arc<Member>,
    /// The nodes that have it, with the snapshot that it was last seen under. More than one only
    /// while it is handed over.
    holders: Vec<(Arc<str>, u64)>,
    moving: Option<Instant>,
}

/// The stream of a node.
#[derive(Debug, Default)]
struct Stream {
    /// The next part; `None` before the first snapshot and after a gap.
    next: Option<Place>,
    /// The newest snapshot that was seen.
    snapshot: u64,
    /// A snapshot was whole once.
    whole: bool,
    /// The snapshot that is arriving is whole.
    current: bool,
    /// When it was asked for, or the last slice of it came.
    progress: Option<Instant>,
}

impl Default for Roster {
    fn default() -> Self {
        Self {
            members: BTreeMap::new(),
            nodes: HashMap::new(),
            moving: BTreeSet::new(),
            most: MEMBERS_MAX,
            cut: false,
        }
    }
}

impl Roster {
    /// Sets how many more members there may be.
    pub fn set_room(&mut self, more: usize) {
        self.most = MEMBERS_MAX.min(self.members.len().saturating_add(more));
    }

    /// Exactly these nodes live: new ones were asked for their members, those of others leave.
    pub fn set_nodes(&mut self, live: &BTreeSet<Arc<str>>, now: Instant) -> Vec<Change> {
        for node in live {
            self.expect(node, now);
        }
        let gone = self.nodes.keys().filter(|node| !live.contains(*node));
        let gone: Vec<_> = gone.map(Arc::clone).collect();
        gone.iter().flat_map(|node| self.gone(node)).collect()
    }

    /// A node lives, and was asked for its members.
    pub fn expect(&mut self, node: &Arc<str>, now: Instant) {
        if !self.nodes.contains_key(node) {
            let stream = Stream {
                progress: Some(now),
                ..Stream::default()
            };
            self.nodes.insert(Arc::clone(node), stream);
        }
    }

    /// Takes a part of the stream of a node that is expected.
    pub fn take(&mut self, node: &Arc<str>, part: Part, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        let Some(stream) = self.nodes.get_mut(node) else {
            return changes;
        };
        let place = part.place;
        if place.snapshot < stream.snapshot {
            return changes;
        }
        if place.snapshot > stream.snapshot {
            let begins = place.part == 0;
            stream.snapshot = place.snapshot;
            stream.next = begins.then_some(place);
            stream.current = false;
        }
        match stream.next {
            Some(next) if place.part < next.part => return changes,
            Some(next) if place.part == next.part => {}
            // A part is lost. What comes behind it waits for the next snapshot.
            next => {
                if next.is_some() {
                    (stream.next, stream.progress) = (None, None);
                }
                return changes;
            }
        }
        if part.items.is_empty() {
            return changes;
        }
        let part_after = place.part.saturating_add(1);
        stream.next = Some(Place {
            part: part_after,
            ..place
        });
        // Joins and leaves alone do not show that the snapshot goes on.
        let mut items = part.items.iter();
        if stream.current || items.any(|item| matches!(item, Item::More | Item::Whole)) {
            stream.progress = Some(now);
        }
        for item in part.items {
            match item {
                Item::More => {}
                Item::Member(member) => {
                    changes.extend(self.hold(node, place.snapshot, member));
                }
                Item::Left { id, moved } => {
                    changes.extend(self.release(node, id, moved.then_some(now)));
                }
                Item::Whole => changes.extend(self.finish(node, place.snapshot)),
            }
        }
        changes
    }

    /// A node has a member.
    fn hold(&mut self, node: &Arc<str>, snapshot: u64, member: Member) -> Option<Change> {
        let id = member.id;
        let Some(entry) = self.members.get_mut(&id) else {
            if self.members.len() >= self.most {
                self.cut = true;
                return None;
            }
            let member = Arc::new(member);
            let entry = Entry {
                member: Arc::clone(&member),
                holders: vec![(Arc::clone(node), snapshot)],
                moving: None,
            };
            self.members.insert(id, entry);
            return Some(Change::Join(member));
        };
        if let Some(until) = entry.moving.take() {
            self.moving.remove(&(until, id));
        }
        match entry.holders.iter_mut().find(|(holder, _)| holder == node) {
            Some((_, seen)) => *seen = snapshot,
            None => entry.holders.push((Arc::clone(node), snapshot)),
        }
        (*entry.member != member).then(|| {
            entry.member = Arc::new(member);
            Change::Join(Arc::clone(&entry.member))
        })
    }

    /// A node does not have a member any more; `moved` is when it was handed over.
    fn release(&mut self, node: &str, id: SessionId, moved: Option<Instant>) -> Option<Change> {
        let entry = self.members.get_mut(&id)?;
        let before = entry.holders.len();
        entry.holders.retain(|(holder, _)| **holder != *node);
        if !entry.holders.is_empty() || entry.holders.len() == before {
            return None;
        }
        if let Some(now) = moved {
            let until = now + MOVING;
            entry.moving = Some(until);
            self.moving.insert((until, id));
            return None;
        }
        let entry = self.members.remove(&id)?;
        Some(Change::Leave(entry.member))
    }

    /// A snapshot of a node is whole.
    fn finish(&mut self, node: &Arc<str>, snapshot: u64) -> Vec<Change> {
        if let Some(stream) = self.nodes.get_mut(node) {
            (stream.whole, stream.current) = (true, true);
        }
        let stale = |entry: &Entry| {
            let mut holders = entry.holders.iter();
            holders.any(|(holder, seen)| holder == node && *seen != snapshot)
        };
        let stale = self.members.iter().filter(|(_, entry)| stale(entry));
        let stale: Vec<_> = stale.map(|(id, _)| *id).collect();
        let stale = stale.into_iter();
        stale
            .filter_map(|id| self.release(node, id, None))
            .collect()
    }

    /// A node is gone, and its members with it.
    pub fn gone(&mut self, node: &str) -> Vec<Change> {
        if self.nodes.remove(node).is_none() {
            return Vec::new();
        }
        let held = |entry: &Entry| entry.holders.iter().any(|(holder, _)| **holder == *node);
        let held = self.members.iter().filter(|(_, entry)| held(entry));
        let held: Vec<_> = held.map(|(id, _)| *id).collect();
        let held = held.into_iter();
        held.filter_map(|id| self.release(node, id, None)).collect()
    }

    /// Ends the time of members that no new process has shown.
    pub fn expire(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some((until, id)) = self.moving.first().copied()
            && until <= now
        {
            self.moving.remove(&(until, id));
            let entry = self.members.remove(&id);
            changes.extend(entry.map(|entry| Change::Leave(entry.member)));
        }
        changes
    }

    /// Has all snapshots asked for again if there is room for members that were left out.
    pub fn reopen(&mut self) {
        let free = self.most.saturating_sub(self.members.len());
        // Not for each member that leaves.
        if !self.cut || free <= self.most / 8 {
            return;
        }
        self.cut = false;
        for stream in self.nodes.values_mut() {
            (stream.next, stream.current, stream.progress) = (None, false, None);
        }
    }

    /// The nodes whose snapshot has to be asked for, and which were not asked just now.
    pub fn to_ask(&mut self, now: Instant) -> Vec<Arc<str>> {
        let mut nodes = Vec::new();
        for (node, stream) in &mut self.nodes {
            let broken = stream.next.is_none() || !stream.current;
            let waits = stream.progress.is_some_and(|at| now < at + ASK_AGAIN);
            if broken && !waits {
                stream.progress = Some(now);
                nodes.push(Arc::clone(node));
            }
        }
        nodes
    }

    /// Nodes whose members have not been known yet.
    pub fn missing(&self) -> usize {
        self.nodes.values().filter(|stream| !stream.whole).count()
    }

    /// Nodes whose members are known.
    pub fn nodes(&self) -> usize {
        self.nodes.len() - self.missing()
    }

    /// Whether members were left out because there are too many.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The first members behind `after`, in the order of their ids.
    pub fn page(&self, after: Option<SessionId>, most: usize) -> Vec<Arc<Member>> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = self.members.range((after, Bound::Unbounded)).take(most);
        page.map(|(_, entry)| Arc::clone(&entry.member)).collect()
    }
}
