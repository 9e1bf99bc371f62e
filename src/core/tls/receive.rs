//! Opening records, and what is in them.

use std::ops::Range;

use aws_lc_rs::aead::Aad;

use crate::core::tls::DATA_MAX;
use crate::core::tls::alert;
use crate::core::tls::connection::{
    EMPTY_MAX, Half, RENEGOTIATIONS_MAX, Turn, UPDATES_MAX, WARNINGS_MAX,
};
use crate::core::tls::error::RecordError;
use crate::core::tls::header::{
    self, ALERT, APPLICATION_DATA, EXPLICIT_NONCE, HANDSHAKE, HEADER, TAG,
};
use crate::core::tls::keys;
use crate::core::tls::messages::Event;
use crate::core::tls::suite::Version;

/// Tickets that are stored.
const TICKETS_MAX: usize = 8;

/// What is known when a record was opened.
struct Opened {
    kind: u8,
    /// Where its content is in the input.
    content: Range<usize>,
}

impl Turn<'_> {
    /// Opens the records that `input` begins with, which is what `load` returned and what the
    /// socket gave behind it. Their data goes to the front of `into`; returns its length.
    ///
    /// What is left of the input is stored: an incomplete record, and records that `into` has no
    /// room for. Data of a record that is longer than `into` is stored too. Bytes behind
    /// `close_notify` and behind an error are dropped (RFC 8446, section 6.1).
    ///
    /// An error ends both halves; its alert is in `unsent`, and `Connection::ended` reports it.
    pub fn receive(&mut self, input: &mut [u8], into: &mut [u8]) -> usize {
        let (mut at, mut filled) = (0, 0);
        while self.connection.receiving == Half::Open {
            let rest = &mut input[at..];
            match self.step(rest, into.len() - filled, filled > 0) {
                Ok(Some((length, data))) => {
                    let data = &rest[data];
                    let some = data.len().min(into.len() - filled);
                    into[filled..filled + some].copy_from_slice(&data[..some]);
                    self.connection.data.extend_from_slice(&data[some..]);
                    filled += some;
                    at += length;
                }
                Ok(None) => {
                    self.connection.ciphertext.extend_from_slice(rest);
                    break;
                }
                Err(error) => self.fail(error),
            }
        }
        filled
    }

    /// One record: its length, and where its data is. `None` when it is not whole, or there is no
    /// room for its data although the reader has `some` already.
    fn step(
        &mut self,
        input: &mut [u8],
        room: usize,
        some: bool,
    ) -> Result<Option<(usize, Range<usize>)>, RecordError> {
        let Some((kind, length)) = header::read(self.connection.version, input)? else {
            return Ok(None);
        };
        let whole = HEADER + length;
        if input.len() < whole || (some && room < length.saturating_sub(TAG)) {
            return Ok(None);
        }
        let opened = match self.connection.version {
            Version::V1_3 => self.open_1_3(&mut input[..whole])?,
            Version::V1_2 => self.open_1_2(kind, &mut input[..whole])?,
        };
        let content = &input[opened.content.clone()];
        let data = match opened.kind {
            APPLICATION_DATA => {
                self.data(content)?;
                opened.content
            }
            ALERT => {
                self.alert(content)?;
                0..0
            }
            HANDSHAKE => {
                self.handshake(content)?;
                0..0
            }
            other => return Err(RecordError::Type(other)),
        };
        Ok(Some((whole, data)))
    }

    /// RFC 8446, sections 5.2 and 5.4.
    fn open_1_3(&mut self, record: &mut [u8]) -> Result<Opened, RecordError> {
        let number = self.connection.receive.advance();
        let nonce = keys::nonce(self.connection.receive.nonce(number));
        let (head, body) = record.split_at_mut(HEADER);
        let opened = self.opening().open_in_place(nonce, Aad::from(&*head), body);
        let content = opened.map_err(|_| RecordError::NotAuthentic)?;
        if content.len() > DATA_MAX + 1 {
            return Err(RecordError::TooLong(content.len()));
        }
        // The last byte that is not padding is the type.
        let end = content.iter().rposition(|byte| *byte != 0);
        let end = end.ok_or(RecordError::Empty)?;
        Ok(Opened {
            kind: content[end],
            content: HEADER..HEADER + end,
        })
    }

    /// RFC 5246, section 6.2.3.3; RFC 5288, section 3; RFC 7905, section 2.
    fn open_1_2(&mut self, kind: u8, record: &mut [u8]) -> Result<Opened, RecordError> {
        let number = self.connection.receive.advance();
        let mut nonce = self.connection.receive.nonce(number);
        let mut begin = HEADER;
        if self.connection.suite.has_explicit_nonce() {
            let explicit = record[HEADER..].first_chunk::<EXPLICIT_NONCE>();
            let explicit = explicit.ok_or(RecordError::NotAuthentic)?;
            nonce[..4].copy_from_slice(&self.connection.receive.fixed_iv());
            nonce[4..].copy_from_slice(explicit);
            begin += EXPLICIT_NONCE;
        }
        let sealed = &mut record[begin..];
        let bytes = sealed.len().checked_sub(TAG);
        let bytes = bytes.ok_or(RecordError::NotAuthentic)?;
        let additional = keys::additional(number, kind, bytes);
        let opened = self
            .opening()
            .open_in_place(keys::nonce(nonce), additional, sealed);
        let content = opened.map_err(|_| RecordError::NotAuthentic)?;
        if content.len() > DATA_MAX {
            return Err(RecordError::TooLong(content.len()));
        }
        let content = begin..begin + content.len();
        Ok(Opened { kind, content })
    }

    fn data(&mut self, content: &[u8]) -> Result<(), RecordError> {
        self.no_message("data")?;
        let counts = &mut self.connection.counts;
        if content.is_empty() {
            counts.empty += 1;
            return at_most(counts.empty, EMPTY_MAX, "records without data");
        }
        counts.empty = 0;
        counts.updates = 0;
        Ok(())
    }

    /// RFC 8446, section 6; RFC 5246, section 7.2.
    fn alert(&mut self, content: &[u8]) -> Result<(), RecordError> {
        self.no_message("an alert")?;
        let &[level, description] = content else {
            return Err(RecordError::Malformed("an alert"));
        };
        let warning = match self.connection.version {
            Version::V1_3 => description == alert::USER_CANCELED,
            Version::V1_2 => level == alert::WARNING,
        };
        match description {
            alert::CLOSE_NOTIFY => self.connection.receiving = Half::Closed,
            _ if warning => {
                let counts = &mut self.connection.counts;
                counts.warnings += 1;
                at_most(counts.warnings, WARNINGS_MAX, "warnings")?;
            }
            other => return Err(RecordError::Alert(other)),
        }
        Ok(())
    }

    fn handshake(&mut self, mut content: &[u8]) -> Result<(), RecordError> {
        if content.is_empty() {
            return Err(RecordError::Empty);
        }
        let rules = self.connection.rules();
        while let Some(event) = self.connection.messages.next(rules, &mut content)? {
            match event {
                Event::KeyUpdate { requested } => {
                    // What follows would have the old key (RFC 8446, section 5.1).
                    if !content.is_empty() {
                        return Err(RecordError::Interleaved("a change of keys"));
                    }
                    let counts = &mut self.connection.counts;
                    counts.updates += 1;
                    at_most(counts.updates, UPDATES_MAX, "KeyUpdates")?;
                    self.update_receiving();
                    self.connection.owed.update |= requested;
                }
                Event::Ticket(ticket) => {
                    if self.connection.tickets.len() < TICKETS_MAX {
                        self.connection.tickets.push(ticket);
                    }
                }
                Event::Renegotiation => {
                    let counts = &mut self.connection.counts;
                    counts.renegotiations += 1;
                    if counts.renegotiations > RENEGOTIATIONS_MAX {
                        return Err(RecordError::Renegotiation);
                    }
                    self.connection.owed.no_renegotiation = true;
                }
            }
        }
        Ok(())
    }

    /// The parts of a message follow one another (RFC 8446, section 5.1).
    fn no_message(&self, what: &'static str) -> Result<(), RecordError> {
        match self.connection.messages.between() {
            true => Ok(()),
            false => Err(RecordError::Interleaved(what)),
        }
    }
}

fn at_most(count: u8, most: u8, what: &'static str) -> Result<(), RecordError> {
    match count > most {
        true => Err(RecordError::TooMany(what)),
        false => Ok(()),
    }
}
