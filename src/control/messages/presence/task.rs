//! The task of presence: sends the streams of this node, and renews what is watched here.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::base::clock;
use crate::base::group::GroupName;
use crate::control::messages::fleet::Fleet;
use crate::control::messages::presence::announcer::Announcer;
use crate::control::messages::presence::hub::{Command, Presence};
use crate::control::messages::presence::walks::{Progress, StreamKey, Walks};
use crate::core::messages::presence::{ITEMS_MAX, Item, Part, Streams, Watched};
use crate::core::messages::signal::{Signal, WATCHED_MAX};
use crate::core::messages::topic::Topic;
use crate::live::{Live, MessageCommand, PresenceFeed, PresenceNote, RosterAsk, WorkerCommand};

/// How often nodes and rooms are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Ticks between two renewals of what is watched.
const RENEW_TICKS: u64 = 5;
/// Notes that are taken in one go.
const NOTES_MAX: usize = 512;
/// Bytes of members in one part, about; JSON may need some times as much.
const PART_BYTES: usize = 100 * 1024;
/// Most members of all rooms (I8).
const MEMBERS_MAX: usize = 1_000_000;
/// Until a worker whose queue was full is asked again.
const RETRY: Duration = Duration::from_millis(20);

/// The task.
pub(super) struct Task {
    presence: Arc<Presence>,
    live: Arc<Live>,
    fleet: Option<Arc<Fleet>>,
    feed: Arc<PresenceFeed>,
    /// Publishes joins and leaves at the broker, if there is one.
    announcer: Option<Announcer>,
    streams: Streams,
    /// Watches that were refused since the last tick.
    refused: usize,
    walks: Walks,
    /// Members of all rooms.
    members: usize,
    ticks: u64,
}

impl Task {
    pub(super) fn new(
        presence: Arc<Presence>,
        (live, fleet, feed): (Arc<Live>, Option<Arc<Fleet>>, Arc<PresenceFeed>),
        announcer: Option<Announcer>,
    ) -> Self {
        Self {
            presence,
            walks: Walks::new(live.workers().len()),
            live,
            fleet,
            feed,
            announcer,
            streams: Streams::default(),
            refused: 0,
            members: 0,
            ticks: 0,
        }
    }

    /// Runs for as long as the gateway does.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut notes: mpsc::Receiver<PresenceNote>,
    ) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(command) = commands.recv() => self.obey(command).await,
                Some(note) = notes.recv() => self.pass_on(note, &mut notes).await,
                () = sleep(RETRY), if self.walks.waits() => {}
                _ = tick.tick() => self.tick().await,
            }
            self.walk();
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Watch {
                from,
                groups,
                again,
            } => self.watch(&from, &groups, again).await,
            Command::Part { from, part } => self.take(&from, part),
            Command::Opened => self.open().await,
        }
    }

    /// Gives a part to the room that it is for.
    fn take(&mut self, from: &Arc<str>, part: Part) {
        let room = self.presence.rooms().get(&part.group).cloned();
        if let Some(room) = room {
            let before = room.len();
            room.take(from, part, self.room());
            self.members = (self.members + room.len()).saturating_sub(before);
        }
    }

    /// How many more members there may be in all rooms.
    fn room(&self) -> usize {
        MEMBERS_MAX.saturating_sub(self.members)
    }

    /// A node watches groups: its streams begin or go on.
    async fn watch(&mut self, node: &Arc<str>, groups: &[GroupName], again: bool) {
        let now = clock::now();
        let (mut begun, mut marks) = (Vec::new(), Vec::new());
        for group in groups {
            match self.streams.watch(group, node, again, now) {
                Watched::Begins(place) => begun.push((group, place.snapshot)),
                Watched::GoesOn(place) => marks.push((group, place)),
                Watched::Refused => self.refused += 1,
            }
        }
        if !begun.is_empty() {
            self.feed.add(begun.iter().map(|(group, _)| *group));
        }
        for (group, snapshot) in begun {
            self.walks.add((group.clone(), Arc::clone(node)), snapshot);
        }
        for (group, place) in marks {
            let (group, items) = (group.clone(), Vec::new());
            self.send(
                node,
                Part {
                    group,
                    place,
                    items,
                },
            )
            .await;
        }
    }

    /// Asks workers for members, as many as their queues take.
    fn walk(&mut self) {
        while let Some(slice) = self.walks.next() {
            let (group, node) = &slice.key;
            let command = MessageCommand::Roster {
                group: group.clone(),
                asked: RosterAsk {
                    node: Arc::clone(node),
                    snapshot: slice.snapshot,
                },
                after: slice.after,
            };
            let workers = self.live.workers();
            if !workers.try_queue(slice.worker, WorkerCommand::Messages(command)) {
                self.walks.refused(slice);
                return;
            }
        }
    }

    /// Passes on what workers report.
    async fn pass_on(&mut self, first: PresenceNote, notes: &mut mpsc::Receiver<PresenceNote>) {
        let mut streams: HashMap<StreamKey, Vec<Item>> = HashMap::new();
        let (mut next, mut taken) = (Some(first), 0);
        while let Some(note) = next {
            match note {
                PresenceNote::Changed { group, item } => {
                    if let Some(announcer) = &self.announcer {
                        announcer.announce(&self.feed, &group, &item);
                    }
                    for node in self.streams.watchers(&group) {
                        let items = streams.entry((group.clone(), node)).or_default();
                        items.push(item.clone());
                    }
                }
                PresenceNote::Slice {
                    group,
                    asked,
                    worker,
                    members,
                    next,
                } => {
                    let key = (group, Arc::clone(&asked.node));
                    let progress = self.walks.came(&key, (worker, asked.snapshot), next);
                    let last = match progress {
                        Progress::Stale => None,
                        Progress::More => Some(Item::More),
                        Progress::Whole => Some(Item::Whole),
                    };
                    if let Some(last) = last {
                        let items = streams.entry(key).or_default();
                        items.extend(members.into_iter().map(Item::Member));
                        items.push(last);
                    }
                }
            }
            taken += 1;
            next = match taken < NOTES_MAX {
                true => notes.try_recv().ok(),
                false => None,
            };
        }
        for ((group, node), items) in streams {
            self.send_items(&group, &node, items).await;
        }
    }

    async fn send_items(&mut self, group: &GroupName, node: &Arc<str>, items: Vec<Item>) {
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            let (mut some, mut bytes) = (Vec::new(), 0);
            while let Some(item) = items.next_if(|_| some.len() < ITEMS_MAX && bytes < PART_BYTES) {
                bytes += match &item {
                    Item::Member(member) => member.size(),
                    Item::Left { .. } | Item::More | Item::Whole => 64,
                };
                some.push(item);
            }
            let Some(place) = self.streams.next(group, node) else {
                return;
            };
            let group = group.clone();
            let items = some;
            self.send(
                node,
                Part {
                    group,
                    place,
                    items,
                },
            )
            .await;
        }
    }

    async fn send(&mut self, node: &Arc<str>, part: Part) {
        if node == self.presence.process() {
            self.take(node, part);
            return;
        }
        let Some(fleet) = &self.fleet else { return };
        // A part that the broker does not take is a gap, which its receiver notices.
        let topic = Topic::Node(Arc::clone(node));
        fleet.signal_soon(topic, Signal::Roster(part)).await;
    }

    /// Asks all nodes for the members of rooms that are new.
    async fn open(&mut self) {
        let new: Vec<_> = {
            let rooms = self.presence.rooms();
            let new = rooms.iter().filter(|(_, room)| room.open());
            new.map(|(group, _)| group.clone()).collect()
        };
        if new.is_empty() {
            return;
        }
        let live = self.nodes();
        for group in &new {
            let room = self.presence.rooms().get(group).cloned();
            room.map(|room| room.look(&live, 0));
        }
        // Streams of an earlier room of the group may go on; this one needs their begin.
        self.renew(new, true).await;
    }

    /// This node and the others that live.
    fn nodes(&self) -> BTreeSet<Arc<str>> {
        let others = self.fleet.as_ref().map(|fleet| fleet.processes());
        let others = others.into_iter().flatten();
        let own = Arc::clone(self.presence.process());
        others.chain([own]).collect()
    }

    async fn renew(&mut self, groups: Vec<GroupName>, again: bool) {
        let own = Arc::clone(self.presence.process());
        self.watch(&own, &groups, again).await;
        let Some(fleet) = &self.fleet else { return };
        for some in groups.chunks(WATCHED_MAX) {
            let watch = Signal::Watch {
                groups: some.to_vec(),
                again,
            };
            // The next renewal comes.
            fleet.signal_soon(Topic::Fleet, watch).await;
        }
    }

    async fn tick(&mut self) {
        self.ticks += 1;
        let now = clock::now();
        self.presence.rooms().retain(|_, room| !room.is_idle(now));
        self.members = self.presence.rooms().values().map(|room| room.len()).sum();
        self.open().await;
        let rooms: Vec<_> = {
            let rooms = self.presence.rooms();
            rooms
                .iter()
                .map(|(group, room)| (group.clone(), Arc::clone(room)))
                .collect()
        };
        if self.ticks.is_multiple_of(RENEW_TICKS) && !rooms.is_empty() {
            let groups = rooms.iter().map(|(group, _)| group.clone());
            self.renew(groups.collect(), false).await;
        }
        let live = self.nodes();
        let mut asked: HashMap<Arc<str>, Vec<GroupName>> = HashMap::new();
        for (group, room) in rooms {
            for node in room.look(&live, self.room()) {
                asked.entry(node).or_default().push(group.clone());
            }
        }
        for (node, groups) in asked {
            self.ask_again(node, groups).await;
        }
        self.expire().await;
    }

    /// Asks a node for its members once more.
    async fn ask_again(&mut self, node: Arc<str>, groups: Vec<GroupName>) {
        if node == *self.presence.process() {
            self.watch(&node, &groups, true).await;
            return;
        }
        let Some(fleet) = &self.fleet else { return };
        for some in groups.chunks(WATCHED_MAX) {
            let watch = Signal::Watch {
                groups: some.to_vec(),
                again: true,
            };
            let topic = Topic::Node(Arc::clone(&node));
            fleet.signal_soon(topic, watch).await;
        }
    }

    /// Ends streams that are not renewed, and begins all anew if reports of workers were lost.
    async fn expire(&mut self) {
        self.streams.expire(clock::now());
        self.feed.retain(|group| self.streams.is_watched(group));
        let streams = &self.streams;
        self.walks
            .retain(|(group, node), snapshot| streams.has(group, node, snapshot));
        let refused = std::mem::take(&mut self.refused);
        if refused > 0 {
            tracing::warn!(refused, "too many groups are watched; these are not shown");
        }
        if let Some(announcer) = &mut self.announcer {
            announcer.note_losses(self.feed.losses());
        }
        if self.feed.take_lost() {
            tracing::warn!("too many joins and leaves at once: members are listed again");
            let mut all: HashMap<Arc<str>, Vec<GroupName>> = HashMap::new();
            for (group, node) in self.streams.all() {
                let groups = all.entry(Arc::clone(node)).or_default();
                groups.push(group.clone());
            }
            for (node, groups) in all {
                self.watch(&node, &groups, true).await;
            }
        }
    }
}
