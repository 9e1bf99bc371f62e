//! The record layer of a TLS connection after its handshake, without I/O (RFC 8446, section 5; RFC
//! 5246, section 6; RFC 5288; RFC 7905). rustls does the handshake and gives up the keys; from then
//! on a connection is plain data: two keys, two sequence numbers and a few flags. It costs a few
//! hundred bytes while it is idle, and another process can continue it.
//!
//! ```text
//!  socket --> load, Turn::receive --> data          data --> Turn::send --> unsent --> socket
//! ```
//!
//! A driver owns the socket. To receive, it gives `Turn::receive` what it has read behind the bytes
//! that `load` returned; to send, it gives data to `Turn::send` and writes what that appends. What
//! the socket does not take goes back with `keep_unsent`, and is written first the next time.
//!
//! AEAD contexts live in a [`Turn`], and between turns in a [`ContextCache`] that its owner clears
//! all the time, so that an idle connection holds none.
//!
//! *Invariants*
//! - No sequence number seals two records: it advances before the record is sealed, and what was
//!   sealed is never sealed again. A connection that was packed seals nothing until `thaw`, so the
//!   process that unpacks it is the only one that does.
//! - Dropping a connection writes nothing.
//! - At most one fatal alert is sent, and nothing after it.
//! - Memory is bounded: one incomplete record, one record of data that the reader had no room for,
//!   and what the socket did not take of one call.

mod alert;
mod connection;
mod contexts;
mod error;
mod header;
mod keys;
mod messages;
mod packed;
mod receive;
mod send;
mod suite;

pub use connection::{Connection, Established, Turn};
pub use contexts::ContextCache;
pub use error::{RecordError, SendError, Unfit};
pub use header::{BUFFER_BYTES, RECORD_MAX, RECORD_OVERHEAD_MAX};
pub use keys::HalfKeys;
pub use packed::UnsoundTls;
pub use suite::{Role, Suite, Version};

/// Bytes of data in one record (RFC 8446, section 5.1).
pub const DATA_MAX: usize = 1 << 14;

#[cfg(test)]
mod tests;
