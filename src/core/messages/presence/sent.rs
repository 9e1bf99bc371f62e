//! The streams that a node sends: who watches which group, and how far each stream is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::base::group::GroupName;

/// A watch ends if it is not renewed for so long.
const LEASE: Duration = Duration::from_secs(20);
/// Most streams of a node (I8).
const STREAMS_MAX: usize = 10_000;

/// A place in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The snapshot that the stream begins with; later ones have greater numbers.
    pub snapshot: u64,
    /// The part, counted from the begin of the snapshot.
    pub part: u64,
}

/// What a watch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// A stream begins: its snapshot has to be sent.
    Begins(Place),
    /// A stream goes on; this is its next place.
    GoesOn(Place),
    /// There are too many streams.
    Refused,
}

/// All streams of a node.
#[derive(Debug, Default)]
pub struct Streams {
    groups: HashMap<GroupName, HashMap<Arc<str>, Stream>>,
    count: usize,
    snapshots: u64,
}

#[derive(Debug)]
struct Stream {
    next: Place,
    until: Instant,
}

impl Streams {
    /// A node watches a group; `again` begins the stream anew.
    pub fn watch(
        &mut self,
        group: &GroupName,
        node: &Arc<str>,
        again: bool,
        now: Instant,
    ) -> Watched {
        let known = self.groups.get_mut(group);
        let known = known.and_then(|streams| streams.get_mut(node));
        if let Some(stream) = known {
            stream.until = now + LEASE;
            if !again {
                return Watched::GoesOn(stream.next);
            }
        } else if self.count == STREAMS_MAX {
            return Watched::Refused;
        } else {
            self.count += 1;
        }
        self.snapshots += 1;
        let next = Place {
            snapshot: self.snapshots,
            part: 0,
        };
        let until = now + LEASE;
        let streams = self.groups.entry(group.clone()).or_default();
        streams.insert(Arc::clone(node), Stream { next, until });
        Watched::Begins(next)
    }

    /// Ends the watches that were not renewed.
    pub fn expire(&mut self, now: Instant) {
        for streams in self.groups.values_mut() {
            let before = streams.len();
            streams.retain(|_, stream| stream.until > now);
            self.count -= before - streams.len();
        }
        self.groups.retain(|_, streams| !streams.is_empty());
    }

    /// The groups that are watched.
    pub fn groups(&self) -> impl Iterator<Item = &GroupName> {
        self.groups.keys()
    }

    /// Whether a group is watched.
    pub fn is_watched(&self, group: &GroupName) -> bool {
        self.groups.contains_key(group)
    }

    /// Every stream, by its group and the node that gets it.
    pub fn all(&self) -> impl Iterator<Item = (&GroupName, &Arc<str>)> {
        let each = self.groups.iter();
        each.flat_map(|(group, streams)| streams.keys().map(move |node| (group, node)))
    }

    /// Whether a stream of this snapshot goes on.
    pub fn has(&self, group: &GroupName, node: &str, snapshot: u64) -> bool {
        let stream = self.groups.get(group).and_then(|all| all.get(node));
        stream.is_some_and(|stream| stream.next.snapshot == snapshot)
    }

    /// The nodes that watch a group.
    pub fn watchers(&self, group: &GroupName) -> Vec<Arc<str>> {
        let streams = self.groups.get(group);
        streams.map_or_else(Vec::new, |streams| streams.keys().cloned().collect())
    }

    /// Takes the next place of a stream; `None` if there is none.
    pub fn next(&mut self, group: &GroupName, node: &str) -> Option<Place> {
        let stream = self.groups.get_mut(group)?.get_mut(node)?;
        let place = stream.next;
        stream.next.part += 1;
        Some(place)
    }
}
