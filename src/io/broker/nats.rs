//! NATS (<https://docs.nats.io/reference/reference-protocols/nats-protocol>), core subjects only.
//!
//! The server answers no single message. A `PING` after a batch is answered when the server has
//! taken the whole batch; there is one such `PING` under way at a time, so that a batch is as large
//! as the way to the server is long.

use std::collections::{HashMap, VecDeque};
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
            topics: HashMap::new(),
            ids: HashMap::new(),
            last_id: 0,
            unconfirmed: VecDeque::new(),
            pings: VecDeque::new(),
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
pub(super) struct Session {
    prefix: Arc<str>,
    payload_max: usize,
    headers: bool,
    /// Subscriptions by their number.
    topics: HashMap<u64, Topic>,
    ids: HashMap<Topic, u64>,
    last_id: u64,
    /// Numbers and subjects of messages that no `PONG` has covered.
    unconfirmed: VecDeque<(u64, String)>,
    /// What each `PING` under way confirms; zero for one that only looks for life.
    pings: VecDeque<u64>,
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

    fn error(&mut self, reason: &str, link: &mut Link) -> Result<(), Fault> {
        let quoted = reason.split('"').nth(1);
        if reason.starts_with("Permissions Violation for Publish") {
            let mut found = self.unconfirmed.iter();
            let found = found.find(|(_, subject)| Some(subject.as_str()) == quoted);
            if let Some((number, subject)) = found {
                let refused = format!("no permission to publish to `{subject}`");
                link.pending
                    .answer(*number, Err(NotCarried::Refused(refused)));
                let number = *number;
                self.unconfirmed.retain(|(one, _)| *one != number);
            }
            return Ok(());
        }
        if reason.starts_with("Permissions Violation for Subscription") {
            let mut topics = self.topics.values();
            let refused = topics.find(|topic| self.subject(topic).as_deref() == quoted);
            if let Some(topic) = refused {
                link.subscription_refused(topic, "no permission");
            }
            return Ok(());
        }
        Err(Fault::refused(reason))
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
                let confirmed = self.pings.pop_front().ok_or(NOT_NATS)?;
                link.pending.confirmed_up_to(confirmed);
                let covered = |(number, _): &(u64, String)| *number <= confirmed;
                while self.unconfirmed.front().is_some_and(covered) {
                    self.unconfirmed.pop_front();
                }
                self.settle(link);
            }
            ("PING", _) => link.out.put_slice(b"PONG\r\n"),
            ("-ERR", reason) => self.error(&shown(reason.trim_matches('\'')), link)?,
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
        self.unconfirmed.push_back((number, subject));
        Ok(())
    }

    fn settle(&mut self, link: &mut Link) {
        let under_way = self.pings.iter().any(|confirms| *confirms > 0);
        if !under_way && link.pending.len() > 0 {
            self.pings.push_back(link.pending.last());
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
            .put_slice(format!("SUB {subject} {id}\r\n").as_bytes());
        self.topics.insert(id, topic.clone());
        self.ids.insert(topic, id);
    }

    fn unsubscribe(&mut self, topic: &Topic, link: &mut Link) {
        if let Some(id) = self.ids.remove(topic) {
            self.topics.remove(&id);
            link.out.put_slice(format!("UNSUB {id}\r\n").as_bytes());
        }
    }

    fn ping(&mut self, link: &mut Link) {
        // One under way is enough: it, too, is answered by a server that lives.
        if self.pings.is_empty() {
            self.pings.push_back(0);
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
