//! Kafka's protocol on the wire (<https://kafka.apache.org/protocol>), in versions that every
//! server since 2.1 has: fields, and batches of records.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use crate::io::service::fault::Fault;

pub(super) const NOT_KAFKA: Fault = Fault::Protocol("the protocol of Kafka");
/// Elements of one list in an answer.
const LIST_MAX: usize = 100_000;
/// Bytes of a batch before its records.
const BATCH_HEAD: usize = 61;
/// Bytes of a batch that its length does not count: the first offset and the length.
const UNCOUNTED: usize = 12;

/// Reads fields one after the other; `None` where the bytes end.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, size: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn i8(&mut self) -> Option<i8> {
        self.array().map(i8::from_be_bytes)
    }

    pub(super) fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// A text, empty where there is none.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        let size = usize::try_from(self.i16()?).unwrap_or(0);
        std::str::from_utf8(self.take(size)?).ok()
    }

    /// Bytes, empty where there are none.
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let size = usize::try_from(self.i32()?).unwrap_or(0);
        self.take(size)
    }

    /// The length of a list.
    pub(super) fn list(&mut self) -> Option<usize> {
        let size = usize::try_from(self.i32()?).unwrap_or(0);
        (size <= LIST_MAX).then_some(size)
    }

    /// A number of variable length, zigzag.
    fn varint(&mut self) -> Option<i64> {
        let mut number: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let half = i64::try_from(number >> 1).ok()?;
                return Some(if number & 1 == 1 { !half } else { half });
            }
        }
        None
    }

    /// Bytes after a length of variable length; `None` inside where there are none.
    fn short_bytes(&mut self) -> Option<Option<&'a [u8]>> {
        match self.varint()? {
            -1 => Some(None),
            size => Some(Some(self.take(usize::try_from(size).ok()?)?)),
        }
    }
}

pub(super) fn put_text(out: &mut BytesMut, text: &str) {
    out.put_i16(i16::try_from(text.len()).expect("names are short"));
    out.put_slice(text.as_bytes());
}

fn put_varint(out: &mut BytesMut, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.put_u8((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8((rest & 0x7f) as u8);
}

fn put_short_bytes(out: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, length(bytes));
            out.put_slice(bytes);
        }
    }
}

fn length(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).expect("what is sent has bounds")
}

/// A record that is sent.
pub(super) struct Record<'a> {
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: &'a [u8],
    pub(super) headers: &'a [(String, String)],
}

/// Writes one batch, uncompressed, with this time in milliseconds since 1970.
pub(super) fn put_batch(out: &mut BytesMut, records: &[Record<'_>], now: i64) {
    let count = i32::try_from(records.len()).expect("a batch has bounds");
    let mut body = BytesMut::new();
    body.put_i16(0);
    body.put_i32(count - 1);
    body.put_i64(now);
    body.put_i64(now);
    // No idempotent producer: nothing is sent twice.
    body.put_i64(-1);
    body.put_i16(-1);
    body.put_i32(-1);
    body.put_i32(count);
    let mut one = BytesMut::new();
    for (place, record) in (0..).zip(records) {
        one.clear();
        one.put_i8(0);
        put_varint(&mut one, 0);
        put_varint(&mut one, place);
        put_short_bytes(&mut one, record.key);
        put_short_bytes(&mut one, Some(record.value));
        put_varint(&mut one, i64::try_from(record.headers.len()).unwrap_or(0));
        for (name, value) in record.headers {
            put_short_bytes(&mut one, Some(name.as_bytes()));
            put_short_bytes(&mut one, Some(value.as_bytes()));
        }
        put_varint(&mut body, length(&one));
        body.put_slice(&one);
    }
    out.put_i64(0);
    // The leader's epoch, the format and the checksum are counted.
    out.put_i32(i32::try_from(body.len() + 9).expect("a batch has bounds"));
    out.put_i32(-1);
    out.put_i8(2);
    out.put_u32(checksum(&body));
    out.put_slice(&body);
}

/// What was read of a partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batches<'a> {
    /// Key and value of each record.
    pub(super) records: Vec<(&'a [u8], &'a [u8])>,
    /// Records that were left out because they are in a format of old.
    pub(super) unread: u64,
    /// Records that were left out because they are compressed.
    pub(super) compressed: u64,
    /// Where to go on.
    pub(super) next: i64,
}

/// Reads the whole batches in `bytes`, from this offset on. A server cuts the last one off.
pub(super) fn read_batches(bytes: &[u8], from: i64) -> Result<Batches<'_>, Fault> {
    let mut found = Batches {
        next: from,
        ..Batches::default()
    };
    let mut rest = Reader(bytes);
    while let Some((batch, first)) = whole_batch(&mut rest)? {
        read_batch(batch, first, &mut found).ok_or(NOT_KAFKA)?;
    }
    Ok(found)
}

fn whole_batch<'a>(rest: &mut Reader<'a>) -> Result<Option<(&'a [u8], i64)>, Fault> {
    let mut ahead = Reader(rest.0);
    let (Some(first), Some(size)) = (ahead.i64(), ahead.i32()) else {
        return Ok(None);
    };
    let size = usize::try_from(size).map_err(|_| NOT_KAFKA)?;
    let Some(batch) = ahead.take(size) else {
        return Ok(None);
    };
    rest.0 = ahead.0;
    Ok(Some((batch, first)))
}

fn read_batch<'a>(batch: &'a [u8], first: i64, found: &mut Batches<'a>) -> Option<()> {
    let mut head = Reader(batch);
    let (_epoch, format) = (head.i32()?, head.i8()?);
    if format != 2 {
        found.unread += 1;
        found.next = found.next.max(first.checked_add(1)?);
        return Some(());
    }
    let _checksum = head.i32()?;
    let (attributes, last_delta) = (head.i16()?, head.i32()?);
    head.take(BATCH_HEAD - UNCOUNTED - 9 - 6 - 4)?;
    let count = head.i32()?;
    let from = found.next;
    found.next = from.max(first.checked_add(i64::from(last_delta))?.checked_add(1)?);
    let (compressed, control) = (attributes & 7 != 0, attributes & 0x20 != 0);
    if control {
        return Some(());
    }
    if compressed {
        // Their producer chooses this number, and it does not bound their size.
        found.compressed += u64::try_from(count).unwrap_or(0);
        return Some(());
    }
    let count = usize::try_from(count).unwrap_or(0);
    if count > LIST_MAX {
        return None;
    }
    for _ in 0..count {
        let size = usize::try_from(head.varint()?).ok()?;
        let mut record = Reader(head.take(size)?);
        let (_attributes, _time) = (record.i8()?, record.varint()?);
        let offset = first.checked_add(record.varint()?)?;
        let (key, value) = (record.short_bytes()?, record.short_bytes()?);
        if offset >= from {
            found
                .records
                .push((key.unwrap_or_default(), value.unwrap_or_default()));
        }
    }
    Some(())
}

/// CRC-32C, by its table.
fn checksum(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut place = 0;
        while place < 256 {
            let mut value = place as u32;
            let mut bit = 0;
            while bit < 8 {
                value = (value >> 1) ^ (0x82f6_3b78 & (value & 1).wrapping_neg());
                bit += 1;
            }
            table[place] = value;
            place += 1;
        }
        table
    };
    let step = |sum: u32, byte: &u8| (sum >> 8) ^ TABLE[((sum ^ u32::from(*byte)) & 0xff) as usize];
    !bytes.iter().fold(!0, step)
}

/// The partition of a key: always the same one, so that messages of one topic stay in order.
pub(super) fn partition(key: &str, partitions: usize) -> usize {
    let hash = xxhash_rust::xxh3::xxh3_64(key.as_bytes());
    usize::try_from(hash % partitions.max(1) as u64).unwrap_or(0)
}

/// A topic's name, shared by its partitions.
pub(super) type Name = Arc<str>;

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(values: &[&str]) -> BytesMut {
        let headers = [("a".to_owned(), "b".to_owned())];
        let record = |value| Record {
            key: Some(b"fleet"),
            value: str::as_bytes(value),
            headers: &headers,
        };
        let records: Vec<_> = values.iter().copied().map(record).collect();
        let mut out = BytesMut::new();
        put_batch(&mut out, &records, 1_700_000_000_000);
        out
    }

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
        assert_eq!(checksum(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn batches_read_back_at_every_cut_from_any_offset() {
        let long = "x".repeat(1000);
        let mut bytes = batch(&["one", "", &long]);
        let first = bytes.len();
        let mut second = batch(&["four"]);
        second[..8].copy_from_slice(&3_i64.to_be_bytes());
        bytes.put_slice(&second);
        for cut in 0..=bytes.len() {
            let read = read_batches(&bytes[..cut], 1).unwrap();
            let values: Vec<_> = read.records.iter().map(|(_, value)| *value).collect();
            let expected: &[&[u8]] = match cut {
                _ if cut < first => &[],
                _ if cut < bytes.len() => &[b"", long.as_bytes()],
                _ => &[b"", long.as_bytes(), b"four"],
            };
            assert_eq!(values, expected);
            assert!(read.records.iter().all(|(key, _)| *key == b"fleet"));
            let next = [1, 3, 4][usize::from(cut >= first) + usize::from(cut == bytes.len())];
            assert_eq!((read.next, read.unread), (next, 0));
        }
    }

    #[test]
    fn what_cannot_be_read_is_counted_and_nonsense_is_refused() {
        // gzip, snappy, lz4, zstd.
        for codec in 1..=4 {
            let mut compressed = batch(&["one", "two"]);
            compressed[22] = codec;
            let read = read_batches(&compressed, 0).unwrap();
            let counts = (read.records.len(), read.compressed, read.unread);
            assert_eq!((counts, read.next), ((0, 2, 0), 2));
            // So many records that no list may have them are no reason to lose the connection.
            compressed[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
            let read = read_batches(&compressed, 0).unwrap();
            assert_eq!((read.compressed, read.next), (i32::MAX as u64, 2));
        }
        let mut plain = batch(&["one"]);
        plain[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
        assert!(read_batches(&plain, 0).is_err());
        let mut control = batch(&["one"]);
        control[22] = 0x20;
        let read = read_batches(&control, 0).unwrap();
        assert_eq!((read.records.len(), read.unread, read.next), (0, 0, 1));
        let good = batch(&["one"]);
        for (place, byte) in [(8, 0xff), (11, 3), (60, 0xff), (61, 0xff), (27, 0x80)] {
            let mut bad = good.clone();
            bad[place] = byte;
            let read = read_batches(&bad, 0);
            let harmless = read.as_ref().is_ok_and(|read| read.records.len() <= 1);
            assert!(read.is_err() || harmless, "{place}");
        }
        assert!(read_batches(&[0xff; 100], 0).is_err());
    }

    #[test]
    fn numbers_of_variable_length_read_back() {
        for number in [0, -1, 1, 63, -64, 64, 300, -12345, i64::MAX, i64::MIN] {
            let mut out = BytesMut::new();
            put_varint(&mut out, number);
            assert_eq!(Reader(&out).varint(), Some(number));
        }
        assert_eq!(Reader(&[0xff; 11]).varint(), None);
    }
}
