//! The topics of the process before this one: its successor is subscribed to them before the first
//! session comes, so that no message is carried to neither.

use std::sync::Arc;

use crate::base::group::GroupName;
use crate::control::messages::Messages;
use crate::core::messages::topic::Topic;
use crate::live::Interest;

/// Topics in one part of a hand-over.
const TOPICS_MAX: usize = 4096;
const GROUP: char = 'g';
const PRINCIPAL: char = 'p';
const FOREIGN: char = 'f';

impl Messages {
    /// The topics of this node's sessions behind `after`, a part of them, for the process that
    /// takes over, and the last of them; `None` after the last.
    pub fn topics_part(&self, after: Option<&Topic>) -> Option<(Vec<u8>, Topic)> {
        let some = self.interest()?.some(after, TOPICS_MAX);
        let last = some.last()?.clone();
        let named: Vec<_> = some.iter().filter_map(named).collect();
        let part = serde_json::to_vec(&named).expect("plain data serialises");
        Some((part, last))
    }

    /// Subscribes to topics of the process before this one, a part of them, until
    /// [`history_came`](Self::history_came); what is not understood is left out.
    pub fn adopt_topics(&self, part: &[u8]) {
        let Some(interest) = self.interest() else {
            return;
        };
        let named: Vec<(char, Arc<str>)> = serde_json::from_slice(part).unwrap_or_default();
        let topics: Vec<_> = named.into_iter().filter_map(topic).collect();
        // As a worker does that has sessions in them.
        topics.iter().for_each(|topic| interest.add(topic.clone()));
        self.handed().extend(topics);
    }

    /// The sessions of these topics are here, or they do not come.
    pub(super) fn release_topics(&self) {
        let topics = std::mem::take(&mut *self.handed());
        if let Some(interest) = self.interest() {
            topics.iter().for_each(|topic| interest.remove(topic));
        }
    }

    /// `None` where no other process gets the messages of the broker.
    fn interest(&self) -> Option<&Arc<Interest>> {
        self.fleet.as_ref()?;
        self.live.messages()?.interest.as_ref()
    }
}

fn named(topic: &Topic) -> Option<(char, &str)> {
    match topic {
        Topic::Group(name) => Some((GROUP, name.as_str())),
        Topic::Principal(subject) => Some((PRINCIPAL, subject)),
        Topic::Foreign(name) => Some((FOREIGN, name)),
        // Those of the process itself.
        Topic::Fleet | Topic::Node(_) => None,
    }
}

fn topic((kind, name): (char, Arc<str>)) -> Option<Topic> {
    match kind {
        GROUP => GroupName::parse(&name).ok().map(Topic::Group),
        PRINCIPAL => Some(Topic::Principal(name)),
        FOREIGN => Some(Topic::Foreign(name)),
        _ => None,
    }
}
