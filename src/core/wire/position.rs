//! The position of a byte in a stream of frames. Bytes that a `FrameTracker` has already followed
//! may have to be split later, if the sink accepted only a part of them: whole messages then go to
//! another sink, and a partial message is dropped.

use serde::{Deserialize, Serialize};

use crate::core::wire::frame::FrameHeader;

/// The place of a byte: in a frame's payload or at a header's first byte, never inside a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Remaining payload bytes of the frame.
    pub remaining: u64,
    /// A message has begun, and its last frame has not.
    pub inside: bool,
    /// With the frame that is under way, a message ends.
    pub ends: bool,
}

/// Where a stream can be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The first message boundary at or after the requested position.
    pub at: usize,
    /// Messages that end between that place and `at`: one, if the place was inside one.
    pub broken: u64,
}

/// The bytes below are whole, valid frames, except the first and the last: a tracker has checked
/// them already.
impl Position {
    /// Whether no message is under way.
    pub fn at_message_boundary(self) -> bool {
        self.remaining == 0 && !self.inside
    }

    /// Goes on over `bytes` to the place `to`, or where that is inside a header to the beginning of
    /// it; answers how far.
    pub fn advance(&mut self, bytes: &[u8], to: usize) -> usize {
        let mut at = 0;
        loop {
            let left = (to - at) as u64;
            if self.remaining > left {
                self.remaining -= left;
                return to;
            }
            at += usize::try_from(self.remaining).expect("less than what is left");
            self.remaining = 0;
            let header = FrameHeader::parse(&bytes[at..]);
            let Some(header) = header.filter(|header| at + header.len <= to) else {
                return at;
            };
            at += header.len;
            self.begin(&header);
        }
    }

    /// Where `bytes` can be cut at `from` or behind it; `None` if no message boundary is there.
    pub fn cut(mut self, bytes: &[u8], from: usize) -> Option<Cut> {
        let (mut at, mut broken) = (0, 0);
        while !self.at_message_boundary() || at < from {
            let (len, message) = self.step(&bytes[at..])?;
            at += len;
            if at > from {
                broken += u64::from(message);
            }
        }
        Some(Cut { at, broken })
    }

    /// Messages that end in `bytes`.
    pub fn messages(self, bytes: &[u8]) -> u64 {
        self.messages_behind(bytes, 0)
    }

    /// Messages that end in `bytes` behind the place `from`.
    pub fn messages_behind(mut self, bytes: &[u8], from: usize) -> u64 {
        let (mut at, mut messages) = (0, 0);
        while let Some((len, message)) = self.step(&bytes[at..]) {
            at += len;
            messages += u64::from(message && at > from);
        }
        messages
    }

    /// To the end of the frame that is under way, or else of the next: how far, and whether a
    /// message ended there. `None` if `bytes` end before.
    fn step(&mut self, bytes: &[u8]) -> Option<(usize, bool)> {
        let mut header_len = 0;
        if self.remaining == 0 {
            let header = FrameHeader::parse(bytes)?;
            header_len = header.len;
            self.begin(&header);
        }
        let len = usize::try_from(self.remaining)
            .ok()
            .and_then(|remaining| remaining.checked_add(header_len))
            .filter(|len| *len <= bytes.len())?;
        self.remaining = 0;
        Some((len, self.ends))
    }

    fn begin(&mut self, header: &FrameHeader) {
        let data = !header.opcode.is_some_and(|opcode| opcode.is_control());
        self.remaining = header.payload;
        self.ends = data && header.fin;
        if data {
            self.inside = !header.fin;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fragment, a ping, the last fragment, a pong, a short text.
    const STREAM: &[u8] = &[
        0x01, 2, b'a', b'b', 0x89, 1, b'p', 0x80, 3, b'c', b'd', b'e', 0x8A, 0, 0x81, 1, b'f',
    ];

    #[test]
    fn a_stream_is_cut_between_messages_only() {
        let check = |from, expected: Option<(usize, u64)>| {
            let found = Position::default().cut(STREAM, from);
            let found = found.map(|cut| (cut.at, cut.broken));
            assert_eq!(found, expected, "from {from}");
        };
        check(0, Some((0, 0)));
        for inside in 1..12 {
            check(inside, Some((12, 1)));
        }
        check(12, Some((12, 0)));
        check(13, Some((14, 0)));
        check(15, Some((17, 1)));
        check(17, Some((17, 0)));
        assert_eq!(
            Position::default().cut(&STREAM[..11], 1),
            None,
            "it has no end"
        );
        assert_eq!(Position::default().messages(STREAM), 2);
        assert_eq!(Position::default().messages(&STREAM[..16]), 1);
        for (from, left) in [(0, 2), (11, 2), (12, 1), (16, 1), (17, 0)] {
            assert_eq!(Position::default().messages_behind(STREAM, from), left);
        }
    }

    #[test]
    fn going_on_by_any_steps_comes_to_the_same_place() {
        for first in 0..=STREAM.len() {
            let mut position = Position::default();
            let aligned = position.advance(STREAM, first);
            assert!(aligned <= first && first - aligned < 2);
            for from in aligned..=STREAM.len() {
                let whole = Position::default().cut(STREAM, from);
                let rest = position.cut(&STREAM[aligned..], from - aligned);
                let rest = rest.map(|cut| Cut {
                    at: cut.at + aligned,
                    ..cut
                });
                assert_eq!(rest, whole, "{first} then {from}");
            }
        }
    }
}
