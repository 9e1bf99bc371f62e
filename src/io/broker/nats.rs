//! NATS (<https://docs.nats.io/reference/reference-protocols/nats-protocol>), core subjects only.
//!
//! The server answers no single message. A `PING` after a batch is answered when the server has
//! taken the whole batch; there is one such `PING` under way at a time, so that a batch is as large
//! as the way to the server is long.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Buf, BufMut, BytesMut};
use serde::Deserialize;
use serde_json::json;

use crate::config::snapshot::{Broker, BrokerServer, SignIn};
use crate::core::messages::topic::Topic;
use crate::io::broker::drive::Connect;
use crate::io::broker::link::{Link, Protocol};
use crate::io::broker::{NotCarried, Outgoing, PAYLOAD_MAX};
use crate::io::service::fault::{Fault, shown};
use crate::io::service::wire::Wire;

/// Longest line of the server; `INFO` lists the servers of a cluster.
const LINE_MAX: usize = 64 * 1024;
/// Headers of a message of a foreign service.
const HEADERS_MAX: usize = 64 * 1024;
/// No server takes larger messages.
const SIZE_MAX: usize = 1 << 30;
const NOT_NATS: Fault = Fault::Protocol("the protocol of NATS");

/// Makes connections.
pub(super) struct Nats {
    settings: Broker,
    node: Arc<str>,
}

/// What a server says of itself.
#[derive(Deserialize)]
struct Info {
    max_payload: usize,
    #[serde(default)]
    headers: bool,
    #[serde(default)]
    tls_required: bool,
    #[serde(default)]
    tls_available: bool,
}

impl Nats {
    pub(super) fn new(settings: Broker, node: Arc<str>) -> Self {
        Self { settings, node }
    }

    fn hello(&self, encrypted: bool) -> String {
        let mut hello = json!({
            "verbose": false,
            "pedantic": false,
            "tls_required": encrypted,
            "lang": "rust",
            "version": env!("CARGO_PKG_VERSION"),
            "name": format!("sessile {}", self.node),
            "protocol": 1,
            "headers": true,
        });
        match &self.settings.sign_in {
            SignIn::Open => {}
            SignIn::Password(user, password) => {
                hello["user"] = json!(user);
                hello["pass"] = json!(password.reveal());
            }
            SignIn::Token(token) => hello["auth_token"] = json!(token.reveal()),
        }
        format!("CONNECT {hello}\r\nPING\r\n")
    }
}

impl Connect for Nats {
    type Protocol = Session;

    async fn sign_in(
        &self,
        mut wire: Wire,
        server: &BrokerServer,
    ) -> Result<(Wire, Session), Fault> {
        let info = read_line(&mut wire).await?;
        let info = info.strip_prefix("INFO ").ok_or(NOT_NATS)?;
        let info: Info = serde_json::from_str(info).map_err(|_| NOT_NATS)?;
        if server.encrypted {
            if !info.tls_required && !info.tls_available {
                return Err(Fault::Unfit("the server offers no TLS"));
            }
            // What came before TLS could be anyone's.
            wire.input.clear();
            wire = wire.secure(&self.settings.tls, &server.address).await?;
        } else if info.tls_required {
            return Err(Fault::Unfit(
                "the server requires TLS: begin its URL with `tls://`",
            ));
        }
        wire.send(self.hello(server.encrypted).as_bytes()).await?;
        loop {
            let line = read_line(&mut wire).await?;
            match line.split_once(' ').unwrap_or((&line, "")) {
                ("PONG", _) => break,
                ("-ERR", reason) => return Err(Fault::refused(reason.trim_matches('\''))),
                ("+OK" | "INFO", _) => {}
                ("PING", _) => wire.send(b"PONG\r\n").await?,
                _ => return Err(NOT_NATS),
            }
        }
        let session = Session {
            prefix: Arc::clone(&self.settings.prefix),
            payload_max: info.max_payload.min(PAYLOAD_MAX),
            headers: info.headers,
            ..Session::default()
        };
        Ok((wire, session))
    }
}

async fn read_line(wire: &mut Wire) -> Result<String, Fault> {
    loop {
        if let Some(line) = take_line(&mut wire.input)? {
            return Ok(line);
        }
        wire.read_more().await?;
    }
}

/// The next line without its end.
fn take_line(input: &mut BytesMut) -> Result<Option<String>, Fault> {
    let Some(end) = memchr::memchr(b'\n', &input[..input.len().min(LINE_MAX)]) else {
        return match input.len() < LINE_MAX {
            true => Ok(None),
            false => Err(NOT_NATS),
        };
    };
    let line = input.split_to(end + 1);
    let line = std::str::from_utf8(&line).map_err(|_| NOT_NATS)?;
    Ok(Some(line.trim_end().to_owned()))
}

/// A connection that is signed in.
#[derive(Default)]
pub(super) struct Session {
    prefix: Arc<str>,
    payload_max: usize,
    headers: bool,
    /// Subscriptions by their number.
    topics: HashMap<u64, Topic>,
    /// Their numbers by their subjects.
    ids: HashMap<String, u64>,
    /// Subscriptions to names of other services, the newest last.
    foreign: BTreeSet<u64>,
    /// What the server's limit has left no room for.
    left_out: BTreeSet<Topic>,
    last_id: u64,
    /// Subjects of messages that no `PONG` has covered, by their numbers.
    unconfirmed: BTreeMap<u64, String>,
    /// In the order in which they were sent.
    pings: VecDeque<Ping>,
}

/// A `PING` under way. The server answers in order, so that an error that comes before its `PONG`
/// concerns what was sent before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ping {
    /// It confirms messages up to this one; zero confirms none.
    confirms: u64,
    /// The subscription that it follows; zero for none.
    subscription: u64,
}

/// The head of a message: the subscription, the size of the headers, and of headers and payload.
struct Head {
    id: u64,
    headers: usize,
    total: usize,
}

/// `MSG SUBJECT ID [REPLY] SIZE` or `HMSG SUBJECT ID [REPLY] HEADERS TOTAL`.
fn head(line: &str) -> Option<Head> {
    let mut words = line.split_ascii_whitespace();
    let has_headers = match words.next()? {
        "MSG" => false,
        "HMSG" => true,
        _ => return None,
    };
    let id = words.nth(1)?.parse().ok()?;
    let total = words.next_back()?.parse().ok()?;
    let headers = match has_headers {
        true => words.next_back()?.parse().ok()?,
        false => 0,
    };
    (headers <= total && total < SIZE_MAX).then_some(Head { id, headers, total })
}

impl Session {
    fn subject(&self, topic: &Topic) -> Option<String> {
        match topic {
            Topic::Foreign(name) => is_subject(name).then(|| name.to_string()),
            own => own.key().map(|key| format!("{}.{key}", self.prefix)),
        }
    }

    /// An error of the server. Each that it does not end the connection with concerns one message
    /// or one subscription.
    fn error(&mut self, reason: &str, link: &mut Link) -> Result<(), Fault> {
        let quoted = reason.split('"').nth(1).unwrap_or_default();
        if reason.starts_with("Permissions Violation for Publish") {
            let mut found = self.unconfirmed.iter();
            let found = found.find(|(_, subject)| *subject == quoted);
            if let Some(number) = found.map(|(number, _)| *number) {
                let subject = self.unconfirmed.remove(&number).unwrap_or_default();
                let refused = format!("no permission to publish to `{subject}`");
                link.pending
                    .answer(number, Err(NotCarried::Refused(refused)));
            }
            return Ok(());
        }
        if reason.starts_with("Permissions Violation for Subscription") {
            let id = self.ids.get(quoted);
            if let Some(topic) = id.and_then(|id| self.topics.get(id)) {
                link.subscription_refused(topic, "no permission");
            }
            return Ok(());
        }
        if reason.eq_ignore_ascii_case("maximum subscriptions exceeded") {
            let refused = self.pings.front().map(|ping| ping.subscription);
            if let Some(topic) = refused.and_then(|id| self.forget(id)) {
                self.leave_out(topic, link);
            }
            return Ok(());
        }
        Err(Fault::refused(&shown(reason)))
    }

    /// The server has no room for a subscription. One of the gateways' own takes the place of
    /// another service's, since clients choose how many of those there are.
    fn leave_out(&mut self, topic: Topic, link: &mut Link) {
        let is_foreign = matches!(topic, Topic::Foreign(_));
        let place = (!is_foreign)
            .then(|| self.foreign.last().copied())
            .flatten();
        let left_out = match place {
            Some(id) => {
                let left_out = self.forget(id);
                link.out.put_slice(format!("UNSUB {id}\r\n").as_bytes());
                self.subscribe(topic, link);
                left_out
            }
            None => Some(topic),
        };
        if let Some(topic) = left_out {
            link.subscription_refused(&topic, "the server allows no further one");
            self.left_out.insert(topic);
        }
    }

    /// Takes a subscription out of what there is.
    fn forget(&mut self, id: u64) -> Option<Topic> {
        let topic = self.topics.remove(&id)?;
        self.foreign.remove(&id);
        if let Some(subject) = self.subject(&topic) {
            self.ids.remove(&subject);
        }
        Some(topic)
    }
}

impl Protocol for Session {
    fn read(&mut self, input: &mut BytesMut, link: &mut Link) -> Result<bool, Fault> {
        let Some(end) = memchr::memchr(b'\n', &input[..input.len().min(LINE_MAX)]) else {
            return match input.len() < LINE_MAX {
                true => Ok(false),
                false => Err(NOT_NATS),
            };
        };
        let line = std::str::from_utf8(&input[..end]).map_err(|_| NOT_NATS)?;
        if let Some(head) = head(line) {
            let (start, size) = (end + 1, head.total + 2);
            if head.headers > HEADERS_MAX || head.total - head.headers > PAYLOAD_MAX {
                input.advance(start);
                link.skip(size);
                return Ok(true);
            }
            if input.len() < start + size {
                return Ok(false);
            }
            // After an unsubscription messages may still be under way.
            if let Some(topic) = self.topics.get(&head.id) {
                link.message(topic, &input[start + head.headers..start + head.total]);
            }
            input.advance(start + size);
            return Ok(true);
        }
        let line = line.trim_end().to_owned();
        input.advance(end + 1);
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("PONG", _) => {
                let confirmed = self.pings.pop_front().ok_or(NOT_NATS)?.confirms;
                link.pending.confirmed_up_to(confirmed);
                self.unconfirmed = self.unconfirmed.split_off(&(confirmed + 1));
                self.settle(link);
            }
            ("PING", _) => link.out.put_slice(b"PONG\r\n"),
            ("-ERR", reason) => self.error(reason.trim_matches('\''), link)?,
            ("+OK" | "INFO", _) => {}
            _ => return Err(NOT_NATS),
        }
        Ok(true)
    }

    fn publish(
        &mut self,
        message: &Outgoing,
        number: u64,
        link: &mut Link,
    ) -> Result<(), NotCarried> {
        let refused = |reason: String| NotCarried::Refused(reason);
        let subject = self.subject(&message.topic);
        let subject = subject.ok_or_else(|| refused("that is no subject".to_owned()))?;
        let headers = headers(&message.headers)
            .ok_or_else(|| refused("its headers cannot be written".to_owned()))?;
        let total = headers.len() + message.payload.len();
        if total > self.payload_max {
            let max = self.payload_max;
            return Err(refused(format!("it is larger than {max} bytes")));
        }
        if headers.is_empty() {
            link.out
                .put_slice(format!("PUB {subject} {total}\r\n").as_bytes());
        } else if self.headers {
            let size = headers.len();
            link.out
                .put_slice(format!("HPUB {subject} {size} {total}\r\n{headers}").as_bytes());
        } else {
            return Err(refused("the server takes no headers".to_owned()));
        }
        link.out.put_slice(&message.payload);
        link.out.put_slice(b"\r\n");
        self.unconfirmed.insert(number, subject);
        Ok(())
    }

    fn settle(&mut self, link: &mut Link) {
        let under_way = self.pings.iter().any(|ping| ping.confirms > 0);
        if !under_way && link.pending.len() > 0 {
            self.pings.push_back(Ping {
                confirms: link.pending.last(),
                ..Ping::default()
            });
            link.out.put_slice(b"PING\r\n");
        }
    }

    fn subscribe(&mut self, topic: Topic, link: &mut Link) {
        let Some(subject) = self.subject(&topic) else {
            link.subscription_refused(&topic, "that is no subject");
            return;
        };
        self.last_id += 1;
        let id = self.last_id;
        link.out
            .put_slice(format!("SUB {subject} {id}\r\nPING\r\n").as_bytes());
        self.pings.push_back(Ping {
            subscription: id,
            ..Ping::default()
        });
        if matches!(topic, Topic::Foreign(_)) {
            self.foreign.insert(id);
        }
        self.topics.insert(id, topic);
        self.ids.insert(subject, id);
    }

    fn unsubscribe(&mut self, topic: &Topic, link: &mut Link) {
        if self.left_out.remove(topic) {
            return;
        }
        let id = self
            .subject(topic)
            .and_then(|subject| self.ids.get(&subject).copied());
        let Some(id) = id else { return };
        self.forget(id);
        link.out.put_slice(format!("UNSUB {id}\r\n").as_bytes());
        // There is room for another one.
        if let Some(next) = self.left_out.pop_first() {
            self.subscribe(next, link);
        }
    }

    fn ping(&mut self, link: &mut Link) {
        // One under way is enough: it, too, is answered by a server that lives.
        if self.pings.is_empty() {
            self.pings.push_back(Ping::default());
            link.out.put_slice(b"PING\r\n");
        }
    }
}

/// Whether it names one subject: tokens between dots, without wildcards and white space.
fn is_subject(name: &str) -> bool {
    let token = |token: &str| {
        let plain = |letter: char| !letter.is_whitespace() && !letter.is_control();
        !token.is_empty() && token.chars().all(|c| plain(c) && c != '*' && c != '>')
    };
    name.len() <= 1024 && name.split('.').all(token)
}

/// The block of headers; empty if there are none, `None` if one of them cannot be written.
fn headers(headers: &[(String, String)]) -> Option<String> {
    if headers.is_empty() {
        return Some(String::new());
    }
    let mut block = "NATS/1.0\r\n".to_owned();
    for (name, value) in headers {
        let named = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        if !named || value.contains(['\r', '\n']) {
            return None;
        }
        block.push_str(&format!("{name}: {value}\r\n"));
    }
    block.push_str("\r\n");
    Some(block)
}

#[cfg(test)]
mod tests;
