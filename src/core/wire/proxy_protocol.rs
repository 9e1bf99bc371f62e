//! The PROXY protocol, versions 1 and 2, read and written: the original addresses of a connection
//! made by another proxy (the HAProxy document "The PROXY protocol", sections 2.1 and 2.2). The
//! listener decides whether a peer may send one. Additional values (TLVs) of version 2 are skipped,
//! so their CRC32C is not verified. Addresses of unix sockets and of UDP, which cannot be the
//! addresses of a TCP client, count as unknown.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::base::addr::sixteen_bytes;
use crate::config::snapshot::ProxyVersion;

/// Longest header of version 1, CRLF included.
pub const V1_MAX: usize = 107;
/// Longest header of version 2 that is taken: the 16 fixed bytes, addresses and TLVs. The protocol
/// allows 64 KiB; what is seen in the field, TLS details included, is a few hundred bytes.
pub const V2_MAX: usize = 4096;

const V1_START: &[u8] = b"PROXY ";
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const V2_FIXED: usize = 16;
/// `PROXY UNKNOWN` and CRLF, the shortest header of either version.
const SHORTEST: usize = 15;

/// The content of a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The proxy's own connection, such as a probe (version 2 only); written as `Unknown` in
    /// version 1.
    Local,
    /// A client's connection whose addresses the proxy does not know or cannot write.
    Unknown,
    /// A client's connection.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// Where the client connected to.
        destination: SocketAddr,
    },
}

/// How far a header could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All of it.
    Complete {
        /// Its content.
        header: Header,
        /// Its length; what follows is the client's.
        len: usize,
    },
    /// Incomplete. At least this many bytes are missing; reading no more than these never consumes
    /// bytes of the client.
    Incomplete {
        /// Never zero, never more than `V2_MAX`.
        at_least: usize,
    },
}

/// The bytes are no PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Begins like neither version.
    #[error("the connection does not begin with a PROXY header")]
    NotProxy,
    /// A line of version 1 without addresses.
    #[error("the PROXY line is malformed")]
    V1,
    /// No line end within 107 bytes.
    #[error("the PROXY line is longer than {V1_MAX} bytes")]
    V1TooLong,
    /// A version, command, family or transport that is none.
    #[error("the binary PROXY header has an unknown version, command or family")]
    V2,
    /// Shorter than the addresses of its family.
    #[error("the binary PROXY header is too short for its addresses")]
    V2TooShort,
    /// Longer than any sender needs.
    #[error("the binary PROXY header is longer than {V2_MAX} bytes")]
    V2TooLong,
}

/// Reads the header at the start of `bytes`. An error is final, and comes with the first byte that
/// is wrong in the signature.
///
/// # Errors
/// When `bytes` is not the start of a valid header.
pub fn parse(bytes: &[u8]) -> Result<Progress, ParseError> {
    let begins = |start: &[u8]| bytes.iter().zip(start).all(|(byte, wanted)| byte == wanted);
    if begins(V1_START) && !bytes.is_empty() {
        parse_v1(bytes)
    } else if begins(V2_START) {
        parse_v2(bytes)
    } else {
        Err(ParseError::NotProxy)
    }
}

fn parse_v1(bytes: &[u8]) -> Result<Progress, ParseError> {
    let seen = &bytes[..bytes.len().min(V1_MAX)];
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        if seen.len() == V1_MAX {
            return Err(ParseError::V1TooLong);
        }
        let line_end = if seen.ends_with(b"\r") { 1 } else { 2 };
        return Ok(Progress::Incomplete {
            at_least: shortest_v1(seen).saturating_sub(seen.len()).max(line_end),
        });
    };
    let line = std::str::from_utf8(&seen[V1_START.len()..end]).map_err(|_| ParseError::V1)?;
    Ok(Progress::Complete {
        header: v1_header(line).ok_or(ParseError::V1)?,
        len: end + 2,
    })
}

/// The length of the shortest line that begins as `seen` does.
fn shortest_v1(seen: &[u8]) -> usize {
    if seen.starts_with(b"PROXY TCP4 ") {
        b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n".len()
    } else if seen.starts_with(b"PROXY TCP6 ") {
        b"PROXY TCP6 :: :: 1 1\r\n".len()
    } else {
        SHORTEST
    }
}

fn v1_header(line: &str) -> Option<Header> {
    // Whatever follows UNKNOWN is to be ignored.
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(Header::Unknown);
    }
    let mut fields = line.split(' ');
    let address: fn(&str) -> Option<IpAddr> = match fields.next()? {
        "TCP4" => |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return None,
    };
    let (source, destination) = (address(fields.next()?)?, address(fields.next()?)?);
    let header = Header::Proxied {
        source: SocketAddr::new(source, v1_port(fields.next()?)?),
        destination: SocketAddr::new(destination, v1_port(fields.next()?)?),
    };
    fields.next().is_none().then_some(header)
}

/// Decimal digits without leading zeros; `u16`'s own parser would take `+80` and `0080`.
fn v1_port(text: &str) -> Option<u16> {
    let plain = text == "0" || text.starts_with(|first| matches!(first, '1'..='9'));
    text.parse().ok().filter(|_| plain)
}

fn parse_v2(bytes: &[u8]) -> Result<Progress, ParseError> {
    let Some((fixed, rest)) = bytes.split_at_checked(V2_FIXED) else {
        // Nothing read yet may still become version 1.
        let shortest = if bytes.is_empty() { SHORTEST } else { V2_FIXED };
        return Ok(Progress::Incomplete {
            at_least: shortest - bytes.len(),
        });
    };
    let body_len = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let (command, family) = (fixed[12], fixed[13]);
    if !matches!(command, 0x20 | 0x21) || family >> 4 > 3 || family & 15 > 2 {
        return Err(ParseError::V2);
    }
    if V2_FIXED + body_len > V2_MAX {
        return Err(ParseError::V2TooLong);
    }
    let Some(body) = rest.get(..body_len) else {
        return Ok(Progress::Incomplete {
            at_least: body_len - rest.len(),
        });
    };
    let header = match (command, family) {
        (0x20, _) => Header::Local,
        (_, 0x11) => v2_addresses::<4>(body)?,
        (_, 0x21) => v2_addresses::<16>(body)?,
        _ => Header::Unknown,
    };
    Ok(Progress::Complete {
        header,
        len: V2_FIXED + body_len,
    })
}

/// Source, destination, both ports; an address has `N` bytes.
fn v2_addresses<const N: usize>(body: &[u8]) -> Result<Header, ParseError>
where
    IpAddr: From<[u8; N]>,
{
    let read = || {
        let (source, rest) = body.split_first_chunk::<N>()?;
        let (destination, rest) = rest.split_first_chunk::<N>()?;
        let (source_port, rest) = rest.split_first_chunk()?;
        let destination_port = rest.first_chunk()?;
        let end = |address: &[u8; N], port: &[u8; 2]| {
            SocketAddr::new(IpAddr::from(*address), u16::from_be_bytes(*port))
        };
        Some(Header::Proxied {
            source: end(source, source_port),
            destination: end(destination, destination_port),
        })
    };
    read().ok_or(ParseError::V2TooShort)
}

/// Writes a header. Where one address is IPv4 and the other IPv6, both are written as IPv6.
pub fn encode(version: ProxyVersion, header: &Header) -> Vec<u8> {
    match version {
        ProxyVersion::V1 => encode_v1(header),
        ProxyVersion::V2 => encode_v2(header),
    }
}

fn encode_v1(header: &Header) -> Vec<u8> {
    let Header::Proxied {
        source,
        destination,
    } = header
    else {
        return b"PROXY UNKNOWN\r\n".to_vec();
    };
    let (from, to) = (source.ip(), destination.ip());
    let (family, from, to) = if from.is_ipv4() && to.is_ipv4() {
        ("TCP4", from, to)
    } else {
        let six = |address| IpAddr::from(sixteen_bytes(address));
        ("TCP6", six(from), six(to))
    };
    let (from_port, to_port) = (source.port(), destination.port());
    format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n").into_bytes()
}

fn encode_v2(header: &Header) -> Vec<u8> {
    let mut bytes = V2_START.to_vec();
    match header {
        Header::Local => bytes.extend([0x20, 0x00, 0, 0]),
        Header::Unknown => bytes.extend([0x21, 0x00, 0, 0]),
        Header::Proxied {
            source,
            destination,
        } => {
            match (source.ip(), destination.ip()) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    bytes.extend([0x21, 0x11, 0, 12]);
                    bytes.extend([from.octets(), to.octets()].as_flattened());
                }
                (from, to) => {
                    bytes.extend([0x21, 0x21, 0, 36]);
                    bytes.extend([sixteen_bytes(from), sixteen_bytes(to)].as_flattened());
                }
            }
            bytes.extend(source.port().to_be_bytes());
            bytes.extend(destination.port().to_be_bytes());
        }
    }
    bytes
}

#[cfg(test)]
mod tests;
