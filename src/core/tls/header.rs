//! The header of a record.

use crate::core::tls::DATA_MAX;
use crate::core::tls::error::RecordError;
use crate::core::tls::suite::Version;

/// `alert`.
pub(super) const ALERT: u8 = 21;
/// `handshake`.
pub(super) const HANDSHAKE: u8 = 22;
/// `application_data`.
pub(super) const APPLICATION_DATA: u8 = 23;

/// Bytes of a header: type, version, length.
pub(super) const HEADER: usize = 5;
/// Bytes of the authentication tag of every cipher here.
pub(super) const TAG: usize = 16;
/// Bytes of the nonce that a record of TLS 1.2 with AES-GCM carries.
pub(super) const EXPLICIT_NONCE: usize = 8;
/// The version in every record (RFC 8446, section 5.1).
pub(super) const VERSION: u16 = 0x0303;

/// Bytes of the longest record, header included: those of TLS 1.2 (RFC 5246, section 6.2.3).
pub const RECORD_MAX: usize = HEADER + DATA_MAX + 2048;
/// Bytes that a driver needs to receive: what one read brings, behind an incomplete record.
pub const BUFFER_BYTES: usize = 64 * 1024 + RECORD_MAX;
/// Bytes that a sealed record has more than its data, at most.
pub const RECORD_OVERHEAD_MAX: usize = HEADER + EXPLICIT_NONCE + 1 + TAG;

/// Reads the header of the record that `input` begins with: its type and the bytes behind the
/// header. `None` when the header is not whole.
///
/// # Errors
/// When no such record may come. Only the header is needed to know, so do not wait for the body.
pub(super) fn read(version: Version, input: &[u8]) -> Result<Option<(u8, usize)>, RecordError> {
    let Some(&[kind, major, minor, high, low]) = input.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    if major != 3 {
        return Err(RecordError::Version(u16::from_be_bytes([major, minor])));
    }
    let known = match version {
        // Everything is encrypted, and looks like data (RFC 8446, section 5.2).
        Version::V1_3 => kind == APPLICATION_DATA,
        // A change of ciphers has its place in a handshake only.
        Version::V1_2 => matches!(kind, ALERT | HANDSHAKE | APPLICATION_DATA),
    };
    if !known {
        return Err(RecordError::Type(kind));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    let longest = match version {
        Version::V1_3 => DATA_MAX + 256,
        Version::V1_2 => DATA_MAX + 2048,
    };
    if length > longest {
        return Err(RecordError::TooLong(length));
    }
    Ok(Some((kind, length)))
}

/// A header.
pub(super) fn write(kind: u8, length: usize) -> [u8; HEADER] {
    let [major, minor] = VERSION.to_be_bytes();
    let length = u16::try_from(length).expect("a record is shorter than 64 KiB");
    let [high, low] = length.to_be_bytes();
    [kind, major, minor, high, low]
}
