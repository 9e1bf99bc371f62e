//! A connection between two records.

use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::aead::LessSafeKey;
use zeroize::Zeroize as _;

use crate::core::tls::contexts::{ContextCache, Contexts};
use crate::core::tls::error::{RecordError, Unfit};
use crate::core::tls::header::{self, BUFFER_BYTES};
use crate::core::tls::keys::{HalfKeys, Keys};
use crate::core::tls::messages::{Messages, Rules};
use crate::core::tls::suite::{Role, Suite, Version};

/// What a handshake came to.
#[derive(Clone, Copy)]
pub struct Established<'a> {
    /// This end.
    pub role: Role,
    /// The version.
    pub version: Version,
    /// The cipher.
    pub suite: Suite,
    /// From the peer.
    pub receive: HalfKeys<'a>,
    /// To the peer.
    pub send: HalfKeys<'a>,
}

/// Whether a half is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    /// Records pass.
    Open,
    /// `close_notify` has passed.
    Closed,
    /// The connection broke.
    Failed,
}

/// What the peer did since its last data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Records without data, in a row.
    pub(super) empty: u8,
    /// KeyUpdates.
    pub(super) updates: u8,
    /// Warnings, ever.
    pub(super) warnings: u8,
    /// Requests for a renegotiation, ever.
    pub(super) renegotiations: u8,
}

/// Records without data, in a row.
pub(super) const EMPTY_MAX: u8 = 32;
/// KeyUpdates between two records with data.
pub(super) const UPDATES_MAX: u8 = 32;
/// Warnings.
pub(super) const WARNINGS_MAX: u8 = 4;
/// Requests for a renegotiation that are declined; one more is an error.
pub(super) const RENEGOTIATIONS_MAX: u8 = 1;

impl Counts {
    /// Whether a connection that lives can have these.
    pub(super) const fn are_sound(self) -> bool {
        self.empty <= EMPTY_MAX
            && self.updates <= UPDATES_MAX
            && self.warnings <= WARNINGS_MAX
            && self.renegotiations <= RENEGOTIATIONS_MAX
    }
}

/// What has to be sent before the next data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Owed {
    /// The peer asked for a KeyUpdate.
    pub(super) update: bool,
    /// The peer asked for a renegotiation, which it does not get.
    pub(super) no_renegotiation: bool,
}

/// A TLS connection after its handshake. See the module for how a driver uses it.
pub struct Connection {
    pub(super) role: Role,
    pub(super) version: Version,
    pub(super) suite: Suite,
    /// Another process may own the connection.
    pub(super) frozen: bool,
    /// Whether tickets are stored.
    pub(super) tickets_wanted: bool,
    pub(super) receiving: Half,
    pub(super) sending: Half,
    pub(super) counts: Counts,
    pub(super) owed: Owed,
    /// The error that the reader has not seen.
    pub(super) error: Option<RecordError>,
    pub(super) receive: Keys,
    pub(super) send: Keys,
    /// Identifies the two keys in this process: contexts belong to it.
    pub(super) keys_id: u64,
    pub(super) messages: Messages,
    pub(super) tickets: Vec<Vec<u8>>,
    /// Records that are not opened; the last of them may be incomplete.
    pub(super) ciphertext: Vec<u8>,
    /// Data that the reader had no room for.
    pub(super) data: Vec<u8>,
    /// Records that the socket did not take.
    pub(super) unsent: Vec<u8>,
}

impl fmt::Debug for Connection {
    /// Without keys and data (I11).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("role", &self.role)
            .field("version", &self.version)
            .field("suite", &self.suite)
            .field("receiving", &self.receiving)
            .field("sending", &self.sending)
            .finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.data.zeroize();
        self.tickets.zeroize();
    }
}

impl Connection {
    /// Continues a connection after its handshake. `early` are the bytes that came behind it.
    ///
    /// # Errors
    /// When the keys do not fit together, or more came than [`BUFFER_BYTES`].
    pub fn new(established: Established<'_>, early: Vec<u8>) -> Result<Self, Unfit> {
        let Established {
            role,
            version,
            suite,
            receive,
            send,
        } = established;
        if early.len() > BUFFER_BYTES {
            return Err(Unfit::Early(early.len()));
        }
        Ok(Self {
            role,
            version,
            suite,
            frozen: false,
            tickets_wanted: role == Role::Client && version == Version::V1_3,
            receiving: Half::Open,
            sending: Half::Open,
            counts: Counts::default(),
            owed: Owed::default(),
            error: None,
            receive: Keys::new(suite, version, receive)?,
            send: Keys::new(suite, version, send)?,
            keys_id: next_keys_id(),
            messages: Messages::default(),
            tickets: Vec::new(),
            ciphertext: early,
            data: Vec::new(),
            unsent: Vec::new(),
        })
    }

    /// Whether another process may own the connection: nothing is received or sent.
    pub const fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// The version.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The cipher.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// What it takes to receive and to send, with contexts that live as long; `None` while another
    /// process may own the connection.
    pub fn turn(&mut self) -> Option<Turn<'_>> {
        (!self.frozen).then(|| Turn {
            contexts: Contexts::default(),
            connection: self,
        })
    }

    /// The same with the contexts of an earlier turn, if they are in the cache.
    pub fn turn_with(&mut self, cache: &mut ContextCache) -> Option<Turn<'_>> {
        (!self.frozen).then(|| Turn {
            contexts: cache.take(self.keys_id),
            connection: self,
        })
    }

    /// Moves the bytes that wait to be opened into `buffer`, from its front, and returns their
    /// number. What comes from the socket goes behind them. `Turn::receive` takes it all.
    ///
    /// # Panics
    /// When the buffer is shorter than [`BUFFER_BYTES`](super::BUFFER_BYTES), which leaves room for
    /// the rest of an incomplete record in any case.
    pub fn load(&mut self, buffer: &mut [u8]) -> usize {
        let waiting = mem::take(&mut self.ciphertext);
        buffer[..waiting.len()].copy_from_slice(&waiting);
        waiting.len()
    }

    /// The same bytes again, when nothing came from the socket.
    pub fn unload(&mut self, loaded: &[u8]) {
        self.ciphertext = loaded.to_vec();
    }

    /// Bytes that the reader gets without another record: moves them to the front of `into`.
    pub fn take_data(&mut self, into: &mut [u8]) -> usize {
        let some = self.data.len().min(into.len());
        if some > 0 {
            into[..some].copy_from_slice(&self.data[..some]);
            self.data[..some].zeroize();
            self.data.drain(..some);
            if self.data.is_empty() {
                self.data = Vec::new();
            }
        }
        some
    }

    /// Whether a whole record waits to be opened, or one that will never be whole.
    pub fn has_record(&self) -> bool {
        match header::read(self.version, &self.ciphertext) {
            Ok(Some((_, length))) => self.ciphertext.len() >= header::HEADER + length,
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// Whether the peer has ended its sending half, with the error if not properly. The error is
    /// returned once; after it the half has just ended.
    pub fn ended(&mut self) -> Option<Result<(), RecordError>> {
        match self.receiving {
            Half::Open => None,
            Half::Closed | Half::Failed => Some(self.error.take().map_or(Ok(()), Err)),
        }
    }

    /// Whether something has to be sent that is not data.
    pub fn owes(&self) -> bool {
        self.owed != Owed::default() && self.sending == Half::Open
    }

    /// Sealed records that the socket did not take, to be written before anything else.
    pub fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// The socket took bytes of `unsent`.
    pub fn sent(&mut self, bytes: usize) {
        self.unsent.drain(..bytes);
        if self.unsent.is_empty() {
            self.unsent = Vec::new();
        }
    }

    /// Keeps sealed records that the socket did not take.
    pub fn keep_unsent(&mut self, rest: &[u8]) {
        self.unsent.extend_from_slice(rest);
    }

    /// Session tickets of the server that came since, as the payloads of their messages.
    pub fn take_tickets(&mut self) -> Vec<Vec<u8>> {
        mem::take(&mut self.tickets)
    }

    /// Stores no more tickets.
    pub fn ignore_tickets(&mut self) {
        self.tickets_wanted = false;
        self.tickets.zeroize();
        self.tickets = Vec::new();
        self.messages.forget_ticket();
    }

    pub(super) const fn rules(&self) -> Rules {
        Rules {
            version: self.version,
            role: self.role,
            tickets: self.tickets_wanted,
        }
    }
}

/// Another number for keys; never 0.
pub(super) fn next_keys_id() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// A connection in use, with its contexts.
pub struct Turn<'c> {
    pub(super) connection: &'c mut Connection,
    contexts: Contexts,
}

impl Turn<'_> {
    /// The context that opens the next record.
    pub(super) fn opening(&mut self) -> &LessSafeKey {
        let Connection { receive, suite, .. } = &*self.connection;
        self.contexts
            .opening
            .get_or_insert_with(|| receive.context(*suite))
    }

    /// The context that seals the next record.
    pub(super) fn sealing(&mut self) -> &LessSafeKey {
        let Connection { send, suite, .. } = &*self.connection;
        self.contexts
            .sealing
            .get_or_insert_with(|| send.context(*suite))
    }

    /// The peer's next record has another key.
    pub(super) fn update_receiving(&mut self) {
        self.connection.receive.update(self.connection.suite);
        self.connection.keys_id = next_keys_id();
        self.contexts.opening = None;
    }

    /// The next record has another key.
    pub(super) fn update_sending(&mut self) {
        self.connection.send.update(self.connection.suite);
        self.connection.keys_id = next_keys_id();
        self.contexts.sealing = None;
    }

    /// Ends the turn, and keeps its contexts for the next one.
    pub fn keep(self, cache: &mut ContextCache) {
        cache.put(self.connection.keys_id, self.contexts);
    }
}

impl fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connection.fmt(f)
    }
}
