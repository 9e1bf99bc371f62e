//! What ends a connection.

use crate::core::tls::alert::{self, name};

/// The peer broke the protocol, or ended the connection by an alert. No message repeats a byte of
/// the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A record of a type that has no place here.
    #[error("a record of type {0} has no place here")]
    Type(u8),
    /// Not TLS.
    #[error("a record of version {0:#06x}")]
    Version(u16),
    /// Longer than a record may be.
    #[error("a record of {0} bytes")]
    TooLong(usize),
    /// Forged, damaged, or out of order.
    #[error("a record is not authentic")]
    NotAuthentic,
    /// A record with nothing inside, not even a type.
    #[error("a record without content")]
    Empty,
    /// More than a well-meaning peer sends.
    #[error("too many {0} in a row")]
    TooMany(&'static str),
    /// A message or an alert is not well-formed.
    #[error("{0} is malformed")]
    Malformed(&'static str),
    /// A message that has no place here, by its type.
    #[error("a handshake message of type {0} has no place here")]
    Message(u8),
    /// A value that the RFC does not allow.
    #[error("a KeyUpdate with the value {0}")]
    KeyUpdate(u8),
    /// The next record must not share the one that changes the key, or come between the parts of a
    /// message.
    #[error("{0} is interleaved")]
    Interleaved(&'static str),
    /// The peer insists on another handshake.
    #[error("the peer insists on a renegotiation")]
    Renegotiation,
    /// The peer ended the connection.
    #[error("the peer ended the connection: {}", name(*.0))]
    Alert(u8),
}

impl RecordError {
    /// The alert that the peer gets; none in return for an alert.
    pub(super) const fn alert(self) -> Option<u8> {
        Some(match self {
            Self::Type(_)
            | Self::Empty
            | Self::TooMany(_)
            | Self::Message(_)
            | Self::Interleaved(_) => alert::UNEXPECTED_MESSAGE,
            Self::Version(_) => alert::PROTOCOL_VERSION,
            Self::TooLong(_) => alert::RECORD_OVERFLOW,
            Self::NotAuthentic => alert::BAD_RECORD_MAC,
            Self::Malformed(_) => alert::DECODE_ERROR,
            Self::KeyUpdate(_) => alert::ILLEGAL_PARAMETER,
            Self::Renegotiation => alert::NO_RENEGOTIATION,
            Self::Alert(_) => return None,
        })
    }
}

/// Nothing can be sent any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The sending half has ended, by `close_notify` or an alert.
    #[error("the sending half has ended")]
    Ended,
    /// The key has sealed as many records as it may, and TLS 1.2 has no other.
    #[error("the key has sealed as many records as it may")]
    Exhausted,
}

/// The keys of a handshake are not what this record layer can continue with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A key, an initialization vector or a traffic secret has another length than the suite's.
    #[error("the keys of the handshake do not fit its cipher suite")]
    Length,
    /// TLS 1.3 without its traffic secrets: a KeyUpdate could not be followed.
    #[error("the traffic secrets of the handshake are missing")]
    NoSecret,
    /// More came behind the handshake than is ever read at once.
    #[error("{0} bytes after the handshake")]
    Early(usize),
    /// The traffic secret is that of another key.
    #[error("the traffic secrets of the handshake are not those of its keys")]
    Mismatch,
}
