//! The topics that are to be subscribed, and what has changed since the driver last looked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::core::messages::topic::Topic;

/// The topics that are to be subscribed. The driver takes all of them when it has connected, and
/// then each change.
#[derive(Debug)]
pub struct Subscriptions {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    topics: BTreeSet<Topic>,
    /// Topics whose state is not what the driver took last. A change back takes its entry out, so
    /// that there are at most as many as topics of then and now.
    changes: BTreeMap<Topic, bool>,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl Subscriptions {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a topic subscribed or not.
    pub fn change(&self, topic: Topic, wanted: bool) {
        let mut state = self.state();
        let changes = match wanted {
            true => state.topics.insert(topic.clone()),
            false => state.topics.remove(&topic),
        };
        if !changes {
            return;
        }
        if state.changes.remove(&topic).is_none() {
            state.changes.insert(topic, wanted);
        }
        drop(state);
        self.changed.send_modify(|version| *version += 1);
    }

    /// Whether a topic is to be subscribed.
    pub fn contains(&self, topic: &Topic) -> bool {
        self.state().topics.contains(topic)
    }

    /// All of them; later changes are told from here on.
    pub fn take_all(&self) -> BTreeSet<Topic> {
        let mut state = self.state();
        state.changes.clear();
        state.topics.clone()
    }

    /// What has changed since the last call of this or of [`take_all`](Self::take_all): topics that
    /// are wanted now (true), or no longer.
    pub fn take_changes(&self) -> BTreeMap<Topic, bool> {
        std::mem::take(&mut self.state().changes)
    }

    /// Reports each change.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_from_what_was_taken_is_a_change() {
        let wanted = Subscriptions::default();
        let [a, b] = ["a", "b"].map(|name| Topic::Foreign(name.into()));
        wanted.change(a.clone(), true);
        wanted.change(b.clone(), true);
        wanted.change(b.clone(), true);
        assert_eq!(wanted.take_all(), BTreeSet::from([a.clone(), b.clone()]));
        assert_eq!(wanted.take_changes(), BTreeMap::new());
        wanted.change(a.clone(), false);
        wanted.change(b.clone(), false);
        wanted.change(b, true);
        assert_eq!(wanted.take_changes(), BTreeMap::from([(a.clone(), false)]));
        wanted.change(a.clone(), true);
        assert_eq!(wanted.take_changes(), BTreeMap::from([(a, true)]));
    }
}
