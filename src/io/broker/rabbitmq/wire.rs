//! AMQP 0-9-1 on the wire (<https://www.rabbitmq.com/amqp-0-9-1-protocol>): frames, and the fields
//! of methods. Tables of the server are not read.

use bytes::{BufMut, BytesMut};

use crate::io::service::fault::Fault;

pub(super) const NOT_AMQP: Fault = Fault::Protocol("AMQP 0-9-1");
pub(super) const METHOD: u8 = 1;
pub(super) const HEADER: u8 = 2;
pub(super) const BODY: u8 = 3;
pub(super) const HEARTBEAT: u8 = 8;
const FRAME_END: u8 = 0xCE;
/// Type, channel and size before the payload, and the mark behind it.
const FRAME_EXTRA: usize = 8;
/// Largest frame, its ends included, that is asked for and taken.
pub(super) const FRAME_MAX: u32 = 128 * 1024;

/// A method by its class and number.
pub(super) type Method = (u16, u16);

/// A frame without its ends.
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) channel: u16,
    pub(super) payload: &'a [u8],
    /// Bytes of the whole frame.
    pub(super) size: usize,
}

/// The first frame of `input`, if it is whole.
pub(super) fn frame(input: &[u8]) -> Result<Option<Frame<'_>>, Fault> {
    let mut head = Reader(input);
    let (Some(kind), Some(channel), Some(size)) = (head.u8(), head.u16(), head.u32()) else {
        return Ok(None);
    };
    if size > FRAME_MAX || !matches!(kind, METHOD | HEADER | BODY | HEARTBEAT) {
        return Err(NOT_AMQP);
    }
    let size = size as usize;
    let Some(end) = head.0.get(size) else {
        return Ok(None);
    };
    if *end != FRAME_END {
        return Err(NOT_AMQP);
    }
    Ok(Some(Frame {
        kind,
        channel,
        payload: &head.0[..size],
        size: size + FRAME_EXTRA,
    }))
}

/// Reads fields one after the other; `None` where the bytes end.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, size: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn short(&mut self) -> Option<&'a str> {
        let size = self.u8()?;
        std::str::from_utf8(self.take(size.into())?).ok()
    }

    pub(super) fn method(&mut self) -> Option<Method> {
        Some((self.u16()?, self.u16()?))
    }
}

/// Writes one frame: what `payload` writes, between its ends.
pub(super) fn put_frame(
    out: &mut BytesMut,
    kind: u8,
    channel: u16,
    payload: impl FnOnce(&mut BytesMut),
) {
    out.put_u8(kind);
    out.put_u16(channel);
    let size_at = out.len();
    out.put_u32(0);
    payload(out);
    set_size(out, size_at);
    out.put_u8(FRAME_END);
}

/// Writes a method.
pub(super) fn put_method(
    out: &mut BytesMut,
    channel: u16,
    method: Method,
    fields: impl FnOnce(&mut BytesMut),
) {
    put_frame(out, METHOD, channel, |out| {
        out.put_u16(method.0);
        out.put_u16(method.1);
        fields(out);
    });
}

/// The size of what was written behind its place.
fn set_size(out: &mut BytesMut, at: usize) {
    let size = u32::try_from(out.len() - at - 4).expect("what is written has bounds");
    out[at..at + 4].copy_from_slice(&size.to_be_bytes());
}

/// A short string. Callers have checked that it is one.
pub(super) fn put_short(out: &mut BytesMut, text: &str) {
    let size = u8::try_from(text.len()).expect("a short string has at most 255 bytes");
    out.put_u8(size);
    out.put_slice(text.as_bytes());
}

pub(super) fn put_long(out: &mut BytesMut, bytes: &[u8]) {
    put_table(out, |out| out.put_slice(bytes));
}

/// A table: what `fields` writes, after its size.
pub(super) fn put_table(out: &mut BytesMut, fields: impl FnOnce(&mut BytesMut)) {
    let size_at = out.len();
    out.put_u32(0);
    fields(out);
    set_size(out, size_at);
}

pub(super) fn put_text_field(out: &mut BytesMut, name: &str, value: &str) {
    put_short(out, name);
    out.put_u8(b'S');
    put_long(out, value.as_bytes());
}

pub(super) fn put_int_field(out: &mut BytesMut, name: &str, value: i32) {
    put_short(out, name);
    out.put_u8(b'I');
    out.put_i32(value);
}

pub(super) fn put_true_field(out: &mut BytesMut, name: &str) {
    put_short(out, name);
    out.put_slice(b"t\x01");
}
