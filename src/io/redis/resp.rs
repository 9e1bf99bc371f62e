//! RESP3 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>): values of a server as a
//! flat list, without recursion, and commands.

use bytes::{BufMut, BytesMut};

use crate::io::service::fault::Fault;

/// Longest value; a longer one is left out.
pub(in crate::io) const BULK_MAX: usize = 1024 * 1024;
/// Longest line.
const LINE_MAX: usize = 64 * 1024;
/// Values in one answer. The map of a cluster has a few for each range of slots.
const ITEMS_MAX: usize = 256 * 1024;
pub(in crate::io) const NOT_REDIS: Fault = Fault::Protocol("the protocol of Redis");

/// One value; what an aggregate holds follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io) enum Item<'a> {
    Simple(&'a str),
    Error(&'a str),
    Int(i64),
    Bulk(&'a [u8]),
    Null,
    /// So many values follow.
    Array(usize),
    /// So many pairs follow.
    Map(usize),
    /// So many values follow, which answer no command.
    Push(usize),
}

/// A whole value.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::io) struct Found<'a> {
    pub(in crate::io) items: Vec<Item<'a>>,
    /// Where it ends.
    pub(in crate::io) end: usize,
    /// The last item is longer than a payload may be, and left out: so many bytes follow.
    pub(in crate::io) skip: usize,
}

/// The first value of `input`; `None` if it is not whole yet.
pub(in crate::io) fn scan(input: &[u8]) -> Result<Option<Found<'_>>, Fault> {
    let (mut items, mut at) = (Vec::new(), 0);
    let mut missing: usize = 1;
    while missing > 0 {
        let Some((kind, text, next)) = line(input, at)? else {
            return Ok(None);
        };
        at = next;
        missing -= 1;
        let item = match kind {
            b'+' | b',' | b'(' | b'#' => Item::Simple(text),
            b'-' => Item::Error(text),
            b':' => Item::Int(text.parse().map_err(|_| NOT_REDIS)?),
            b'_' => Item::Null,
            b'$' | b'*' if text == "-1" => Item::Null,
            b'$' | b'=' | b'!' => {
                let size = count(text)?;
                if size > BULK_MAX && missing == 0 && size < 1 << 32 {
                    let (end, skip) = (at, size + 2);
                    return Ok(Some(Found { items, end, skip }));
                }
                if size > BULK_MAX {
                    return Err(NOT_REDIS);
                }
                let Some(bytes) = input.get(at..at + size + 2) else {
                    return Ok(None);
                };
                at += size + 2;
                let bytes = bytes.strip_suffix(b"\r\n").ok_or(NOT_REDIS)?;
                match kind {
                    b'!' => Item::Error(std::str::from_utf8(bytes).map_err(|_| NOT_REDIS)?),
                    _ => Item::Bulk(bytes),
                }
            }
            b'*' | b'~' | b'>' | b'%' => {
                let size = count(text)?;
                if size > ITEMS_MAX {
                    return Err(NOT_REDIS);
                }
                let (item, follow) = match kind {
                    b'>' => (Item::Push(size), size),
                    b'%' => (Item::Map(size), size * 2),
                    _ => (Item::Array(size), size),
                };
                missing += follow;
                item
            }
            _ => return Err(NOT_REDIS),
        };
        items.push(item);
        if items.len() + missing > ITEMS_MAX {
            return Err(NOT_REDIS);
        }
    }
    let (end, skip) = (at, 0);
    Ok(Some(Found { items, end, skip }))
}

/// The line at `at`: its first byte, the rest of it, and where the next one begins.
fn line(input: &[u8], at: usize) -> Result<Option<(u8, &str, usize)>, Fault> {
    let rest = &input[at..];
    let searched = &rest[..rest.len().min(LINE_MAX)];
    let Some(end) = memchr::memchr(b'\n', searched) else {
        return match rest.len() < LINE_MAX {
            true => Ok(None),
            false => Err(NOT_REDIS),
        };
    };
    let line = rest[..end].strip_suffix(b"\r").ok_or(NOT_REDIS)?;
    let (kind, text) = line.split_first().ok_or(NOT_REDIS)?;
    let text = std::str::from_utf8(text).map_err(|_| NOT_REDIS)?;
    Ok(Some((*kind, text, at + end + 1)))
}

fn count(text: &str) -> Result<usize, Fault> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let count = digits.then(|| text.parse().ok()).flatten();
    count.ok_or(NOT_REDIS)
}

/// Writes a command.
pub(in crate::io) fn command(out: &mut BytesMut, words: &[&[u8]]) {
    out.put_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.put_slice(format!("${}\r\n", word.len()).as_bytes());
        out.put_slice(word);
        out.put_slice(b"\r\n");
    }
}
