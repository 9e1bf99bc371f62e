//! Handshake messages after the handshake. They are read byte by byte, since they may span records;
//! only session tickets are stored, and only while a client still uses them.

use crate::core::tls::error::RecordError;
use crate::core::tls::suite::{Role, Version};

const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// Bytes of a message header: type, length.
const HEADER: usize = 4;
/// Bytes of a message, as in rustls.
const MESSAGE_MAX: u32 = 0xffff;
/// Bytes of a ticket that is stored. Longer ones are skipped.
const TICKET_MAX: u32 = 16 * 1024;

/// A message that asks for something.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The peer's next record has another key; it may ask for the same of this end.
    KeyUpdate { requested: bool },
    /// The server gave a ticket, which is this message without its header.
    Ticket(Vec<u8>),
    /// The peer asks for another handshake.
    Renegotiation,
}

/// Which messages may come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) version: Version,
    pub(super) role: Role,
    /// Whether tickets are stored.
    pub(super) tickets: bool,
}

/// The message that is being received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Messages {
    header: [u8; HEADER],
    /// Bytes of the header.
    have: u8,
    /// Bytes of the body that have not come.
    left: u32,
    body: Vec<u8>,
}

impl Messages {
    /// Whether no message is incomplete.
    pub(super) const fn between(&self) -> bool {
        self.have == 0
    }

    /// Whether the message that comes is stored.
    fn stored(&self, rules: Rules) -> bool {
        let bytes = self.length();
        self.header[0] == KEY_UPDATE
            || (self.header[0] == NEW_SESSION_TICKET && rules.tickets && bytes <= TICKET_MAX)
    }

    fn length(&self) -> u32 {
        let [_, a, b, c] = self.header;
        u32::from_be_bytes([0, a, b, c])
    }

    /// Takes bytes from the front of `bytes` until a message is whole that asks for something, or
    /// all are taken.
    pub(super) fn next(
        &mut self,
        rules: Rules,
        bytes: &mut &[u8],
    ) -> Result<Option<Event>, RecordError> {
        while let Some((&first, rest)) = bytes.split_first() {
            if usize::from(self.have) < HEADER {
                self.header[usize::from(self.have)] = first;
                self.have += 1;
                *bytes = rest;
                if usize::from(self.have) < HEADER {
                    continue;
                }
                self.check(rules)?;
                self.left = self.length();
            } else {
                let some = bytes.len().min(self.left as usize);
                if self.stored(rules) {
                    self.body.extend(&bytes[..some]);
                }
                *bytes = &bytes[some..];
                self.left -= u32::try_from(some).expect("at most what is left");
            }
            if self.left == 0
                && let Some(event) = self.complete(rules)?
            {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Whether a message with this header may come.
    fn check(&self, rules: Rules) -> Result<(), RecordError> {
        let (kind, bytes) = (self.header[0], self.length());
        let known = match (rules.version, rules.role) {
            (Version::V1_3, _) if kind == KEY_UPDATE => bytes == 1,
            (Version::V1_3, Role::Client) if kind == NEW_SESSION_TICKET => bytes <= MESSAGE_MAX,
            (Version::V1_2, Role::Client) if kind == HELLO_REQUEST => bytes == 0,
            (Version::V1_2, Role::Server) if kind == CLIENT_HELLO => bytes <= MESSAGE_MAX,
            _ => return Err(RecordError::Message(kind)),
        };
        known
            .then_some(())
            .ok_or(RecordError::Malformed("a handshake message"))
    }

    /// A message is whole.
    fn complete(&mut self, rules: Rules) -> Result<Option<Event>, RecordError> {
        let stored = self.stored(rules);
        let kind = self.header[0];
        let body = std::mem::take(self).body;
        Ok(match kind {
            KEY_UPDATE => match body[..] {
                [value @ 0..=1] => Some(Event::KeyUpdate {
                    requested: value == 1,
                }),
                [value, ..] => return Err(RecordError::KeyUpdate(value)),
                [] => return Err(RecordError::Malformed("a KeyUpdate")),
            },
            NEW_SESSION_TICKET => stored.then_some(Event::Ticket(body)),
            _ => Some(Event::Renegotiation),
        })
    }

    /// Drops what is stored of a ticket; the rest of it is skipped.
    pub(super) fn forget_ticket(&mut self) {
        self.body = Vec::new();
    }

    /// For another process, which stores no tickets.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.header);
        out.push(self.have);
        out.extend(self.left.to_be_bytes());
    }

    /// The same, read: `None` where no message can be in this state.
    pub(super) fn restore(rules: Rules, header: [u8; HEADER], have: u8, left: u32) -> Option<Self> {
        let restored = Self {
            header,
            have,
            left,
            body: Vec::new(),
        };
        let sound = match usize::from(have) {
            HEADER => {
                let whole = restored.check(rules).is_ok() && left <= restored.length();
                // The body of a KeyUpdate is one byte, so it cannot be half received.
                whole && left > 0
            }
            have => have < HEADER && left == 0 && header[have..] == [0; HEADER][have..],
        };
        sound.then_some(restored)
    }
}

/// Bytes of a KeyUpdate that asks for nothing.
pub(super) const KEY_UPDATE_MESSAGE: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 0];
