//! The bytes that clients and backends of the benchmark exchange, made once and compared whole. It
//! leaves out sockets, and every part of RFC 6455 that the workloads do not use.

use anyhow::{Context as _, Result, bail, ensure};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const BODY_BYTES: usize = 64;

/// The name that the clients ask for and the certificate holds.
pub(crate) const HOST: &str = "bench.test";
/// First byte of a whole binary message.
pub(crate) const BINARY: u8 = 0x82;
/// First byte of a close frame.
pub(crate) const CLOSE: u8 = 0x88;
/// A client's close frame: masked, 1000.
pub(crate) const CLIENT_CLOSE: [u8; 8] = {
    let [a, b, c, d] = MASK;
    [CLOSE, 0x82, a, b, c, d, 0x03 ^ a, 0xe8 ^ b]
};
/// A backend's close frame: 1000.
pub(crate) const SERVER_CLOSE: [u8; 4] = [CLOSE, 0x02, 0x03, 0xe8];

/// What distinguishes a message from all others: its sender, and its number among theirs. The first
/// eight bytes of a payload, so that an answer that was swapped, lost or repeated is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The sender's place in the engine.
    pub(crate) owner: u32,
    /// Counts from zero.
    pub(crate) number: u32,
}

impl Stamp {
    const BYTES: usize = 8;

    fn encode(self) -> [u8; Self::BYTES] {
        (u64::from(self.owner) << 32 | u64::from(self.number)).to_be_bytes()
    }

    fn decode(bytes: [u8; Self::BYTES]) -> Self {
        let word = u64::from_be_bytes(bytes);
        Self {
            owner: (word >> 32) as u32,
            number: word as u32,
        }
    }
}

/// A binary message of one size, whole but for its stamp.
#[derive(Debug)]
pub(crate) struct Template {
    frame: Vec<u8>,
    stamp_at: usize,
    mask: [u8; 4],
}

impl Template {
    /// As a client sends it. `size` is the payload's and at least that of a stamp.
    pub(crate) fn masked(size: usize) -> Self {
        Self::new(size, Some(MASK))
    }

    /// As a backend sends it.
    pub(crate) fn plain(size: usize) -> Self {
        Self::new(size, None)
    }

    fn new(size: usize, mask: Option<[u8; 4]>) -> Self {
        assert!(size >= Stamp::BYTES, "a payload holds a stamp");
        let bit = if mask.is_some() { 0x80 } else { 0 };
        let mut frame = vec![BINARY];
        match size {
            0..=125 => frame.push(bit | size as u8),
            126..=0xffff => {
                frame.push(bit | 126);
                frame.extend((size as u16).to_be_bytes());
            }
            _ => {
                frame.push(bit | 127);
                frame.extend((size as u64).to_be_bytes());
            }
        }
        frame.extend(
            mask.unwrap_or_default()
                .iter()
                .take(mask.map_or(0, |m| m.len())),
        );
        let stamp_at = frame.len();
        let mask = mask.unwrap_or_default();
        frame.extend((0..size).map(|i| (i * 7 + (i >> 8) * 13) as u8 ^ mask[i % 4]));
        Self {
            frame,
            stamp_at,
            mask,
        }
    }

    /// Bytes of the frame, header included.
    pub(crate) fn len(&self) -> usize {
        self.frame.len()
    }

    /// Appends the frame with this stamp.
    pub(crate) fn put(&self, stamp: Stamp, out: &mut Vec<u8>) {
        let at = out.len() + self.stamp_at;
        out.extend_from_slice(&self.frame);
        out[at..at + Stamp::BYTES].copy_from_slice(&self.toggle(stamp.encode()));
    }

    /// The stamp of a received frame, which must be this one in every other byte.
    pub(crate) fn verify(&self, frame: &[u8]) -> Result<Stamp> {
        let (head, rest) = frame.split_at(self.stamp_at);
        let (stamp, body) = rest.split_at(Stamp::BYTES);
        ensure!(
            head == &self.frame[..self.stamp_at]
                && body == &self.frame[self.stamp_at + Stamp::BYTES..],
            "a frame arrived other than it was sent"
        );
        let stamp = stamp.try_into().expect("split at a stamp's length");
        Ok(Stamp::decode(self.toggle(stamp)))
    }

    fn toggle(&self, mut bytes: [u8; Stamp::BYTES]) -> [u8; Stamp::BYTES] {
        for (byte, mask) in bytes.iter_mut().zip(self.mask.iter().cycle()) {
            *byte ^= mask;
        }
        bytes
    }
}

/// The length of a head that ends with an empty line, if all of it is here.
pub(crate) fn head_len(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(end + 4)
}

/// A client's upgrade request for this path.
pub(crate) fn upgrade_request(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// A client's plain request; the stamp is its last path segment.
pub(crate) fn plain_request(stamp: Stamp) -> String {
    format!("GET /plain/{} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", hex(stamp))
}

/// What a backend answers to a request head.
pub(crate) fn respond(head: &[u8]) -> Result<Response> {
    let head = std::str::from_utf8(head).context("a request head is text")?;
    if let Some(key) = field(head, "sec-websocket-key") {
        return Ok(Response::Upgrade(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            accept(key)
        )));
    }
    let path = head
        .strip_prefix("GET /plain/")
        .context("an unknown request")?;
    let stamp = path.split(' ').next().unwrap_or_default();
    Ok(Response::Plain(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {BODY_BYTES}\r\n\r\n\
         {stamp:.<BODY_BYTES$}"
    )))
}

/// A backend's answer.
pub(crate) enum Response {
    /// A 101: frames follow.
    Upgrade(String),
    /// Another request may follow.
    Plain(String),
}

/// Checks a 101 as a client has to.
pub(crate) fn verify_upgrade(head: &[u8]) -> Result<()> {
    let head = std::str::from_utf8(head).context("a response head is text")?;
    let accepted = field(head, "sec-websocket-accept") == Some(&accept(KEY));
    if !head.starts_with("HTTP/1.1 101 ") || !accepted {
        bail!("no upgrade: {head:?}");
    }
    Ok(())
}

/// The length of a whole answer to a plain request, checked; `None` while some of it is missing.
pub(crate) fn verify_plain(bytes: &[u8], stamp: Stamp) -> Result<Option<usize>> {
    let Some(len) = head_len(bytes) else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..len]).context("a response head is text")?;
    let sized = field(head, "content-length") == Some(&BODY_BYTES.to_string());
    ensure!(
        head.starts_with("HTTP/1.1 200 ") && sized,
        "unexpected answer: {head:?}"
    );
    let Some(body) = bytes.get(len..len + BODY_BYTES) else {
        return Ok(None);
    };
    let expected = format!("{:.<BODY_BYTES$}", hex(stamp));
    ensure!(
        body == expected.as_bytes(),
        "a body arrived other than it was sent"
    );
    Ok(Some(len + BODY_BYTES))
}

fn hex(stamp: Stamp) -> String {
    format!("{:08x}{:08x}", stamp.owner, stamp.number)
}

/// The value of a header field.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn accept(key: &str) -> String {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    BASE64_STANDARD.encode(hash)
}
