//! The gateways that share one etcd, as observed by one of them: the entry of each, and which are
//! behind. `etcd::announce` reads the entries; this file stores and compares them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// For how long an entry outlives its gateway.
pub const TTL: Duration = Duration::from_secs(15);
/// Maximum interval between two writes of a gateway.
pub const BEAT: Duration = Duration::from_secs(5);
/// A gateway that disappears sooner after its last write deleted its entry; otherwise a lease
/// expired.
const LEFT_WITHIN: Duration = Duration::from_secs(12);
/// For how long a gateway that did not sign off is remembered.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// The entry of a gateway under `<prefix>/gateways/<node>`. Unknown fields are ignored: gateways of
/// another version may have more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// Its name.
    pub node: String,
    /// The failure zone that it is in.
    pub zone: Option<String>,
    /// Where clients reach it.
    pub url: Option<String>,
    /// The part of `node.sessions_max` that is taken.
    pub load: Option<f64>,
    /// The process; two gateways with one name differ in it.
    pub instance: String,
    /// The process id; 0 if unknown.
    pub pid: u32,
    /// Of the program.
    pub version: String,
    /// `starting`, `ready` or `stopping`.
    pub phase: String,
    /// Where its admin API is.
    pub admin: String,
    /// Of its routing table.
    pub generation: u64,
    /// Of its routing table.
    pub digest: String,
    /// The last revision of etcd that it has applied.
    pub revision: Option<i64>,
    /// Live on it.
    pub sessions: usize,
    /// RFC 3339.
    pub started: String,
    /// Grows with time, so that there is something to hear.
    pub beat: u64,
}

/// A gateway of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeView {
    /// Its name.
    pub node: String,
    /// The failure zone that it is in.
    #[serde(default)]
    pub zone: Option<String>,
    /// Where clients reach it (`discovery.url`).
    #[serde(default)]
    pub url: Option<String>,
    /// The part of `node.sessions_max` that is taken; null without a limit.
    #[serde(default)]
    pub load: Option<f64>,
    /// Whether it is the one that answers.
    pub this: bool,
    /// Of the program.
    pub version: String,
    /// `starting`, `ready`, `stopping`, or `gone` if its registration ended without a sign-off.
    pub phase: String,
    /// Where its admin API is.
    pub admin: String,
    /// Of its routing table.
    pub generation: u64,
    /// Of its routing table.
    pub digest: String,
    /// The last revision of etcd that it has applied.
    pub revision: Option<i64>,
    /// Live sessions in its last entry.
    pub sessions: usize,
    /// RFC 3339.
    pub started: String,
    /// Another gateway has applied a later revision of etcd, and has another table.
    pub older: bool,
    /// It has another table than the one that answers, and neither is older: their files differ.
    pub differs: bool,
    /// Another gateway has the same name.
    pub duplicate: bool,
    /// Time since its last entry.
    pub silent_seconds: u64,
}

/// Another gateway, as its entry in etcd describes it: neither name nor address is to be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// Its name.
    pub node: String,
    /// Where its admin API is.
    pub admin: String,
    /// Its entry ended without being removed by it.
    pub gone: bool,
}

/// The state of the fleet.
#[derive(Debug)]
pub struct Fleet {
    instance: String,
    /// The process id of the peer of a hand-over, 0 if there is none.
    other_process: AtomicU32,
    observed: Mutex<Observed>,
}

#[derive(Debug, Default)]
struct Observed {
    /// By key.
    nodes: BTreeMap<String, Node>,
    read: Option<Instant>,
    fault: Option<String>,
}

#[derive(Debug)]
struct Node {
    entry: Entry,
    /// Changes with every write of the entry.
    revision: i64,
    heard: Instant,
    gone: bool,
}

/// An entry as it was read.
#[derive(Clone, Debug)]
pub struct FleetRecord {
    /// Its key.
    pub key: String,
    /// The revision of its last change.
    pub revision: i64,
    /// Its entry.
    pub entry: Entry,
}

impl Fleet {
    /// As the process `instance` sees it.
    pub fn new(instance: String) -> Self {
        Self {
            instance,
            other_process: AtomicU32::new(0),
            observed: Mutex::default(),
        }
    }

    /// The name of this process among those of the fleet.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Sets the peer process of a hand-over, which is the same gateway.
    pub fn set_other_process(&self, pid: u32) {
        self.other_process.store(pid, Relaxed);
    }

    /// Whether two entries of one name are of two gateways, and not of two processes of which one
    /// hands over to the other. These have one admin API.
    fn are_two(&self, one: &Entry, other: &Entry) -> bool {
        let pid = self.other_process.load(Relaxed);
        let ours = [one, other].map(|entry| entry.instance == self.instance);
        let theirs = [one, other].map(|entry| entry.pid == pid);
        let kin = (ours[0] && theirs[1]) || (ours[1] && theirs[0]);
        one.node == other.node
            && one.instance != other.instance
            && !(pid > 0 && kin && one.admin == other.admin)
    }

    /// Takes what etcd has now. Who is not among it any more, and did not take itself away, is
    /// remembered for a while.
    pub fn observe(&self, read: Vec<FleetRecord>, now: Instant) {
        let mut observed = self.observed();
        let there: BTreeSet<_> = read.iter().map(|one| one.key.clone()).collect();
        observed.nodes.retain(|key, node| {
            let silent = now.saturating_duration_since(node.heard);
            let gone = !there.contains(key);
            let left = gone && !node.gone && silent < LEFT_WITHIN;
            node.gone = gone;
            !left && (!gone || silent < REMEMBERED)
        });
        for FleetRecord {
            key,
            revision,
            entry,
        } in read
        {
            let before = observed.nodes.get(&key);
            let heard = match before {
                Some(before) if before.revision == revision => before.heard,
                _ => now,
            };
            let gone = false;
            let node = Node {
                entry,
                revision,
                heard,
                gone,
            };
            observed.nodes.insert(key, node);
        }
        // A gateway that restarted under its name is not gone.
        let live = observed.nodes.values().filter(|node| !node.gone);
        let names: BTreeSet<_> = live.map(|node| node.entry.node.clone()).collect();
        observed
            .nodes
            .retain(|_, node| !node.gone || !names.contains(&node.entry.node));
        observed.read = Some(now);
        observed.fault = None;
    }

    /// etcd was unreachable; the entries grow older.
    pub fn failed(&self, fault: String) {
        self.observed().fault = Some(fault);
    }

    /// Time since the last answer of etcd; `None` without an answer.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        let read = self.observed().read?;
        Some(now.saturating_duration_since(read))
    }

    /// The error of the last read, if it failed.
    pub fn fault(&self) -> Option<String> {
        self.observed().fault.clone()
    }

    /// Everybody, by name.
    pub fn view(&self, now: Instant) -> Vec<NodeView> {
        let observed = self.observed();
        let nodes: Vec<&Node> = observed.nodes.values().collect();
        let own = nodes
            .iter()
            .find(|node| node.entry.instance == self.instance);
        let view = |node: &&Node| {
            let entry = &node.entry;
            let others = || nodes.iter().map(|other| &other.entry);
            let older = others().any(|other| is_older(entry, other));
            let this = entry.instance == self.instance;
            let differs = own.is_some_and(|own| own.entry.digest != entry.digest);
            let own_is_older = own.is_some_and(|own| is_older(&own.entry, entry));
            NodeView {
                node: entry.node.clone(),
                zone: entry.zone.clone(),
                url: entry.url.clone(),
                load: entry.load,
                this,
                version: entry.version.clone(),
                phase: if node.gone { "gone" } else { &entry.phase }.to_owned(),
                admin: entry.admin.clone(),
                generation: entry.generation,
                digest: entry.digest.clone(),
                revision: entry.revision,
                sessions: entry.sessions,
                started: entry.started.clone(),
                older,
                differs: differs && !older && !own_is_older,
                duplicate: others().any(|other| self.are_two(entry, other)),
                silent_seconds: now.saturating_duration_since(node.heard).as_secs(),
            }
        };
        let mut view: Vec<_> = nodes.iter().map(view).collect();
        view.sort_by(|one, other| one.node.cmp(&other.node));
        view
    }

    /// The other gateways, by name: all that have an entry and are neither this process nor the
    /// peer of its hand-over.
    pub fn others(&self) -> Vec<Other> {
        let observed = self.observed();
        let mut nodes = observed.nodes.values();
        let own = nodes.find(|node| node.entry.instance == self.instance);
        let other = |node: &&Node| {
            let kin = own.is_some_and(|own| {
                own.entry.node == node.entry.node && !self.are_two(&own.entry, &node.entry)
            });
            node.entry.instance != self.instance && !kin
        };
        let others = observed.nodes.values().filter(other).map(|node| Other {
            node: node.entry.node.clone(),
            admin: node.entry.admin.clone(),
            gone: node.gone,
        });
        let mut others: Vec<_> = others.collect();
        others.sort_by(|one, other| one.node.cmp(&other.node));
        others
    }

    /// Whether another process has an entry with this name.
    pub fn has_duplicate(&self, own: &Entry) -> bool {
        let observed = self.observed();
        let mut live = observed.nodes.values().filter(|node| !node.gone);
        live.any(|node| self.are_two(own, &node.entry))
    }

    /// Whether another process has an entry with the name of this one.
    pub fn is_duplicated(&self) -> bool {
        let observed = self.observed();
        let live = || observed.nodes.values().filter(|node| !node.gone);
        let own = live().find(|node| node.entry.instance == self.instance);
        own.is_some_and(|own| live().any(|node| self.are_two(&own.entry, &node.entry)))
    }

    fn observed(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `one` has applied less of etcd than `other`, with a different table. A later revision
/// alone proves nothing: it may concern other keys.
fn is_older(one: &Entry, other: &Entry) -> bool {
    one.digest != other.digest
        && matches!((one.revision, other.revision), (Some(one), Some(other)) if one < other)
}

#[cfg(test)]
mod tests;
