//! Which gateways of the fleet live, by their heartbeats at the broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two heartbeats of a node.
pub const HEARTBEAT: Duration = Duration::from_secs(3);
/// A node without a heartbeat for so long is gone.
pub const GONE_AFTER: Duration = Duration::from_secs(10);
/// So long after the broker has connected every live node has been heard.
const SETTLED_AFTER: Duration = Duration::from_secs(4);
/// A node that has ended is not heard for so long.
const LEFT_FOR: Duration = Duration::from_secs(30);
/// Most nodes; whatever writes heartbeats at the broker cannot add more (I8).
pub const NODES_MAX: usize = 1000;
/// Longest name of a node that is kept, in bytes.
const NAME_MAX: usize = 256;

/// The other nodes, by the ids of their processes.
#[derive(Debug, Default)]
pub struct Nodes {
    known: BTreeMap<Arc<str>, Node>,
    /// Those that have said that they end, and when.
    left: BTreeMap<Arc<str>, Instant>,
    connected: Option<Instant>,
    looked: Option<Instant>,
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `node.name` there.
    pub name: Arc<str>,
    /// Its last heartbeat.
    pub heard: Instant,
}

impl Nodes {
    /// A heartbeat came. Returns whether the node is new.
    pub fn hear(&mut self, process: &Arc<str>, name: &Arc<str>, now: Instant) -> bool {
        if let Some(node) = self.known.get_mut(process) {
            node.heard = now;
            return false;
        }
        let left = self.left.get(process);
        let left = left.is_some_and(|at| now.saturating_duration_since(*at) < LEFT_FOR);
        if left || self.known.len() == NODES_MAX {
            return false;
        }
        let name = match name.len() <= NAME_MAX {
            true => Arc::clone(name),
            false => Arc::from(""),
        };
        self.known
            .insert(Arc::clone(process), Node { name, heard: now });
        true
    }

    /// Something of a node came. One that is not known has no name yet.
    pub fn heard(&mut self, process: &str, now: Instant) {
        if let Some(node) = self.known.get_mut(process) {
            node.heard = now;
        }
    }

    /// A node has ended. Heartbeats of it that come later are not heard: a broker may deliver them
    /// in another order. Returns whether it was known.
    pub fn leave(&mut self, process: &str, now: Instant) -> bool {
        let known = self.known.remove(process);
        self.left
            .retain(|_, at| now.saturating_duration_since(*at) < LEFT_FOR);
        if let Some(_) = &known
            && self.left.len() < NODES_MAX
        {
            self.left.insert(process.into(), now);
        }
        known.is_some()
    }

    /// The nodes that are gone by now; call it at least once in [`HEARTBEAT`]. A longer pause was a
    /// pause of this process, in which it received nothing. `deaf` is whether heartbeats that came
    /// since the last call may not have been heard.
    pub fn expire(&mut self, now: Instant, deaf: bool) -> Vec<Arc<str>> {
        let before = self.looked.replace(now).unwrap_or(now);
        let pause = now.saturating_duration_since(before);
        if deaf || pause > HEARTBEAT {
            for node in self.known.values_mut() {
                node.heard = now.min(node.heard + pause);
            }
        }
        let silent = |node: &Node| now.saturating_duration_since(node.heard) >= GONE_AFTER;
        let gone = self.known.iter().filter(|(_, node)| silent(node));
        let gone: Vec<_> = gone.map(|(process, _)| Arc::clone(process)).collect();
        for process in &gone {
            self.known.remove(process);
        }
        gone
    }

    /// The broker is connected since now, or is not.
    pub fn set_connected(&mut self, connected: bool, now: Instant) {
        match connected {
            true => self.connected = self.connected.or(Some(now)),
            false => self.connected = None,
        }
    }

    /// Whether every live node must have been heard: before that an unknown node may live.
    pub fn is_settled(&self, now: Instant) -> bool {
        let since = |at| now.saturating_duration_since(at);
        self.connected.is_some_and(|at| since(at) >= SETTLED_AFTER)
    }

    /// The processes of all live nodes but this one.
    pub fn processes(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.known.keys()
    }

    /// All live nodes but this one.
    pub fn all(&self) -> impl Iterator<Item = (&Arc<str>, &Node)> {
        self.known.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    const SECOND: Duration = Duration::from_secs(1);

    fn processes(nodes: &Nodes) -> Vec<&str> {
        nodes.processes().map(|process| &**process).collect()
    }

    #[test]
    fn a_node_without_heartbeats_is_gone_after_the_stated_time() {
        let (mut nodes, start) = (Nodes::default(), clock::now());
        let [a, b, name] = ["a", "b", "edge"].map(Arc::<str>::from);
        assert!(nodes.hear(&a, &name, start) && nodes.hear(&b, &name, start));
        let mut gone = Vec::new();
        for second in 1..=10 {
            let now = start + SECOND * second;
            if second % 3 == 0 {
                assert!(!nodes.hear(&b, &name, now), "it is known");
            }
            let some = nodes.expire(now, false);
            gone.extend(some.into_iter().map(|process| (second, process)));
        }
        assert_eq!(gone, [(10, a)]);
        assert_eq!(processes(&nodes), ["b"]);
        assert!(nodes.leave("b", start) && !nodes.leave("b", start));
        assert_eq!(nodes.processes().len(), 0);
    }

    #[test]
    fn what_cannot_be_heard_is_no_silence() {
        let (mut nodes, start) = (Nodes::default(), clock::now());
        let [a, name] = ["a", "edge"].map(Arc::<str>::from);
        nodes.hear(&a, &name, start);
        // Heartbeats may have been dropped for a minute.
        for second in 0..=60 {
            assert!(nodes.expire(start + SECOND * second, true).is_empty());
        }
        for second in 61..70 {
            assert!(nodes.expire(start + SECOND * second, false).is_empty());
        }
        // Anything of a node shows that it lives.
        nodes.heard("a", start + SECOND * 69);
        nodes.heard("unknown", start + SECOND * 69);
        for second in 70..79 {
            assert!(nodes.expire(start + SECOND * second, false).is_empty());
        }
        assert_eq!(nodes.expire(start + SECOND * 79, false), [a]);
    }

    #[test]
    fn a_heartbeat_behind_the_end_of_a_node_is_not_heard() {
        let (mut nodes, start) = (Nodes::default(), clock::now());
        let [a, b, name] = ["a", "b", "edge"].map(Arc::<str>::from);
        nodes.hear(&a, &name, start);
        assert!(nodes.leave("a", start));
        assert!(!nodes.hear(&a, &name, start + SECOND * 29));
        assert!(nodes.hear(&b, &name, start + SECOND * 29), "another one");
        assert_eq!(processes(&nodes), ["b"]);
        assert!(nodes.hear(&a, &name, start + SECOND * 30));
    }

    #[test]
    fn a_pause_of_this_process_is_no_silence_of_others() {
        let (mut nodes, start) = (Nodes::default(), clock::now());
        let [a, name] = ["a", "edge"].map(Arc::<str>::from);
        nodes.hear(&a, &name, start);
        assert!(nodes.expire(start + SECOND, false).is_empty());
        assert!(nodes.expire(start + SECOND * 60, false).is_empty());
        for second in 61..=68 {
            assert!(
                nodes.expire(start + SECOND * second, false).is_empty(),
                "{second}"
            );
        }
        assert_eq!(nodes.expire(start + SECOND * 69, false), [a]);
    }

    #[test]
    fn nodes_are_complete_some_time_after_the_broker_has_connected() {
        let (mut nodes, start) = (Nodes::default(), clock::now());
        assert!(!nodes.is_settled(start + SECOND * 60));
        nodes.set_connected(true, start);
        nodes.set_connected(true, start + SECOND * 3);
        assert!(!nodes.is_settled(start + SECOND * 3) && nodes.is_settled(start + SECOND * 4));
        nodes.set_connected(false, start + SECOND * 5);
        nodes.set_connected(true, start + SECOND * 6);
        assert!(!nodes.is_settled(start + SECOND * 7) && nodes.is_settled(start + SECOND * 10));
    }

    #[test]
    fn i8_nodes_are_bounded() {
        let (mut nodes, now) = (Nodes::default(), clock::now());
        let name: Arc<str> = "x".repeat(NAME_MAX + 1).into();
        for number in 0..=NODES_MAX {
            nodes.hear(&number.to_string().into(), &name, now);
        }
        assert_eq!(nodes.processes().len(), NODES_MAX);
        assert!(nodes.all().all(|(_, node)| node.name.is_empty()));
    }
}
