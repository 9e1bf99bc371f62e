//! A group that is watched on this node: its members, and its last changes for watchers that read
//! at their own pace.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::core::messages::member::Member;
use crate::core::messages::presence::{Change, Part, Roster};

/// Changes that are kept for watchers that connect again or are slow.
const CHANGES_MAX: usize = 4096;
/// What the changes of all rooms hold at most, in bytes, but for one change of each (I8).
const CHANGES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Changes that a watcher gets in one go.
const BATCH_MAX: usize = 256;
/// So long a room without watchers is kept: its watcher may only be reconnecting.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// For the members of all nodes to be known.
const READY_MAX: Duration = Duration::from_secs(5);

/// A room.
#[derive(Debug)]
pub(super) struct Room {
    /// Not that of an earlier room of the same group.
    instance: u64,
    state: Mutex<State>,
    /// What the changes of all rooms hold, in bytes.
    kept_bytes: Arc<AtomicUsize>,
    /// Counts changes, of members and of what is known.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    roster: Roster,
    changes: VecDeque<Change>,
    /// What they hold.
    bytes: usize,
    /// How many changes there were before those that are kept.
    dropped: u64,
    watchers: usize,
    idle_since: Option<Instant>,
    /// Other nodes were asked for their members.
    opened: bool,
}

impl Drop for Room {
    fn drop(&mut self) {
        let bytes = self.state().bytes;
        self.kept_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What a change holds, in bytes. A member that has left is held by its changes alone.
fn size_of_change(change: &Change) -> usize {
    let (Change::Join(member) | Change::Leave(member)) = change;
    size_of::<Change>() + member.size()
}

impl Room {
    /// A room without members. `kept_bytes` counts what the changes of all rooms hold.
    pub(super) fn new(kept_bytes: &Arc<AtomicUsize>) -> Self {
        Self {
            instance: fastrand::u64(..),
            state: Mutex::default(),
            kept_bytes: Arc::clone(kept_bytes),
            changed: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the first call: its nodes have to be asked.
    pub(super) fn open(&self) -> bool {
        !std::mem::replace(&mut self.state().opened, true)
    }

    /// Since when it has no watcher.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        state.idle_since.filter(|_| state.watchers == 0)
    }

    /// Whether it has had no watcher for some time.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        let state = self.state();
        let since = |at| now.saturating_duration_since(at);
        state.watchers == 0 && state.idle_since.is_some_and(|at| since(at) >= IDLE_MAX)
    }

    /// How many members it has.
    pub(super) fn len(&self) -> usize {
        self.state().roster.len()
    }

    /// Takes a part of a node's stream. There may be so many `more` members.
    pub(super) fn take(&self, node: &Arc<str>, part: Part, more: usize) {
        self.change(|roster| {
            roster.set_room(more);
            roster.take(node, part, clock::now())
        });
    }

    /// These nodes live. There may be so many `more` members. Returns the nodes whose members have
    /// to be asked for.
    pub(super) fn look(&self, live: &BTreeSet<Arc<str>>, more: usize) -> Vec<Arc<str>> {
        let now = clock::now();
        self.change(|roster| {
            roster.set_room(more);
            roster.reopen();
            let mut changes = roster.set_nodes(live, now);
            changes.extend(roster.expire(now));
            changes
        });
        self.state().roster.to_ask(now)
    }

    fn change(&self, act: impl FnOnce(&mut Roster) -> Vec<Change>) {
        let mut state = self.state();
        let missing = state.roster.missing();
        let changes = act(&mut state.roster);
        let same = changes.is_empty() && missing == state.roster.missing();
        for change in changes {
            let bytes = size_of_change(&change);
            state.bytes += bytes;
            let mut all = self.kept_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
            state.changes.push_back(change);
            while state.changes.len() > CHANGES_MAX || all > CHANGES_BYTES_MAX {
                let Some(oldest) = state.changes.pop_front() else {
                    break;
                };
                let bytes = size_of_change(&oldest);
                state.dropped += 1;
                state.bytes -= bytes;
                all = self.kept_bytes.fetch_sub(bytes, Ordering::Relaxed) - bytes;
            }
        }
        drop(state);
        if !same {
            self.changed.send_modify(|count| *count += 1);
        }
    }
}

/// Counts a watcher of a room for as long as it lives.
#[derive(Debug)]
pub(super) struct Permit {
    room: Arc<Room>,
    /// Of all watchers, and of those of its operator or publisher.
    _permits: [OwnedSemaphorePermit; 2],
}

impl Permit {
    pub(super) fn new(permits: [OwnedSemaphorePermit; 2], room: &Arc<Room>) -> Self {
        room.state().watchers += 1;
        Self {
            room: Arc::clone(room),
            _permits: permits,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.room.state();
        state.watchers -= 1;
        state.idle_since = Some(clock::now());
    }
}

/// Where a watcher is in the changes of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    instance: u64,
    changes: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.instance, self.changes)
    }
}

/// The text is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAPlace;

impl FromStr for Place {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        let (instance, changes) = text.split_once('-').ok_or(NotAPlace)?;
        Ok(Self {
            instance: u64::from_str_radix(instance, 16).map_err(|_| NotAPlace)?,
            changes: changes.parse().map_err(|_| NotAPlace)?,
        })
    }
}

/// What a watcher reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Changes, and the place behind each. None for now if it is empty.
    Changes(Vec<(Place, Change)>),
    /// Changes are missing: the members have to be read again.
    Lost,
}

/// Some members, and what is known of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersView {
    /// In the order of their ids.
    pub members: Vec<Arc<Member>>,
    /// Whether there are more behind them.
    pub more: bool,
    /// How many there are.
    pub count: usize,
    /// Nodes whose members are known.
    pub nodes: usize,
    /// Live nodes whose members are not known yet.
    pub nodes_missing: usize,
    /// Whether members were left out because there are too many.
    pub cut: bool,
}

/// Watches a group.
#[derive(Debug)]
pub struct Watcher {
    room: Arc<Room>,
    changed: watch::Receiver<u64>,
    closed: watch::Receiver<bool>,
    _permit: Permit,
}

impl Watcher {
    pub(super) fn new(room: Arc<Room>, permit: Permit, closed: watch::Receiver<bool>) -> Self {
        Self {
            changed: room.changed.subscribe(),
            room,
            closed,
            _permit: permit,
        }
    }

    /// Waits until the members of all live nodes are known, for a time.
    pub async fn ready(&mut self) {
        let known = async {
            loop {
                self.changed.mark_unchanged();
                let known = {
                    let state = self.room.state();
                    state.roster.nodes() > 0 && state.roster.missing() == 0
                };
                if known || self.changed.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            _ = timeout(READY_MAX, known) => {}
            _ = self.closed.wait_for(|closed| *closed) => {}
        }
    }

    /// The place behind the last change.
    pub fn place(&self) -> Place {
        let state = self.room.state();
        Place {
            instance: self.room.instance,
            changes: state.dropped + state.changes.len() as u64,
        }
    }

    /// Members behind `after`.
    pub fn members(&self, after: Option<SessionId>, most: usize) -> MembersView {
        let state = self.room.state();
        let mut members = state.roster.page(after, most + 1);
        let more = members.len() > most;
        members.truncate(most);
        MembersView {
            members,
            more,
            count: state.roster.len(),
            nodes: state.roster.nodes(),
            nodes_missing: state.roster.missing(),
            cut: state.roster.is_cut(),
        }
    }

    /// The changes behind a place.
    pub fn read(&self, place: Place) -> Batch {
        let state = self.room.state();
        let newest = state.dropped + state.changes.len() as u64;
        let known = (state.dropped..=newest).contains(&place.changes);
        if place.instance != self.room.instance || !known {
            return Batch::Lost;
        }
        let skipped = usize::try_from(place.changes - state.dropped).unwrap_or(usize::MAX);
        let changes = state.changes.iter().skip(skipped).take(BATCH_MAX);
        let numbered = changes.zip(place.changes + 1..).map(|(change, changes)| {
            let place = Place { changes, ..place };
            (place, change.clone())
        });
        Batch::Changes(numbered.collect())
    }

    /// Waits for a change, so long at most. Returns false if the gateway ends.
    pub async fn changed(&mut self, most: Duration) -> bool {
        tokio::select! {
            changed = timeout(most, self.changed.changed()) => !matches!(changed, Ok(Err(_))),
            _ = self.closed.wait_for(|closed| *closed) => false,
        }
    }

    /// Changes from now on are waited for.
    pub fn mark(&mut self) {
        self.changed.mark_unchanged();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::group::GroupName;
    use crate::control::messages::presence::Presence;
    use crate::core::messages::presence::{Item, Place as StreamPlace};

    fn part(number: u64, items: Vec<Item>) -> Part {
        Part {
            group: GroupName::parse("lobby").expect("a name"),
            place: StreamPlace {
                snapshot: 1,
                part: number,
            },
            items,
        }
    }

    fn member(number: u64) -> Item {
        Item::Member(Member {
            id: SessionId::new(number, 0),
            principal: None,
            route: "chat".into(),
            ttl_ms: None,
            metadata: None,
        })
    }

    #[tokio::test]
    async fn a_watcher_reads_at_its_own_pace_and_sees_what_it_missed() {
        let presence = Presence::new("own".into());
        let group = GroupName::parse("lobby").expect("a name");
        let mut watcher = presence.watch(&group, "chat").expect("room");
        let room = Arc::clone(&watcher.room);
        assert!(room.open() && !room.open());
        assert!(room.look(&BTreeSet::from(["own".into()]), 10).is_empty());
        assert_eq!(watcher.members(None, 10).nodes_missing, 1);
        room.take(&"own".into(), part(0, vec![member(1), Item::Whole]), 10);
        watcher.ready().await;
        let begin = watcher.place();
        assert_eq!(watcher.members(None, 10).count, 1);
        assert_eq!(watcher.read(begin), Batch::Changes(Vec::new()));
        watcher.mark();
        room.take(&"own".into(), part(1, vec![member(2)]), 10);
        assert!(watcher.changed(Duration::from_secs(60)).await);
        let Batch::Changes(changes) = watcher.read(begin) else {
            panic!("nothing is lost")
        };
        let [(place, Change::Join(joined))] = &changes[..] else {
            panic!("{changes:?}")
        };
        assert_eq!(joined.id, SessionId::new(2, 0));
        assert_eq!(place.to_string().parse(), Ok(*place));
        // It comes again with what it had.
        drop(watcher);
        let mut watcher = presence.watch(&group, "chat").expect("room");
        assert_eq!(watcher.read(begin), Batch::Changes(changes.clone()));
        let bound = CHANGES_MAX as u64;
        for number in 0..bound {
            room.take(
                &"own".into(),
                part(number + 2, vec![member(number + 3)]),
                10_000,
            );
        }
        assert_eq!(watcher.read(begin), Batch::Lost);
        assert!(matches!(watcher.read(*place), Batch::Changes(all) if all.len() == BATCH_MAX));
        let future = Place {
            changes: u64::MAX,
            ..*place
        };
        assert_eq!(watcher.read(future), Batch::Lost);
        presence.close();
        watcher.mark();
        assert!(!watcher.changed(Duration::from_secs(60)).await);
    }

    #[test]
    fn i8_what_changes_hold_is_bounded_over_all_rooms() {
        let kept = Arc::default();
        let rooms = [Room::new(&kept), Room::new(&kept)];
        let own: Arc<str> = "own".into();
        let metadata = "x".repeat(1 << 20);
        for room in &rooms {
            room.look(&BTreeSet::from([Arc::clone(&own)]), 1000);
            for number in 0..100 {
                let mut items = vec![member(number)];
                if let Item::Member(member) = &mut items[0] {
                    member.principal = Some(metadata.as_str().into());
                }
                room.take(&own, part(number, items), 1000);
            }
        }
        let bytes = kept.load(Ordering::Relaxed);
        assert!(bytes <= CHANGES_BYTES_MAX + (2 << 20), "{bytes}");
        let held = rooms.each_ref().map(|room| room.state().bytes);
        assert_eq!(held.iter().sum::<usize>(), bytes);
        drop(rooms);
        assert_eq!(kept.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn i8_watchers_are_bounded_and_no_publisher_takes_all() {
        let presence = Presence::new("own".into());
        let group = GroupName::parse("lobby").expect("a name");
        let some = |owner| (0..500).map(|_| presence.watch(&group, owner)).collect();
        let first: Vec<_> = some("first");
        assert!(first.iter().all(Option::is_some));
        assert!(presence.watch(&group, "first").is_none());
        let second: Vec<_> = some("second");
        assert!(second.iter().all(Option::is_some));
        assert!(presence.watch(&group, "third").is_none());
        drop(first);
        assert!(presence.watch(&group, "third").is_some());
    }
}
