//! What a gateway wants of the records that it reads: topics of the fleet by the keys of records,
//! and records of other services' topics, all of them or those with a key.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::config::broker_name::topic_and_key;
use crate::core::messages::topic::Topic;
use crate::io::broker::kafka::wire::Name;

/// What of the records is passed on.
pub(super) struct Interest {
    prefix: Name,
    topics: Mutex<Topics>,
}

#[derive(Default)]
struct Topics {
    own: HashMap<Vec<u8>, Topic>,
    foreign: HashMap<Name, Records>,
}

/// What is wanted of another service's topic.
#[derive(Default)]
struct Records {
    /// All records.
    all: Option<Topic>,
    by_key: HashMap<Vec<u8>, Topic>,
}

impl Interest {
    pub(super) fn new(prefix: &Name) -> Self {
        Self {
            prefix: Name::clone(prefix),
            topics: Mutex::default(),
        }
    }

    /// Whether a topic is the fleet's.
    pub(super) fn is_own(&self, topic: &Name) -> bool {
        *topic == self.prefix
    }

    fn topics(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_own(&self, topic: Topic, wanted: bool) {
        let Some(key) = topic.key().map(String::into_bytes) else {
            return;
        };
        let mut topics = self.topics();
        match wanted {
            true => topics.own.insert(key, topic),
            false => topics.own.remove(&key),
        };
    }

    /// Wants a name of another service, `TOPIC` or `TOPIC/KEY`. Returns whether the topic is read
    /// from now on.
    pub(super) fn add_foreign(&self, name: &Name) -> bool {
        let (topic, key) = topic_and_key(name);
        let mut topics = self.topics();
        let is_first = !topics.foreign.contains_key(topic);
        let records = topics.foreign.entry(topic.into()).or_default();
        let wanted = Topic::Foreign(Name::clone(name));
        match key {
            Some(key) => drop(records.by_key.insert(key.into(), wanted)),
            None => records.all = Some(wanted),
        }
        is_first
    }

    /// Wants it no longer. Returns whether the topic is read no longer.
    pub(super) fn remove_foreign(&self, name: &Name) -> bool {
        let (topic, key) = topic_and_key(name);
        let mut topics = self.topics();
        let Some(records) = topics.foreign.get_mut(topic) else {
            return false;
        };
        match key {
            Some(key) => drop(records.by_key.remove(key.as_bytes())),
            None => records.all = None,
        }
        let is_last = records.all.is_none() && records.by_key.is_empty();
        if is_last {
            topics.foreign.remove(topic);
        }
        is_last
    }

    /// Wants nothing of another service's topic any longer. Returns what was wanted.
    pub(super) fn take_foreign(&self, topic: &Name) -> BTreeSet<Name> {
        let records = self.topics().foreign.remove(topic).unwrap_or_default();
        let wanted = records.all.into_iter().chain(records.by_key.into_values());
        let names = wanted.filter_map(|topic| match topic {
            Topic::Foreign(name) => Some(name),
            _ => None,
        });
        names.collect()
    }

    /// The topics under which a record is wanted.
    pub(super) fn topics_of(&self, name: &Name, key: &[u8]) -> impl Iterator<Item = Topic> + use<> {
        let topics = self.topics();
        let (one, other) = match self.is_own(name) {
            true => (topics.own.get(key).cloned(), None),
            false => match topics.foreign.get(name) {
                Some(records) => (records.all.clone(), records.by_key.get(key).cloned()),
                None => (None, None),
            },
        };
        one.into_iter().chain(other)
    }
}
