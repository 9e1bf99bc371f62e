//! A connection that is signed in. It has three channels, because the server closes a channel with
//! its first error: one for the fleet's own messages and bindings, whose errors end the connection;
//! one for bindings and one for messages to exchanges of other services, whose errors concern some
//! bindings or one message.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Buf, BufMut, BytesMut};

use crate::core::messages::topic::Topic;
use crate::io::broker::link::{Link, Protocol};
use crate::io::broker::rabbitmq::wire::{
    BODY, HEADER, HEARTBEAT, METHOD, Method, NOT_AMQP, Reader, frame, put_frame, put_method,
    put_short, put_table, put_text_field,
};
use crate::io::broker::{NotCarried, Outgoing, PAYLOAD_MAX};
use crate::io::service::fault::{Fault, shown};

pub(super) const OWN: u16 = 1;
pub(super) const BINDINGS: u16 = 2;
pub(super) const FOREIGN: u16 = 3;
/// Longest short string.
const SHORT_MAX: usize = 255;
/// Bindings to exchanges of other services under way. An error has the server skip those behind it,
/// which are then written again.
const BINDINGS_MAX: usize = 128;
/// Bytes around the payload of a frame.
const FRAME_EXTRA: usize = 8;

/// An exchange and a routing key.
type Address = (Arc<str>, String);

/// A connection.
pub(in crate::io::broker) struct Session {
    exchange: Arc<str>,
    queue: String,
    frame_max: usize,
    topics: HashMap<Address, Topic>,
    /// Bindings to exchanges of other services that the server has not confirmed: made (true) or
    /// taken away.
    binding: VecDeque<(Topic, bool)>,
    /// So many of them are written.
    written: usize,
    own: Confirms,
    foreign: Confirms,
    /// Why the server takes no messages now.
    blocked: Option<String>,
    delivery: Option<Delivery>,
}

/// A message that is coming in.
struct Delivery {
    /// Under its routing key, and as one of all messages of its exchange.
    topics: [Option<Topic>; 2],
    /// Bytes that are still to come, once the header has said it.
    missing: Option<u64>,
    body: Vec<u8>,
}

/// Messages of one channel that are not confirmed.
#[derive(Default)]
struct Confirms {
    /// The tag before that of the front.
    answered: u64,
    /// Number and exchange of each message, unless it is answered.
    waiting: VecDeque<Option<(u64, Arc<str>)>>,
}

impl Confirms {
    /// The server has answered one tag, or all up to it.
    fn answer(
        &mut self,
        (tag, multiple): (u64, bool),
        link: &mut Link,
        outcome: &Result<(), NotCarried>,
    ) {
        let Some(place) = tag.checked_sub(self.answered + 1) else {
            return;
        };
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let first = if multiple { 0 } else { place };
        let last = place.min(self.waiting.len().saturating_sub(1));
        for waiting in self.waiting.iter_mut().take(last + 1).skip(first) {
            if let Some((number, _)) = waiting.take() {
                link.pending.answer(number, outcome.clone());
            }
        }
        while matches!(self.waiting.front(), Some(None)) {
            self.waiting.pop_front();
            self.answered += 1;
        }
    }
}

/// The code and text with which a server closes a channel or a connection.
pub(super) fn refusal(fields: &[u8]) -> Fault {
    Fault::refused(&reason(fields))
}

fn reason(fields: &[u8]) -> String {
    let mut fields = Reader(fields);
    let code = fields.u16().unwrap_or_default();
    format!("{code} {}", shown(fields.short().unwrap_or_default()))
}

impl Session {
    pub(super) fn new(exchange: &Arc<str>, queue: String, frame_max: usize) -> Self {
        Self {
            exchange: Arc::clone(exchange),
            queue,
            frame_max,
            topics: HashMap::new(),
            binding: VecDeque::new(),
            written: 0,
            own: Confirms::default(),
            foreign: Confirms::default(),
            blocked: None,
            delivery: None,
        }
    }

    /// A name of other services is `EXCHANGE/KEY`; without a key, all of an exchange that has none.
    fn address(&self, topic: &Topic) -> Option<Address> {
        let Topic::Foreign(name) = topic else {
            return topic.key().map(|key| (Arc::clone(&self.exchange), key));
        };
        let (exchange, key) = name.split_once('/')?;
        let fits = (1..=SHORT_MAX).contains(&exchange.len()) && key.len() <= SHORT_MAX;
        // Bindings to a topic exchange would take these for wildcards.
        let plain = !key.contains(['*', '#']) && exchange != &*self.exchange;
        (fits && plain).then(|| (exchange.into(), key.to_owned()))
    }

    /// Has a binding made or taken away.
    fn bind(&mut self, topic: &Topic, bound: bool, out: &mut BytesMut) {
        match topic {
            Topic::Foreign(_) => {
                self.binding.push_back((topic.clone(), bound));
                self.write_bindings(out);
            }
            _ => self.write_binding(topic, bound, out),
        }
    }

    /// Writes as many of the bindings that wait as may be under way.
    fn write_bindings(&mut self, out: &mut BytesMut) {
        while self.written < self.binding.len().min(BINDINGS_MAX) {
            let (topic, bound) = &self.binding[self.written];
            self.write_binding(topic, *bound, out);
            self.written += 1;
        }
    }

    fn write_binding(&self, topic: &Topic, bound: bool, out: &mut BytesMut) {
        let Some((exchange, key)) = self.address(topic) else {
            return;
        };
        let channel = match topic {
            Topic::Foreign(_) => BINDINGS,
            _ => OWN,
        };
        let method = if bound { (50, 20) } else { (50, 50) };
        put_method(out, channel, method, |out| {
            out.put_u16(0);
            put_short(out, &self.queue);
            put_short(out, &exchange);
            put_short(out, &key);
            if bound {
                out.put_u8(0);
            }
            put_table(out, |_| {});
        });
    }

    fn method(
        &mut self,
        channel: u16,
        method: Method,
        fields: &[u8],
        link: &mut Link,
    ) -> Result<(), Fault> {
        let mut read = Reader(fields);
        match method {
            (10, 50) => return Err(refusal(fields)),
            (10, 60) => self.blocked = Some(shown(read.short().unwrap_or_default())),
            (10, 61) => self.blocked = None,
            (20, 40) => self.closed(channel, fields, link)?,
            (20, 11 | 41) | (85, 11) => {}
            (20, 20) => {
                let active = read.u8().ok_or(NOT_AMQP)?;
                put_method(&mut link.out, channel, (20, 21), |out| out.put_u8(active));
            }
            (50, 21 | 51) if channel == BINDINGS => {
                self.written = self.written.checked_sub(1).ok_or(NOT_AMQP)?;
                self.binding.pop_front();
                self.write_bindings(&mut link.out);
            }
            (50, 21 | 51) if channel == OWN => {}
            (60, 30) => return Err(Fault::Unfit("the server has deleted the queue")),
            (60, 60) => {
                let delivered = (|| {
                    let _consumer = read.short()?;
                    let _tag = read.u64()?;
                    let _redelivered = read.u8()?;
                    Some((read.short()?, read.short()?))
                })();
                let (exchange, key) = delivered.ok_or(NOT_AMQP)?;
                self.delivery = Some(Delivery {
                    topics: self.topics_of(exchange, key),
                    missing: None,
                    body: Vec::new(),
                });
            }
            (60, 80 | 120) => {
                let (tag, bits) = (read.u64().ok_or(NOT_AMQP)?, read.u8().ok_or(NOT_AMQP)?);
                let outcome = match method {
                    (60, 80) => Ok(()),
                    _ => Err(NotCarried::Refused("it could not be queued".to_owned())),
                };
                let confirms = match channel {
                    OWN => &mut self.own,
                    FOREIGN => &mut self.foreign,
                    _ => return Err(NOT_AMQP),
                };
                confirms.answer((tag, bits & 1 == 1), link, &outcome);
            }
            _ => return Err(NOT_AMQP),
        }
        Ok(())
    }

    fn topics_of(&self, exchange: &str, key: &str) -> [Option<Topic>; 2] {
        let at = |key: &str| self.topics.get(&(exchange.into(), key.to_owned())).cloned();
        let all = (!key.is_empty()).then(|| at("")).flatten();
        [at(key), all]
    }

    /// The server has closed a channel: opened again, it goes on without what broke it.
    fn closed(&mut self, channel: u16, fields: &[u8], link: &mut Link) -> Result<(), Fault> {
        if !matches!(channel, BINDINGS | FOREIGN) {
            return Err(refusal(fields));
        }
        let reason = reason(fields);
        put_method(&mut link.out, channel, (20, 41), |_| {});
        put_method(&mut link.out, channel, (20, 10), |out| put_short(out, ""));
        if channel == BINDINGS {
            let (topic, _) = self.binding.pop_front().ok_or(NOT_AMQP)?;
            // The server has skipped everything behind it.
            self.written = 0;
            self.refuse(&topic, &reason, link);
            self.write_bindings(&mut link.out);
            return Ok(());
        }
        put_method(&mut link.out, channel, (85, 10), |out| out.put_u8(0));
        for (number, exchange) in std::mem::take(&mut self.foreign)
            .waiting
            .into_iter()
            .flatten()
        {
            let named = reason.contains(&format!("'{exchange}'"));
            let answer = match named {
                true => NotCarried::Refused(reason.clone()),
                false => NotCarried::Lost,
            };
            link.pending.answer(number, Err(answer));
        }
        Ok(())
    }

    /// A binding is refused. If that is for its exchange, so are all that wait for the same one:
    /// each of them would close the channel again.
    fn refuse(&mut self, topic: &Topic, reason: &str, link: &mut Link) {
        link.subscription_refused(topic, reason);
        let Some((exchange, key)) = self.address(topic) else {
            return;
        };
        if reason.contains(&format!("exchange '{exchange}' in vhost")) && !reason.contains("topic")
        {
            let of_exchange = |topic: &Topic| {
                let Topic::Foreign(name) = topic else {
                    return false;
                };
                name.split_once('/').is_some_and(|(of, _)| of == &*exchange)
            };
            for (topic, _) in &self.binding {
                if of_exchange(topic)
                    && let Some(address) = self.address(topic)
                {
                    self.topics.remove(&address);
                }
            }
            self.binding.retain(|(topic, _)| !of_exchange(topic));
        }
        self.topics.remove(&(exchange, key));
    }

    /// The size of a message, and then its parts.
    fn content(&mut self, kind: u8, payload: &[u8], link: &mut Link) -> Result<(), Fault> {
        let delivery = self.delivery.as_mut().ok_or(NOT_AMQP)?;
        let missing = match (kind, delivery.missing) {
            (HEADER, None) => {
                let mut header = Reader(payload);
                let (_class, _weight) = (header.u16(), header.u16());
                header.u64().ok_or(NOT_AMQP)?
            }
            (BODY, Some(missing)) => {
                let is_wanted = delivery.topics.iter().any(Option::is_some);
                if is_wanted && delivery.body.len() <= PAYLOAD_MAX {
                    delivery.body.extend_from_slice(payload);
                }
                let size = payload.len() as u64;
                missing.checked_sub(size).ok_or(NOT_AMQP)?
            }
            _ => return Err(NOT_AMQP),
        };
        delivery.missing = Some(missing);
        if missing == 0
            && let Some(delivery) = self.delivery.take()
        {
            for topic in delivery.topics.iter().flatten() {
                link.message(topic, &delivery.body);
            }
        }
        Ok(())
    }
}

impl Protocol for Session {
    fn read(&mut self, input: &mut BytesMut, link: &mut Link) -> Result<bool, Fault> {
        let Some(found) = frame(input)? else {
            return Ok(false);
        };
        match found.kind {
            HEARTBEAT => {}
            METHOD => {
                let mut fields = Reader(found.payload);
                let method = fields.method().ok_or(NOT_AMQP)?;
                self.method(found.channel, method, fields.0, link)?;
            }
            _ if found.channel == OWN => self.content(found.kind, found.payload, link)?,
            _ => return Err(NOT_AMQP),
        }
        let size = found.size;
        input.advance(size);
        Ok(true)
    }

    fn publish(
        &mut self,
        message: &Outgoing,
        number: u64,
        link: &mut Link,
    ) -> Result<(), NotCarried> {
        let refused = |reason: &str| NotCarried::Refused(reason.to_owned());
        if let Some(reason) = &self.blocked {
            return Err(refused(&format!("the broker takes none now: {reason}")));
        }
        let (exchange, key) = self
            .address(&message.topic)
            .ok_or_else(|| refused("that is no exchange with a routing key"))?;
        let mut names = message.headers.iter().map(|(name, _)| name.len());
        if names.any(|size| size > SHORT_MAX) {
            return Err(refused("its headers cannot be written"));
        }
        let (channel, confirms) = match message.topic {
            Topic::Foreign(_) => (FOREIGN, &mut self.foreign),
            _ => (OWN, &mut self.own),
        };
        let out = &mut link.out;
        put_method(out, channel, (60, 40), |out| {
            out.put_u16(0);
            put_short(out, &exchange);
            put_short(out, &key);
            out.put_u8(0);
        });
        put_frame(out, HEADER, channel, |out| {
            out.put_u16(60);
            out.put_u16(0);
            out.put_u64(message.payload.len() as u64);
            if message.headers.is_empty() {
                out.put_u16(0);
                return;
            }
            out.put_u16(1 << 13);
            put_table(out, |out| {
                for (name, value) in &message.headers {
                    put_text_field(out, name, value);
                }
            });
        });
        for part in message.payload.chunks(self.frame_max - FRAME_EXTRA) {
            put_frame(out, BODY, channel, |out| out.put_slice(part));
        }
        confirms.waiting.push_back(Some((number, exchange)));
        Ok(())
    }

    /// The server confirms by itself.
    fn settle(&mut self, _link: &mut Link) {}

    fn subscribe(&mut self, topic: Topic, link: &mut Link) {
        let Some(address) = self.address(&topic) else {
            link.subscription_refused(&topic, "that is no exchange with a routing key");
            return;
        };
        self.bind(&topic, true, &mut link.out);
        self.topics.insert(address, topic);
    }

    fn unsubscribe(&mut self, topic: &Topic, link: &mut Link) {
        let address = self.address(topic);
        if address.is_some_and(|address| self.topics.remove(&address).is_some()) {
            self.bind(topic, false, &mut link.out);
        }
    }

    fn ping(&mut self, link: &mut Link) {
        put_frame(&mut link.out, HEARTBEAT, 0, |_| {});
    }
}

#[cfg(test)]
mod tests;
