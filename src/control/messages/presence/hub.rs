//! What the rest of the gateway sees of presence: rooms to watch, and the commands of the task.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, mpsc, watch};

use crate::base::group::GroupName;
use crate::control::messages::presence::room::{Permit, Room, Watcher};
use crate::core::messages::presence::Part;

/// Most groups that are watched on one node (I8).
const ROOMS_MAX: usize = 1000;
/// Most watchers on one node (I8).
const WATCHERS_MAX: usize = 1000;
/// Most watchers of one operator or publisher.
const WATCHERS_OF_ONE_MAX: usize = WATCHERS_MAX / 2;
/// Commands that wait for the task. Those of other nodes are dropped beyond that, and repeated by
/// them.
const COMMANDS_MAX: usize = 4096;

/// What the task is to do.
#[derive(Debug)]
pub(super) enum Command {
    /// A node watches groups.
    Watch {
        from: Arc<str>,
        groups: Vec<GroupName>,
        again: bool,
    },
    /// A part of another node's stream came.
    Part { from: Arc<str>, part: Part },
    /// There is a new room.
    Opened,
}

/// The presence of a node.
#[derive(Debug)]
pub(in crate::control::messages) struct Presence {
    process: Arc<str>,
    commands: mpsc::Sender<Command>,
    receiver: Mutex<Option<mpsc::Receiver<Command>>>,
    rooms: Mutex<HashMap<GroupName, Arc<Room>>>,
    watchers: Arc<Semaphore>,
    /// Those that watch, by who they are.
    owners: Mutex<HashMap<Box<str>, Arc<Semaphore>>>,
    /// What the changes of all rooms hold.
    kept_bytes: Arc<AtomicUsize>,
    closed: watch::Sender<bool>,
}

impl Presence {
    pub(in crate::control::messages) fn new(process: Arc<str>) -> Arc<Self> {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        Arc::new(Self {
            process,
            commands,
            receiver: Mutex::new(Some(receiver)),
            rooms: Mutex::default(),
            watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
            owners: Mutex::default(),
            kept_bytes: Arc::default(),
            closed: watch::Sender::new(false),
        })
    }

    /// The commands of the task; only once.
    pub(super) fn take_commands(&self) -> Option<mpsc::Receiver<Command>> {
        lock(&self.receiver).take()
    }

    /// The id of this process among those of the fleet.
    pub(super) fn process(&self) -> &Arc<str> {
        &self.process
    }

    /// Another node watches groups.
    pub(in crate::control::messages) fn watched(
        &self,
        from: Arc<str>,
        groups: Vec<GroupName>,
        again: bool,
    ) {
        let watch = Command::Watch {
            from,
            groups,
            again,
        };
        // It is repeated every few seconds.
        let _ = self.commands.try_send(watch);
    }

    /// A part of another node's stream came.
    pub(in crate::control::messages) fn came(&self, from: Arc<str>, part: Part) {
        // A part that is lost is noticed by the next one.
        let _ = self.commands.try_send(Command::Part { from, part });
    }

    /// Begins to watch a group; `None` if too much is watched already.
    /// `owner` is who asks: none of them may take the place of all others.
    pub(in crate::control::messages) fn watch(
        &self,
        group: &GroupName,
        owner: &str,
    ) -> Option<Watcher> {
        let own = {
            let mut owners = lock(&self.owners);
            owners.retain(|_, permits| permits.available_permits() < WATCHERS_OF_ONE_MAX);
            let new = || Arc::new(Semaphore::new(WATCHERS_OF_ONE_MAX));
            let permits = owners.entry(owner.into()).or_insert_with(new);
            Arc::clone(permits).try_acquire_owned().ok()?
        };
        let permit = Arc::clone(&self.watchers).try_acquire_owned().ok()?;
        let mut rooms = lock(&self.rooms);
        let (room, new) = match rooms.get(group) {
            Some(room) => (Arc::clone(room), false),
            None => {
                make_room(&mut rooms)?;
                (Arc::new(Room::new(&self.kept_bytes)), true)
            }
        };
        if new {
            rooms.insert(group.clone(), Arc::clone(&room));
        }
        let permit = Permit::new([permit, own], &room);
        drop(rooms);
        if new {
            // If it finds no room, the next tick opens it.
            let _ = self.commands.try_send(Command::Opened);
        }
        Some(Watcher::new(room, permit, self.closed.subscribe()))
    }

    /// Ends all watchers.
    pub(in crate::control::messages) fn close(&self) {
        self.closed.send_replace(true);
    }

    /// The groups that are watched here.
    pub(super) fn rooms(&self) -> MutexGuard<'_, HashMap<GroupName, Arc<Room>>> {
        lock(&self.rooms)
    }
}

/// Makes room for one more. Of those without watchers the longest idle one goes: else one owner
/// could take the place of all others with rooms that are not watched. `None` if all are
/// watched.
fn make_room(rooms: &mut HashMap<GroupName, Arc<Room>>) -> Option<()> {
    if rooms.len() < ROOMS_MAX {
        return Some(());
    }
    let idle = rooms.iter();
    let idle = idle.filter_map(|(group, room)| Some((room.idle_since()?, group)));
    let (_, group) = idle.min()?;
    let group = group.clone();
    rooms.remove(&group).map(drop)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(number: usize) -> GroupName {
        GroupName::parse(&format!("g{number}")).expect("a name")
    }

    #[test]
    fn i12_rooms_that_are_not_watched_make_room_the_longest_idle_one_first() {
        let presence = Presence::new("p".into());
        let watched = presence.watch(&group(0), "other").expect("there is room");
        for number in 1..=ROOMS_MAX * 2 {
            let watcher = presence.watch(&group(number), "greedy");
            drop(watcher.expect("the rooms before are idle"));
        }
        assert_eq!(presence.rooms().len(), ROOMS_MAX);
        assert!(presence.rooms().contains_key(&group(0)), "it is watched");
        assert!(
            !presence.rooms().contains_key(&group(1)),
            "the longest idle"
        );
        assert!(presence.watch(&group(1), "other").is_some());
        drop(watched);
    }
}
