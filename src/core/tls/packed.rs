//! A connection as bytes, for another process.
//!
//! ```text
//! format role version suite  receiving sending  counts owed  message
//! keys (receive) keys (send)  ciphertext data unsent
//! ```
//!
//! Numbers are big-endian; the last three have their length in front. It is one opaque value: an
//! error about it repeats none of its bytes.

use zeroize::Zeroizing;

use crate::core::tls::DATA_MAX;
use crate::core::tls::connection::{Connection, Counts, Half, Owed, next_keys_id};
use crate::core::tls::header::{BUFFER_BYTES, RECORD_MAX};
use crate::core::tls::keys::{HalfKeys, Keys};
use crate::core::tls::messages::{Messages, Rules};
use crate::core::tls::suite::{Role, Suite, Version};

/// Of the layout.
const FORMAT: u8 = 1;
/// Bytes of `unsent`: one call's, and what was appended to it.
const UNSENT_MAX: usize = 4 * RECORD_MAX;

/// No connection can be in this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the state of its TLS connection is not sound ({0})")]
pub struct UnsoundTls(&'static str);

impl Connection {
    /// The connection as bytes. It is frozen: it opens and seals nothing until `thaw`. `None` when
    /// it has failed, so that there is nothing to continue.
    pub fn pack(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        if self.receiving == Half::Failed || self.sending == Half::Failed {
            return None;
        }
        self.frozen = true;
        let stored = [&self.ciphertext, &self.data, &self.unsent];
        let bytes: usize = stored.iter().map(|bytes| bytes.len()).sum();
        // Never grown, so that no copy of the keys is left behind.
        let mut out = Zeroizing::new(Vec::with_capacity(512 + bytes));
        out.extend([
            FORMAT,
            self.role as u8,
            self.version as u8,
            self.suite as u8,
        ]);
        out.extend([self.receiving as u8, self.sending as u8]);
        let Counts {
            empty,
            updates,
            warnings,
            renegotiations,
        } = self.counts;
        out.extend([empty, updates, warnings, renegotiations]);
        let Owed {
            update,
            no_renegotiation,
        } = self.owed;
        out.extend([u8::from(update), u8::from(no_renegotiation)]);
        self.messages.write(&mut out);
        self.receive.write(self.suite, self.version, &mut out);
        self.send.write(self.suite, self.version, &mut out);
        for bytes in stored {
            let length = u32::try_from(bytes.len()).expect("bounded");
            out.extend(length.to_be_bytes());
            out.extend_from_slice(bytes);
        }
        Some(out)
    }

    /// No other process owns the connection.
    pub fn thaw(&mut self) {
        self.frozen = false;
    }

    /// The connection that another process packed.
    ///
    /// # Errors
    /// When no connection can be in this state.
    pub fn unpack(packed: &[u8]) -> Result<Self, UnsoundTls> {
        let mut reader = Reader(packed);
        let [format, role, version, suite, receiving, sending] = reader.array()?;
        if format != FORMAT {
            return Err(UnsoundTls("its format is not known"));
        }
        let role = *pick(&[Role::Client, Role::Server], role)?;
        let version = *pick(&[Version::V1_2, Version::V1_3], version)?;
        let suites = [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::Chacha20Poly1305];
        let suite = *pick(&suites, suite)?;
        let halves = [Half::Open, Half::Closed];
        let (receiving, sending) = (*pick(&halves, receiving)?, *pick(&halves, sending)?);
        let [
            empty,
            updates,
            warnings,
            renegotiations,
            update,
            no_renegotiation,
        ] = reader.array()?;
        let rules = Rules {
            version,
            role,
            tickets: false,
        };
        let (header, [have]) = (reader.array()?, reader.array()?);
        let left = u32::from_be_bytes(reader.array()?);
        let messages = Messages::restore(rules, header, have, left);
        let messages = messages.ok_or(UnsoundTls("its handshake message"))?;
        let receive = reader.keys(suite, version)?;
        let send = reader.keys(suite, version)?;
        let connection = Self {
            role,
            version,
            suite,
            frozen: false,
            keys_id: next_keys_id(),
            tickets_wanted: false,
            receiving,
            sending,
            counts: Counts {
                empty,
                updates,
                warnings,
                renegotiations,
            },
            owed: Owed {
                update: *pick(&[false, true], update)?,
                no_renegotiation: *pick(&[false, true], no_renegotiation)?,
            },
            error: None,
            receive,
            send,
            messages,
            tickets: Vec::new(),
            ciphertext: reader.bytes(BUFFER_BYTES)?,
            data: reader.bytes(DATA_MAX)?,
            unsent: reader.bytes(UNSENT_MAX)?,
        };
        if !reader.0.is_empty() {
            return Err(UnsoundTls("more follows"));
        }
        connection.check()?;
        Ok(connection)
    }

    /// Whether a connection can be in this state.
    fn check(&self) -> Result<(), UnsoundTls> {
        let worn = |keys: &Keys| keys.sequence() > self.suite.records_max();
        // No connection receives so many records.
        if worn(&self.send) || self.receive.sequence() > u64::MAX / 2 {
            return Err(UnsoundTls("its sequence numbers"));
        }
        if !self.counts.are_sound() {
            return Err(UnsoundTls("its counts"));
        }
        if self.owed.update && self.version == Version::V1_2 {
            return Err(UnsoundTls("what it owes"));
        }
        if self.receiving == Half::Closed && !self.ciphertext.is_empty() {
            return Err(UnsoundTls("records behind the end"));
        }
        Ok(())
    }
}

/// The value that `index` stands for.
fn pick<T>(all: &[T], index: u8) -> Result<&T, UnsoundTls> {
    all.get(usize::from(index))
        .ok_or(UnsoundTls("a value is not known"))
}

/// Reads from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], UnsoundTls> {
        let taken = self.0.split_at_checked(bytes);
        let (taken, rest) = taken.ok_or(UnsoundTls("it is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], UnsoundTls> {
        Ok(self.take(N)?.try_into().expect("as many as asked for"))
    }

    fn bytes(&mut self, most: usize) -> Result<Vec<u8>, UnsoundTls> {
        let length = u32::from_be_bytes(self.array()?) as usize;
        if length > most {
            return Err(UnsoundTls("it stores too much"));
        }
        self.take(length).map(<[u8]>::to_vec)
    }

    fn keys(&mut self, suite: Suite, version: Version) -> Result<Keys, UnsoundTls> {
        let sequence = u64::from_be_bytes(self.array()?);
        let key = self.take(suite.key_bytes())?;
        let iv = self.take(12)?;
        let secret = match version {
            Version::V1_3 => Some(self.take(suite.secret_bytes())?),
            Version::V1_2 => None,
        };
        let half = HalfKeys {
            key,
            iv,
            sequence,
            secret,
        };
        Keys::received(suite, version, half).map_err(|_| UnsoundTls("its keys"))
    }
}
