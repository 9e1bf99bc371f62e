//! Follows the frames that one side sends, by their headers alone: where each begins and ends,
//! what it counts as, whether the sequence is allowed. The only payload it reads is the code of a
//! close frame, and it stores nothing but the first bytes of an incomplete header.

use serde::{Deserialize, Serialize};

use crate::base::traffic::Traffic;
use crate::core::wire::frame::{FrameHeader, HEADER_MAX, Opcode};
use crate::core::wire::in_band::{InBandMatch, InBandMatcher};
use crate::core::wire::position::Position;
use crate::core::wire::violation::Violation;

pub use crate::core::wire::rules::{Extensions, Rules, Sender};

/// Where `track` stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// To the end of the chunk.
    ChunkEnd,
    /// To the next end of a frame, at once if it is at one.
    Boundary,
    /// To the beginning of a close frame.
    CloseFrame,
    /// To the next place where no message is under way, at once if it is at one.
    Message,
    /// At the start of a close frame whose code, if present, is completely in the chunk.
    CloseCode,
}

/// How far `track` came, and why no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// Bytes of the chunk that may go on to the other side.
    pub forward: usize,
    /// What stopped it.
    pub stop: Stop,
}

/// Why `track` came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The chunk did. A header's beginning at its end is kept as the carry.
    ChunkEnd,
    /// The requested stop was reached.
    Reached,
    /// A close frame did; nothing that the sender sends after it counts.
    Closed,
    /// The frame at `forward` must not go on.
    Violation(Violation),
    /// The frame of this many bytes at `forward` is a pong that was watched for. It is for the
    /// gateway alone and counts as nothing.
    Pong(usize),
    /// The frame of this many bytes at `forward` is a message for the gateway itself. It counts as
    /// nothing.
    InBand(usize),
    /// The message at `forward` may be one for the gateway itself: the next chunk must begin with
    /// what is left of this one.
    Undecided,
}

/// Bytes of payload in a ping of the gateway's own: a pong that is not all there fits the carry.
pub const PING_BYTES: usize = 8;

/// One direction of a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrameTracker {
    sender: Sender,
    rules: Rules,
    /// Remaining payload bytes of the current frame.
    remaining: u64,
    /// The frame that `remaining` belongs to.
    current: Frame,
    /// Kind of the message that has begun and not ended.
    message: Option<Opcode>,
    message_bytes: u64,
    close: CloseCode,
    carry: [u8; HEADER_MAX - 1],
    carry_len: u8,
    /// Payload of the pong that is for the gateway.
    watched: Option<[u8; PING_BYTES]>,
    /// Finds messages that are for the gateway. The name in stored states is older.
    #[serde(rename = "sieve", default, skip_serializing_if = "Option::is_none")]
    in_band: Option<Box<InBandMatcher>>,
    traffic: Traffic,
    /// Frames that did not end a message; it wraps around, so only differences mean something.
    #[serde(default, skip_serializing_if = "is_zero")]
    fragments: u16,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u16) -> bool {
    *number == 0
}

/// What to count when the current frame ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Frame {
    /// A fragment that does not end its message, or something an unknown extension made.
    Uncounted,
    /// The end of a message, or a control frame.
    Ends(Opcode),
}

/// The first two payload bytes of a close frame, unmasked on arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseCode {
    key: [u8; 2],
    bytes: [u8; 2],
    seen: u8,
}

impl FrameTracker {
    /// At the start of a session, before the first frame.
    pub fn new(sender: Sender, rules: Rules) -> Self {
        Self {
            sender,
            rules,
            remaining: 0,
            current: Frame::Uncounted,
            message: None,
            message_bytes: 0,
            close: CloseCode::default(),
            carry: [0; HEADER_MAX - 1],
            carry_len: 0,
            watched: None,
            in_band: None,
            traffic: Traffic::default(),
            fragments: 0,
        }
    }

    /// The beginning of a header that the last chunk ended in. It was not forwarded: the next
    /// chunk given to `track` must begin with it.
    pub fn carry(&self) -> &[u8] {
        &self.carry[..usize::from(self.carry_len)]
    }

    /// Whether frames can lead to this state; validates the state from another process.
    pub fn is_sound(&self) -> bool {
        usize::from(self.carry_len) <= self.carry.len() && self.close.seen <= 2
    }

    /// Whether everything forwarded so far is whole frames, so that a control frame may go in.
    pub fn at_boundary(&self) -> bool {
        self.remaining == 0
    }

    /// Whether everything forwarded so far is whole messages.
    pub fn at_message_boundary(&self) -> bool {
        self.remaining == 0 && self.message.is_none()
    }

    /// The position of the next forwarded byte.
    pub fn position(&self) -> Position {
        Position {
            remaining: self.remaining,
            inside: self.message.is_some(),
            ends: matches!(self.current, Frame::Ends(Opcode::Text | Opcode::Binary)),
        }
    }

    /// The payload whose pongs are stopped at: one for the whole session, so that late ones are
    /// known too.
    pub fn watched(&self) -> Option<[u8; PING_BYTES]> {
        self.watched
    }

    /// Stops at pongs with this payload from now on.
    pub fn watch(&mut self, pong: [u8; PING_BYTES]) {
        self.watched = Some(pong);
    }

    /// Stops at the messages that `matcher` finds, from now on.
    pub fn match_in_band(&mut self, matcher: InBandMatcher) {
        self.in_band = Some(Box::new(matcher));
    }

    /// The matcher for messages that are for the gateway.
    pub fn in_band(&self) -> Option<&InBandMatcher> {
        self.in_band.as_deref()
    }

    /// Whether what is followed comes from a client and goes to a backend, so that own frames in it
    /// are masked (RFC 6455, section 5.3).
    pub fn is_masked(&self) -> bool {
        self.sender == Sender::Client
    }

    /// Whether every extension in force is one that the gateway knows.
    pub fn knows_extensions(&self) -> bool {
        self.rules.extensions != Extensions::Unknown
    }

    /// The traffic forwarded so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Frames that went on and did not end their message, which [`traffic`](Self::traffic) does not
    /// count. It wraps around: the difference of two readings is the number between them.
    pub fn fragments(&self) -> u16 {
        self.fragments
    }

    /// The code of the close frame; `None` before one, and for one that has no code.
    pub fn close_code(&self) -> Option<u16> {
        (self.close.seen == 2).then(|| u16::from_be_bytes(self.close.bytes))
    }

    /// Follows the next bytes, which begin with the carry.
    #[inline]
    pub fn track(&mut self, chunk: &[u8], until: Until) -> Tracked {
        self.carry_len = 0;
        let mut at = 0;
        let stop = loop {
            if self.remaining > 0 {
                let here = self.payload(&chunk[at..]);
                at += here;
                if self.remaining > 0 {
                    break Stop::ChunkEnd;
                }
                if self.frame_ended() {
                    break Stop::Closed;
                }
            }
            if until == Until::Boundary || (until == Until::Message && self.message.is_none()) {
                break Stop::Reached;
            }
            let Some(header) = FrameHeader::parse(&chunk[at..]) else {
                self.keep(&chunk[at..]);
                break Stop::ChunkEnd;
            };
            if let Err(violation) = self.rules.check(self.sender, &header) {
                break Stop::Violation(violation);
            }
            if header.opcode.is_some_and(Opcode::is_control)
                && let Some(stop) = self.special(&header, &chunk[at..], until)
            {
                break stop;
            }
            if header.opcode == Some(Opcode::Text)
                && let Some(stop) = self.matched(&chunk[at..])
            {
                break stop;
            }
            if let Err(violation) = self.begin(&header) {
                break Stop::Violation(violation);
            }
            at += header.len;
            if header.payload == 0 && self.frame_ended() {
                break Stop::Closed;
            }
        };
        self.traffic.bytes += at as u64;
        Tracked { forward: at, stop }
    }

    /// Whether the control frame at the start of `rest`, whose header is valid, is one to stop at.
    /// Waits for the whole frame, which fits into the carry: the header of a control frame has six
    /// bytes at most, because its length is in the shortest form.
    fn special(&mut self, header: &FrameHeader, rest: &[u8], until: Until) -> Option<Stop> {
        match header.opcode {
            Some(Opcode::Close) if until == Until::CloseFrame => Some(Stop::Reached),
            Some(Opcode::Close) if until == Until::CloseCode && header.mask.is_none() => {
                let code = if header.payload < 2 { 0 } else { 2 };
                Some(self.stop_with(rest, header.len + code, Stop::Reached))
            }
            Some(Opcode::Pong) if header.payload == PING_BYTES as u64 => {
                let watched = self.watched?;
                let len = header.len + PING_BYTES;
                let Some(payload) = rest.get(header.len..len) else {
                    return Some(self.stop_with(rest, len, Stop::ChunkEnd));
                };
                let key = header.mask.unwrap_or_default();
                let plain = payload.iter().zip(key.iter().cycle());
                let ours = plain.map(|(byte, key)| byte ^ key).eq(watched);
                ours.then_some(Stop::Pong(len))
            }
            _ => None,
        }
    }

    /// Whether the text frame at the start of `rest` is one to stop at.
    #[inline]
    fn matched(&self, rest: &[u8]) -> Option<Stop> {
        let matcher = self.in_band.as_ref().filter(|_| self.message.is_none())?;
        match matcher.look(rest) {
            InBandMatch::NoMatch => None,
            InBandMatch::Undecided => Some(Stop::Undecided),
            InBandMatch::Matched(len) => Some(Stop::InBand(len)),
            InBandMatch::Refused(violation) => Some(Stop::Violation(violation)),
        }
    }

    /// Stops so if `rest` has so many bytes, else waits for them.
    fn stop_with(&mut self, rest: &[u8], needed: usize, stop: Stop) -> Stop {
        if rest.len() >= needed {
            return stop;
        }
        self.keep(rest);
        Stop::ChunkEnd
    }

    /// Consumes payload of the current frame; answers how much.
    #[inline]
    fn payload(&mut self, bytes: &[u8]) -> usize {
        let here =
            usize::try_from(self.remaining).map_or(bytes.len(), |left| left.min(bytes.len()));
        if self.current == Frame::Ends(Opcode::Close) {
            for byte in &bytes[..here] {
                let place = usize::from(self.close.seen);
                if place == 2 {
                    break;
                }
                self.close.bytes[place] = byte ^ self.close.key[place];
                self.close.seen += 1;
            }
        }
        self.remaining -= here as u64;
        here
    }

    #[inline]
    fn count_fragment(&mut self) {
        self.fragments = self.fragments.wrapping_add(1);
    }

    /// Counts the frame that just ended; answers whether it was a close frame.
    #[inline]
    fn frame_ended(&mut self) -> bool {
        match self.current {
            Frame::Uncounted | Frame::Ends(Opcode::Continuation) => self.count_fragment(),
            Frame::Ends(Opcode::Text) => self.traffic.text += 1,
            Frame::Ends(Opcode::Binary) => self.traffic.binary += 1,
            Frame::Ends(Opcode::Ping) => self.traffic.ping = self.traffic.ping.saturating_add(1),
            Frame::Ends(Opcode::Pong) => self.traffic.pong = self.traffic.pong.saturating_add(1),
            Frame::Ends(Opcode::Close) => {
                self.traffic.close = self.traffic.close.saturating_add(1);
                return true;
            }
        }
        false
    }

    /// Keeps the beginning of a header for the next chunk.
    fn keep(&mut self, rest: &[u8]) {
        self.carry[..rest.len()].copy_from_slice(rest);
        self.carry_len = u8::try_from(rest.len()).expect("shorter than a header");
    }

    /// Takes the frame of a header that passed `check` as the current one, if it may come now.
    #[inline]
    fn begin(&mut self, header: &FrameHeader) -> Result<(), Violation> {
        let Some(opcode) = header.opcode else {
            return self.begin_unknown(header);
        };
        if opcode.is_control() {
            if opcode == Opcode::Close {
                let key = header.mask.unwrap_or_default();
                self.close = CloseCode {
                    key: [key[0], key[1]],
                    ..CloseCode::default()
                };
            }
            self.current = Frame::Ends(opcode);
        } else {
            self.data(header, opcode)?;
        }
        self.remaining = header.payload;
        Ok(())
    }

    fn begin_unknown(&mut self, header: &FrameHeader) -> Result<(), Violation> {
        if header.payload > self.rules.frame_bytes {
            return Err(Violation::FrameTooBig);
        }
        self.current = Frame::Uncounted;
        self.remaining = header.payload;
        Ok(())
    }

    #[inline]
    fn data(&mut self, header: &FrameHeader, opcode: Opcode) -> Result<(), Violation> {
        let (kind, before) = match (opcode, self.message) {
            (Opcode::Continuation, None) => return Err(Violation::NothingToContinue),
            (Opcode::Continuation, Some(kind)) => (kind, self.message_bytes),
            (_, Some(_)) => return Err(Violation::MessageInsideMessage),
            (kind, None) => (kind, 0),
        };
        if header.payload > self.rules.frame_bytes {
            return Err(Violation::FrameTooBig);
        }
        let message_bytes = before.saturating_add(header.payload);
        if message_bytes > self.rules.message_bytes {
            return Err(Violation::MessageTooBig);
        }
        self.message_bytes = message_bytes;
        self.message = (!header.fin).then_some(kind);
        self.current = if header.fin {
            Frame::Ends(kind)
        } else {
            Frame::Uncounted
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests;
