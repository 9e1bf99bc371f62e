//! Redis publish and subscribe over one connection in RESP3 (Redis 6 and newer).
//!
//! The server answers each command in order. Subscriptions are confirmed by a push in the place of
//! an answer, or refused by an answer, so one queue of what is expected reads both.

mod resp;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Buf, BytesMut};

use crate::config::snapshot::{Broker, BrokerServer, SignIn};
use crate::core::messages::topic::Topic;
use crate::io::broker::dial::Wire;
use crate::io::broker::drive::{self, Connect};
use crate::io::broker::fault::{Fault, shown};
use crate::io::broker::link::{Link, Protocol};
use crate::io::broker::redis::resp::{Item, command, scan};
use crate::io::broker::{DriverEnd, NotCarried, Outgoing};

const NOT_REDIS: Fault = Fault::Protocol("the protocol of Redis");
/// Longest name of a channel.
const CHANNEL_MAX: usize = 1024;

/// Drives a Redis.
pub(super) async fn drive(end: DriverEnd, settings: Broker, node: Arc<str>) {
    let connect = Redis {
        settings: settings.clone(),
        node,
    };
    drive::drive(end, settings, connect).await;
}

/// Makes connections.
struct Redis {
    settings: Broker,
    node: Arc<str>,
}

impl Connect for Redis {
    type Protocol = Session;

    async fn sign_in(
        &self,
        mut wire: Wire,
        server: &BrokerServer,
    ) -> Result<(Wire, Session), Fault> {
        if server.encrypted {
            wire = wire.secure(&self.settings, server).await?;
        }
        let plain = |letter: char| match letter.is_ascii_graphic() {
            true => letter,
            false => '-',
        };
        let name: String = format!("sessile-{}", self.node)
            .chars()
            .map(plain)
            .collect();
        let mut hello = BytesMut::new();
        match &self.settings.sign_in {
            SignIn::Password(user, password) => {
                let (user, password) = (user.as_bytes(), password.reveal().as_bytes());
                let name = name.as_bytes();
                let words = [
                    b"HELLO",
                    &b"3"[..],
                    b"AUTH",
                    user,
                    password,
                    b"SETNAME",
                    name,
                ];
                command(&mut hello, &words);
            }
            SignIn::Open | SignIn::Token(_) => {
                let words = [b"HELLO", &b"3"[..], b"SETNAME", name.as_bytes()];
                command(&mut hello, &words);
            }
        }
        wire.send(&hello).await?;
        loop {
            if let Some(answer) = scan(&wire.input)? {
                match answer.items.first() {
                    Some(Item::Map(_)) => {}
                    Some(Item::Error(text)) if is_old(text) => {
                        return Err(Fault::Unfit(
                            "the server does not speak RESP3: it is older than Redis 6",
                        ));
                    }
                    Some(Item::Error(text)) => return Err(Fault::refused(text)),
                    _ => return Err(NOT_REDIS),
                }
                let end = answer.end;
                wire.input.advance(end);
                break;
            }
            wire.read_more().await?;
        }
        Ok((wire, Session::new(&self.settings.prefix)))
    }
}

fn is_old(error: &str) -> bool {
    error.starts_with("NOPROTO") || error.starts_with("ERR unknown command")
}

/// What the next answer is for.
enum Expected {
    Published(u64),
    Subscribed(Topic),
    Unsubscribed,
    Pong,
}

/// A connection that is signed in.
struct Session {
    prefix: Arc<str>,
    topics: HashMap<Vec<u8>, Topic>,
    expected: VecDeque<Expected>,
    pings: usize,
}

impl Session {
    fn new(prefix: &Arc<str>) -> Self {
        Self {
            prefix: Arc::clone(prefix),
            topics: HashMap::new(),
            expected: VecDeque::new(),
            pings: 0,
        }
    }

    fn channel(&self, topic: &Topic) -> Option<String> {
        match topic {
            Topic::Foreign(name) => (1..=CHANNEL_MAX)
                .contains(&name.len())
                .then(|| name.to_string()),
            own => own.key().map(|key| format!("{}.{key}", self.prefix)),
        }
    }

    fn push(&mut self, items: &[Item<'_>], link: &mut Link) -> Result<(), Fault> {
        let next = |expected: &mut VecDeque<Expected>, fits: fn(&Expected) -> bool| {
            let front = expected.pop_front();
            front.filter(fits).map(drop).ok_or(NOT_REDIS)
        };
        match items {
            [
                Item::Bulk(b"message"),
                Item::Bulk(channel),
                Item::Bulk(payload),
            ] => {
                if let Some(topic) = self.topics.get(*channel) {
                    link.message(topic, payload);
                }
            }
            [Item::Bulk(b"subscribe"), ..] => {
                next(&mut self.expected, |one| {
                    matches!(one, Expected::Subscribed(_))
                })?;
            }
            [Item::Bulk(b"unsubscribe"), ..] => {
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
        let channel = self.channel(&message.topic);
        let channel = channel
            .ok_or_else(|| NotCarried::Refused("that is no name of a channel".to_owned()))?;
        let words = [b"PUBLISH", channel.as_bytes(), &message.payload];
        command(&mut link.out, &words);
        self.expected.push_back(Expected::Published(number));
        Ok(())
    }

    /// Each message is answered.
    fn settle(&mut self, _link: &mut Link) {}

    fn subscribe(&mut self, topic: Topic, link: &mut Link) {
        let Some(channel) = self.channel(&topic) else {
            link.subscription_refused(&topic, "that is no name of a channel");
            return;
        };
        command(&mut link.out, &[b"SUBSCRIBE", channel.as_bytes()]);
        self.topics.insert(channel.into_bytes(), topic.clone());
        self.expected.push_back(Expected::Subscribed(topic));
    }

    fn unsubscribe(&mut self, topic: &Topic, link: &mut Link) {
        let Some(channel) = self.channel(topic) else {
            return;
        };
        if self.topics.remove(channel.as_bytes()).is_some() {
            command(&mut link.out, &[b"UNSUBSCRIBE", channel.as_bytes()]);
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
