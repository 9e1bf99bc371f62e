//! Snapshots that are being made: walks over the members that the workers have. Few are under way
//! at the same time, since the queue of a worker is short; none is given up.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::base::group::GroupName;
use crate::base::session_id::SessionId;

/// A stream: the group, and the node that gets it.
pub(super) type StreamKey = (GroupName, Arc<str>);

/// Walks that are under way at the same time. Each has one command in the queue of each worker.
const RUNNING_MAX: usize = 16;

/// All walks.
#[derive(Debug)]
pub(super) struct Walks {
    /// How many workers there are.
    workers: usize,
    /// Those that have not begun, the oldest first, with their snapshots.
    waiting: HashMap<StreamKey, u64>,
    order: VecDeque<StreamKey>,
    running: HashMap<StreamKey, Walk>,
    /// Slices that were not queued, because the queue of the worker was full.
    refused: VecDeque<Slice>,
}

#[derive(Debug)]
struct Walk {
    snapshot: u64,
    /// Workers that are not done.
    left: usize,
}

/// What a worker is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) key: StreamKey,
    pub(super) snapshot: u64,
    pub(super) worker: usize,
    pub(super) after: Option<SessionId>,
}

/// What a slice that came means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It is of an earlier snapshot.
    Stale,
    /// There is more to come.
    More,
    /// It was the last one of all workers.
    Whole,
}

impl Walks {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            workers,
            waiting: HashMap::new(),
            order: VecDeque::new(),
            running: HashMap::new(),
            refused: VecDeque::new(),
        }
    }

    /// A snapshot has to be made. One that waits for its turn keeps its place in the queue.
    pub(super) fn add(&mut self, key: StreamKey, snapshot: u64) {
        self.running.remove(&key);
        if self.waiting.insert(key.clone(), snapshot).is_none() {
            self.order.push_back(key);
        }
    }

    /// The next slice to ask a worker for.
    pub(super) fn next(&mut self) -> Option<Slice> {
        loop {
            if let Some(slice) = self.refused.pop_front() {
                if self.is_running(&slice.key, slice.snapshot) {
                    return Some(slice);
                }
                continue;
            }
            if self.running.len() >= RUNNING_MAX {
                return None;
            }
            let key = self.order.pop_front()?;
            let Some(snapshot) = self.waiting.remove(&key) else {
                continue;
            };
            let left = self.workers;
            self.running.insert(key.clone(), Walk { snapshot, left });
            let slices = (0..self.workers).map(|worker| Slice {
                key: key.clone(),
                snapshot,
                worker,
                after: None,
            });
            self.refused.extend(slices);
        }
    }

    /// A worker had no room for a slice.
    pub(super) fn refused(&mut self, slice: Slice) {
        self.refused.push_front(slice);
    }

    /// Whether something waits for a worker, or for its turn.
    pub(super) fn waits(&self) -> bool {
        !self.refused.is_empty() || !self.waiting.is_empty()
    }

    /// A slice came; `next` is where the following one begins.
    pub(super) fn came(
        &mut self,
        key: &StreamKey,
        (worker, snapshot): (usize, u64),
        next: Option<SessionId>,
    ) -> Progress {
        if !self.is_running(key, snapshot) {
            return Progress::Stale;
        }
        if next.is_some() {
            self.refused.push_back(Slice {
                key: key.clone(),
                snapshot,
                worker,
                after: next,
            });
            return Progress::More;
        }
        let walk = self.running.get_mut(key).expect("it is running");
        walk.left -= 1;
        if walk.left > 0 {
            return Progress::More;
        }
        self.running.remove(key);
        Progress::Whole
    }

    /// Ends the walks of streams that are no more.
    pub(super) fn retain(&mut self, goes_on: impl Fn(&StreamKey, u64) -> bool) {
        self.waiting.retain(|key, snapshot| goes_on(key, *snapshot));
        self.order.retain(|key| self.waiting.contains_key(key));
        self.running.retain(|key, walk| goes_on(key, walk.snapshot));
    }

    fn is_running(&self, key: &StreamKey, snapshot: u64) -> bool {
        let walk = self.running.get(key);
        walk.is_some_and(|walk| walk.snapshot == snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> StreamKey {
        let name = format!("group-{number}");
        (GroupName::parse(&name).expect("a name"), "node".into())
    }

    /// Workers whose queues take `room` commands, and answer them in turn, in two slices each.
    fn complete(walks: &mut Walks, room: usize) -> Vec<StreamKey> {
        let (mut queued, mut whole) = (VecDeque::new(), Vec::new());
        loop {
            while let Some(slice) = walks.next() {
                if queued.len() == room {
                    walks.refused(slice);
                    break;
                }
                queued.push_back(slice);
            }
            let Some(slice) = queued.pop_front() else {
                return whole;
            };
            let next = slice.after.is_none().then(|| SessionId::new(1, 1));
            let of = (slice.worker, slice.snapshot);
            if walks.came(&slice.key, of, next) == Progress::Whole {
                whole.push(slice.key);
            }
        }
    }

    #[test]
    fn each_of_many_snapshots_is_made_though_queues_are_short() {
        let mut walks = Walks::new(2);
        for number in 0..500 {
            walks.add(key(number), 1);
        }
        let whole = complete(&mut walks, 3);
        let expected: Vec<_> = (0..500).map(key).collect();
        assert_eq!(whole, expected);
        assert!(!walks.waits());
    }

    #[test]
    fn a_snapshot_that_is_asked_for_again_keeps_its_turn_and_begins_anew() {
        let mut walks = Walks::new(1);
        for number in 0..RUNNING_MAX + 2 {
            walks.add(key(number), 1);
        }
        let first = walks.next().expect("a slice");
        // One that runs, and one that waits.
        walks.add(key(0), 7);
        walks.add(key(RUNNING_MAX), 8);
        let stale = walks.came(&first.key, (0, 1), None);
        assert_eq!(stale, Progress::Stale);
        let whole = complete(&mut walks, 100);
        let mut expected: Vec<_> = (1..RUNNING_MAX + 2).map(key).collect();
        expected.push(key(0));
        assert_eq!(whole, expected);
    }

    #[test]
    fn walks_of_streams_that_are_no_more_end() {
        let mut walks = Walks::new(1);
        walks.add(key(0), 1);
        walks.add(key(1), 2);
        let slice = walks.next().expect("a slice");
        walks.refused(slice.clone());
        walks.retain(|_, snapshot| snapshot == 2);
        let next = walks.next().expect("a slice");
        assert_eq!((next.key, next.snapshot), (key(1), 2));
        let stale = walks.came(&slice.key, (0, 1), None);
        assert_eq!(stale, Progress::Stale);
        assert_eq!(walks.next(), None);
    }
}
