//! A connection to one server that is signed in.
//!
//! The server answers each command in order. Subscriptions are confirmed by a push in the place of
//! an answer, or refused by an answer, so one queue of what is expected reads both.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Buf, BytesMut};

use crate::core::messages::topic::Topic;
use crate::io::broker::link::{Link, Protocol};
use crate::io::broker::{NotCarried, Outgoing};
use crate::io::redis::resp::{Item, NOT_REDIS, command, scan};
use crate::io::service::fault::{Fault, shown};

/// Longest name of a channel.
const CHANNEL_MAX: usize = 1024;
const MOVED: Fault = Fault::Unfit("slots of the cluster have moved");

/// The channel of a topic, if it can be one.
pub(super) fn channel(prefix: &str, topic: &Topic) -> Option<String> {
    match topic {
        Topic::Foreign(name) => (1..=CHANNEL_MAX)
            .contains(&name.len())
            .then(|| name.to_string()),
        own => own.key().map(|key| format!("{prefix}.{key}")),
    }
}

/// The commands of a server alone, or of a cluster's.
#[derive(Debug)]
struct Words {
    publish: &'static [u8],
    subscribe: &'static [u8],
    unsubscribe: &'static [u8],
}

const ALONE: Words = Words {
    publish: b"PUBLISH",
    subscribe: b"SUBSCRIBE",
    unsubscribe: b"UNSUBSCRIBE",
};
const SHARDED: Words = Words {
    publish: b"SPUBLISH",
    subscribe: b"SSUBSCRIBE",
    unsubscribe: b"SUNSUBSCRIBE",
};

/// What the next answer is for.
enum Expected {
    Published(u64),
    Subscribed(Topic),
    Unsubscribed,
    Pong,
}

/// A connection that is signed in.
pub(super) struct Session {
    words: &'static Words,
    prefix: Arc<str>,
    topics: HashMap<Vec<u8>, Topic>,
    expected: VecDeque<Expected>,
    pings: usize,
}

impl Session {
    pub(super) fn new(prefix: &Arc<str>, is_cluster: bool) -> Self {
        Self {
            words: if is_cluster { &SHARDED } else { &ALONE },
            prefix: Arc::clone(prefix),
            topics: HashMap::new(),
            expected: VecDeque::new(),
            pings: 0,
        }
    }

    fn push(&mut self, items: &[Item<'_>], link: &mut Link) -> Result<(), Fault> {
        let next = |expected: &mut VecDeque<Expected>, fits: fn(&Expected) -> bool| {
            let front = expected.pop_front();
            front.filter(fits).map(drop).ok_or(NOT_REDIS)
        };
        match items {
            [
                Item::Bulk(b"message" | b"smessage"),
                Item::Bulk(channel),
                Item::Bulk(payload),
            ] => {
                if let Some(topic) = self.topics.get(*channel) {
                    link.message(topic, payload);
                }
            }
            [Item::Bulk(b"subscribe" | b"ssubscribe"), ..] => {
                next(&mut self.expected, |one| {
                    matches!(one, Expected::Subscribed(_))
                })?;
            }
            // A server that gives a slot away ends the subscriptions of its channels.
            [Item::Bulk(b"sunsubscribe"), ..]
                if !matches!(self.expected.front(), Some(Expected::Unsubscribed)) =>
            {
                return Err(MOVED);
            }
            [Item::Bulk(b"unsubscribe" | b"sunsubscribe"), ..] => {
                next(&mut self.expected, |one| {
                    matches!(one, Expected::Unsubscribed)
                })?;
            }
            // Such as `invalidate`, which only comes when it was asked for.
            _ => {}
        }
        Ok(())
    }

    fn answer(&mut self, answer: &Item<'_>, link: &mut Link) -> Result<(), Fault> {
        let expected = self.expected.pop_front().ok_or(NOT_REDIS)?;
        if let Item::Error(text) = answer
            && ["MOVED ", "CLUSTERDOWN "]
                .iter()
                .any(|word| text.starts_with(word))
        {
            if let Expected::Published(number) = expected {
                link.pending.answer(number, Err(NotCarried::NotConnected));
            }
            return Err(MOVED);
        }
        match (expected, answer) {
            (Expected::Published(number), Item::Int(_)) => link.pending.answer(number, Ok(())),
            (Expected::Published(number), Item::Error(text)) => {
                let refused = NotCarried::Refused(shown(text));
                link.pending.answer(number, Err(refused));
            }
            (Expected::Subscribed(topic), Item::Error(text)) => {
                link.subscription_refused(&topic, &shown(text));
            }
            (Expected::Pong, Item::Simple("PONG")) => self.pings -= 1,
            (_, Item::Error(text)) => return Err(Fault::refused(text)),
            _ => return Err(NOT_REDIS),
        }
        Ok(())
    }
}

impl Protocol for Session {
    fn read(&mut self, input: &mut BytesMut, link: &mut Link) -> Result<bool, Fault> {
        let Some(found) = scan(input)? else {
            return Ok(false);
        };
        let (end, skip) = (found.end, found.skip);
        match found.items.split_first() {
            _ if skip > 0 => {}
            Some((Item::Push(_), items)) => self.push(items, link)?,
            Some((answer, [])) => self.answer(answer, link)?,
            _ => return Err(NOT_REDIS),
        }
        input.advance(end);
        if skip > 0 {
            link.skip(skip);
        }
        Ok(true)
    }

    fn publish(
        &mut self,
        message: &Outgoing,
        number: u64,
        link: &mut Link,
    ) -> Result<(), NotCarried> {
        let channel = channel(&self.prefix, &message.topic);
        let channel = channel
            .ok_or_else(|| NotCarried::Refused("that is no name of a channel".to_owned()))?;
        let words = [self.words.publish, channel.as_bytes(), &message.payload];
        command(&mut link.out, &words);
        self.expected.push_back(Expected::Published(number));
        Ok(())
    }

    /// Each message is answered.
    fn settle(&mut self, _link: &mut Link) {}

    fn subscribe(&mut self, topic: Topic, link: &mut Link) {
        let Some(channel) = channel(&self.prefix, &topic) else {
            link.subscription_refused(&topic, "that is no name of a channel");
            return;
        };
        command(&mut link.out, &[self.words.subscribe, channel.as_bytes()]);
        self.topics.insert(channel.into_bytes(), topic.clone());
        self.expected.push_back(Expected::Subscribed(topic));
    }

    fn unsubscribe(&mut self, topic: &Topic, link: &mut Link) {
        let Some(channel) = channel(&self.prefix, topic) else {
            return;
        };
        if self.topics.remove(channel.as_bytes()).is_some() {
            command(&mut link.out, &[self.words.unsubscribe, channel.as_bytes()]);
            self.expected.push_back(Expected::Unsubscribed);
        }
    }

    fn ping(&mut self, link: &mut Link) {
        if self.pings == 0 {
            command(&mut link.out, &[b"PING"]);
            self.expected.push_back(Expected::Pong);
            self.pings += 1;
        }
    }
}

#[cfg(test)]
mod tests;
