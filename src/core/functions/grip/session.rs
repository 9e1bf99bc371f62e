//! What the gateway keeps of a session for its function, and how an answer changes it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use http::header::SEC_WEBSOCKET_EXTENSIONS;
use serde::{Deserialize, Serialize};

use crate::base::group::GroupName;
use crate::core::functions::grip::control::{self, Control};
use crate::core::functions::grip::events::{self, ClientEnd, Event};
use crate::core::functions::grip::malformed::Malformed;
use crate::core::functions::grip::to_client::ToClient;
use crate::core::functions::grip::unaccepted::Unaccepted;

/// Seconds after which a function is asked at the earliest, as with Pushpin.
const INTERVAL_MIN: u32 = 20;
/// A day.
const INTERVAL_MAX: u32 = 24 * 60 * 60;
/// Names of metadata, and bytes of all names and values.
const META_MAX: usize = 32;
const META_BYTES_MAX: usize = 8 << 10;
/// Longest prefix of messages.
const PREFIX_MAX: usize = 64;
/// Largest frame that is kept for later.
const TIMED_MAX: usize = 64 << 10;

const INTERVAL: &str = "keep-alive-interval";
const SET_META: &str = "set-meta-";

/// A session for its function.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GripSession {
    /// The path and the query of the client's request.
    target: Arc<str>,
    handshake: Vec<(String, String)>,
    /// `Set-Meta-…` of answers, for `Meta-…` of requests.
    meta: BTreeMap<String, String>,
    /// Set if the function uses GRIP: what messages for the client begin with.
    prefix: Option<String>,
    /// Seconds without an event after which the function is asked whether it has any.
    interval: Option<u32>,
    /// What the client gets when nothing else was sent for so many seconds.
    keep_alive: Option<Timed>,
    /// What the client gets once, after so many seconds.
    delayed: Option<Timed>,
    /// Frames for later so far: each has a number.
    timed: u32,
    unaccepted: Unaccepted,
    /// Set if the function gets no further message.
    #[serde(skip_serializing_if = "Option::is_none")]
    over: Option<Over>,
}

/// Why a function gets no further message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Over {
    /// It has closed the session, and gets the answer of the client.
    Closed,
    /// It has detached itself, and gets an event for that.
    Detaching,
    /// It gets nothing more.
    Gone,
}

/// A frame for later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Timed {
    frame: ToClient,
    seconds: u32,
    number: u32,
}

impl Timed {
    fn wait(&self) -> (u32, u32) {
        (self.number, self.seconds)
    }
}

/// Seconds until something is due of itself, each `None` if it never is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// The function is asked.
    pub ask: Option<u32>,
    /// The client gets the frame that keeps it alive; which one, and after how many seconds.
    pub keep_alive: Option<(u32, u32)>,
    /// The client gets the delayed frame; which one, and after how many seconds.
    pub delayed: Option<(u32, u32)>,
}

/// What an answer is for the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Frames for the client, in order.
    pub frames: Vec<ToClient>,
    /// Then the session ends, with this code and reason.
    pub close: Option<(u16, String)>,
    /// Before that, its memberships.
    pub changes: Vec<Change>,
}

/// A membership begins or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It begins.
    Join(GroupName),
    /// It ends.
    Leave(GroupName),
}

impl fmt::Debug for GripSession {
    /// Without the fields of the handshake, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("GripSession");
        shown.field("over", &self.over).finish_non_exhaustive()
    }
}

impl GripSession {
    /// A session that is to begin. `handshake` is what [`super::handshake_fields`] returns.
    pub fn new(target: &str, handshake: Vec<(String, String)>) -> Self {
        Self {
            target: target.into(),
            handshake,
            ..Self::default()
        }
    }

    /// The path and the query of the client's request.
    pub fn target(&self) -> &str {
        &self.target
    }

    pub(super) fn handshake(&self) -> &[(String, String)] {
        &self.handshake
    }

    pub(super) fn meta(&self) -> &BTreeMap<String, String> {
        &self.meta
    }

    /// Bytes of messages that the function has had before and is sent again.
    pub(super) fn replayed(&self) -> usize {
        self.unaccepted.offered()
    }

    /// The body of the first request.
    pub fn open_body() -> Vec<u8> {
        let mut body = Vec::new();
        events::append(&mut body, "OPEN", &[]);
        body
    }

    /// The body of the last one: what the function has not accepted, and the end.
    pub fn last_body(&self, end: ClientEnd) -> Vec<u8> {
        let mut body = self.body();
        events::append_end(&mut body, end);
        body
    }

    /// The body of every other one: messages that the function has not accepted.
    pub fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        self.unaccepted.write(&mut body);
        body
    }

    /// Adds a message of the client for the next request.
    pub fn push(&mut self, is_text: bool, payload: Vec<u8>) {
        self.unaccepted.push(is_text, payload);
    }

    /// Whether the function has to be asked again at once: it has accepted a part of what it was
    /// sent.
    pub fn has_more(&self) -> bool {
        self.unaccepted.progressed() && self.over.is_none()
    }

    /// Whether the function gets no further message.
    pub fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// Whether the function gets the event that it is detached; once.
    pub fn take_detached(&mut self) -> bool {
        let detached = self.over == Some(Over::Detaching);
        if detached {
            self.over = Some(Over::Gone);
            self.unaccepted = Unaccepted::default();
        }
        detached
    }

    /// The last event of a session that has ended, if the function gets one. `closed` if the
    /// session ended by a close frame with this code, if any; `by_client` if that was the client's.
    pub fn last_event(&self, closed: Option<Option<u16>>, by_client: bool) -> Option<ClientEnd> {
        match (self.over, closed) {
            (Some(Over::Gone | Over::Detaching), _) => None,
            (Some(Over::Closed), Some(code)) => Some(ClientEnd::Closed(code)),
            (None, Some(code)) if by_client => Some(ClientEnd::Closed(code)),
            _ => Some(ClientEnd::Lost),
        }
    }

    /// What is due of itself.
    pub fn waits(&self) -> Waits {
        Waits {
            ask: self.interval.filter(|_| self.over.is_none()),
            keep_alive: self.keep_alive.as_ref().map(Timed::wait),
            delayed: self.delayed.as_ref().map(Timed::wait),
        }
    }

    /// The frame that keeps the client alive.
    pub fn keep_alive(&self) -> Option<ToClient> {
        self.keep_alive.as_ref().map(|one| one.frame.clone())
    }

    /// Takes the delayed frame.
    pub fn take_delayed(&mut self) -> Option<ToClient> {
        self.delayed.take().map(|one| one.frame)
    }

    /// The first answer. It accepts the session by the event `OPEN`, or is empty and has an
    /// interval in which the function wants to be asked.
    ///
    /// # Errors
    /// When it is no such answer.
    pub fn open(&mut self, fields: &HeaderMap, body: &[u8]) -> Result<Taken, Malformed> {
        let events = events::read(body)?;
        let rest = match events.split_first() {
            Some((Event::Open, rest)) => rest,
            None if fields.contains_key(INTERVAL) => &[],
            _ => return Err(Malformed),
        };
        self.prefix = prefix(fields)?;
        self.take(fields, rest)
    }

    /// A further answer.
    ///
    /// # Errors
    /// When it has no meaning.
    pub fn answer(&mut self, fields: &HeaderMap, body: &[u8]) -> Result<Taken, Malformed> {
        let events = events::read(body)?;
        let accepted = number(fields, "content-bytes-accepted")?;
        let accepted = accepted.map(usize::try_from).transpose();
        self.unaccepted.accept(accepted.map_err(|_| Malformed)?)?;
        self.take(fields, &events)
    }

    fn take(&mut self, fields: &HeaderMap, events: &[Event<'_>]) -> Result<Taken, Malformed> {
        self.set_meta(fields)?;
        let interval = number(fields, INTERVAL)?.filter(|seconds| *seconds > 0);
        let clamped = |seconds: i64| {
            let seconds = u32::try_from(seconds).unwrap_or(INTERVAL_MAX);
            seconds.clamp(INTERVAL_MIN, INTERVAL_MAX)
        };
        self.interval = interval.map(clamped);
        let mut taken = Taken::default();
        for event in events {
            self.take_event(*event, &mut taken)?;
            if taken.close.is_some() {
                self.over = match event {
                    Event::Close(_) => Some(Over::Closed),
                    _ => Some(Over::Gone),
                };
                break;
            }
        }
        Ok(taken)
    }

    fn take_event(&mut self, event: Event<'_>, taken: &mut Taken) -> Result<(), Malformed> {
        // Messages without the prefix are for nobody, as with Pushpin.
        let prefix = self.prefix.as_deref().unwrap_or_default();
        let frame = match event {
            Event::Open => return Err(Malformed),
            Event::Text(text) => match (text.strip_prefix("c:"), &self.prefix) {
                (Some(json), Some(_)) => return self.control(control::read(json)?, taken),
                _ => text
                    .strip_prefix(prefix)
                    .map(|text| ToClient::Text(text.to_owned())),
            },
            Event::Binary(bytes) => {
                let bytes = bytes.strip_prefix(prefix.as_bytes());
                bytes.map(|bytes| ToClient::Binary(bytes.to_vec()))
            }
            Event::Ping(bytes) => Some(ToClient::Ping(bytes.to_vec())),
            Event::Pong(bytes) => Some(ToClient::Pong(bytes.to_vec())),
            Event::Close(close) => {
                let (code, reason) = close.unwrap_or((1000, ""));
                taken.close = Some((code, reason.to_owned()));
                None
            }
            Event::Disconnect => {
                taken.close = Some((1011, "the function ended the session".to_owned()));
                None
            }
        };
        taken.frames.extend(frame);
        Ok(())
    }

    fn control(&mut self, control: Control, taken: &mut Taken) -> Result<(), Malformed> {
        let number = self.timed.wrapping_add(1);
        let timed = |frame: ToClient, seconds| match frame.len() {
            ..=TIMED_MAX => Ok(Some(Timed {
                frame,
                seconds,
                number,
            })),
            _ => Err(Malformed),
        };
        self.timed = number;
        match control {
            Control::Subscribe(group) => taken.changes.push(Change::Join(group)),
            Control::Unsubscribe(group) => taken.changes.push(Change::Leave(group)),
            Control::Detach => self.over = Some(Over::Detaching),
            Control::KeepAlive(None) => self.keep_alive = None,
            Control::KeepAlive(Some((frame, seconds))) => {
                self.keep_alive = timed(frame, seconds)?;
            }
            Control::Delay(frame, seconds) => self.delayed = timed(frame, seconds)?,
            Control::Flush => taken.frames.extend(self.take_delayed()),
            Control::Nothing => {}
        }
        Ok(())
    }

    /// Keeps what an answer has in `Set-Meta-…`; an empty value removes what was kept.
    fn set_meta(&mut self, fields: &HeaderMap) -> Result<(), Malformed> {
        for (name, value) in fields {
            let Some(name) = name.as_str().strip_prefix(SET_META) else {
                continue;
            };
            let value = value.to_str().map_err(|_| Malformed)?;
            match value {
                "" => drop(self.meta.remove(name)),
                _ => drop(self.meta.insert(name.to_owned(), value.to_owned())),
            }
        }
        let bytes = |(name, value): (&String, &String)| name.len() + value.len();
        let bytes: usize = self.meta.iter().map(bytes).sum();
        match self.meta.len() <= META_MAX && bytes <= META_BYTES_MAX {
            true => Ok(()),
            false => Err(Malformed),
        }
    }
}

/// A field that is a number.
fn number(fields: &HeaderMap, name: &str) -> Result<Option<i64>, Malformed> {
    let Some(value) = fields.get(name) else {
        return Ok(None);
    };
    let value = value.to_str().map_err(|_| Malformed)?;
    value.trim().parse().map(Some).map_err(|_| Malformed)
}

/// What messages for the client begin with, if the answer has the extension `grip`.
fn prefix(fields: &HeaderMap) -> Result<Option<String>, Malformed> {
    let values = fields.get_all(SEC_WEBSOCKET_EXTENSIONS).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    for extension in values.flat_map(|value| value.split(',')) {
        let mut parts = extension.split(';').map(str::trim);
        if parts.next() != Some("grip") {
            continue;
        }
        let given = parts.find_map(|part| part.strip_prefix("message-prefix="));
        let prefix = given.map_or("m:", |given| given.trim_matches('"'));
        return match prefix.len() <= PREFIX_MAX {
            true => Ok(Some(prefix.to_owned())),
            false => Err(Malformed),
        };
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
