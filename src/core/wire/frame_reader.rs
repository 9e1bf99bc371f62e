//! Reads whole messages out of the frames of one side, for an end of a session that is in this
//! process. `tracker` has checked the frames before: their order is not checked again here.

use serde::{Deserialize, Serialize};

use crate::core::wire::frame::{FrameHeader, HEADER_MAX, Opcode};

/// What a side sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A message, whole.
    Message {
        /// `Text` or `Binary`.
        opcode: Opcode,
        /// RSV1, RSV2 and RSV3 of its first frame as bits 2, 1 and 0.
        reserved: u8,
        /// Not masked.
        payload: Vec<u8>,
    },
    /// A close, ping or pong.
    Control {
        /// Which.
        opcode: Opcode,
        /// Not masked.
        payload: Vec<u8>,
    },
}

/// What came cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A message is larger than the bound.
    #[error("a message is larger than the bound")]
    TooLarge,
    /// An opcode that RFC 6455 leaves undefined, or a continuation of nothing.
    #[error("a frame has no place")]
    Misplaced,
}

/// The frames of one side. It keeps what has come of the present message, and nothing between two
/// messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameReader {
    /// What has come of a header.
    #[serde(with = "crate::base::blob")]
    header: Vec<u8>,
    frame: Option<Frame>,
    message: Option<Begun>,
    /// Payload of the present control frame.
    #[serde(with = "crate::base::blob")]
    control: Vec<u8>,
}

/// A frame whose payload is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Frame {
    control: Option<Opcode>,
    fin: bool,
    mask: Option<[u8; 4]>,
    /// Bytes that are still to come.
    left: u64,
    /// Bytes that have come.
    taken: u64,
}

/// A message of which some frames have come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    opcode: Opcode,
    reserved: u8,
    #[serde(with = "crate::base::blob")]
    payload: Vec<u8>,
}

impl FrameReader {
    /// Whether nothing of a frame or a message is kept.
    pub fn is_idle(&self) -> bool {
        self.header.is_empty() && self.frame.is_none() && self.message.is_none()
    }

    /// The next unit of `bytes`, whose front it takes. `None`: more bytes are needed, all were
    /// taken. A message of more than `most` bytes is refused.
    ///
    /// # Errors
    /// When the frames cannot be read; nothing more can be.
    pub fn next(&mut self, bytes: &mut &[u8], most: usize) -> Result<Option<Unit>, Unreadable> {
        loop {
            let Some(frame) = &mut self.frame else {
                if !self.read_header(bytes, most)? {
                    return Ok(None);
                }
                continue;
            };
            let some =
                usize::try_from(frame.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            let (payload, rest) = bytes.split_at(some);
            *bytes = rest;
            let into = match (frame.control, &mut self.message) {
                (None, Some(begun)) => &mut begun.payload,
                _ => &mut self.control,
            };
            append(into, payload, frame.mask, frame.taken);
            frame.left -= some as u64;
            frame.taken += some as u64;
            if frame.left > 0 {
                return Ok(None);
            }
            let ended = *frame;
            self.frame = None;
            if let Some(unit) = self.end_frame(ended) {
                return Ok(Some(unit));
            }
        }
    }

    fn end_frame(&mut self, frame: Frame) -> Option<Unit> {
        if let Some(opcode) = frame.control {
            let payload = std::mem::take(&mut self.control);
            return Some(Unit::Control { opcode, payload });
        }
        let whole = self.message.take_if(|_| frame.fin)?;
        Some(Unit::Message {
            opcode: whole.opcode,
            reserved: whole.reserved,
            payload: whole.payload,
        })
    }

    /// Reads a header. Returns false if more bytes are needed.
    fn read_header(&mut self, bytes: &mut &[u8], most: usize) -> Result<bool, Unreadable> {
        let kept = self.header.len();
        let some = (HEADER_MAX - kept).min(bytes.len());
        self.header.extend_from_slice(&bytes[..some]);
        let Some(header) = FrameHeader::parse(&self.header) else {
            *bytes = &bytes[some..];
            return Ok(false);
        };
        *bytes = &bytes[header.len - kept..];
        self.header = Vec::new();
        let opcode = header.opcode.ok_or(Unreadable::Misplaced)?;
        match (opcode, &self.message) {
            (Opcode::Text | Opcode::Binary, None) => {
                self.message = Some(Begun {
                    opcode,
                    reserved: header.reserved,
                    payload: Vec::new(),
                });
            }
            (Opcode::Continuation, Some(_)) => {}
            (opcode, _) if opcode.is_control() => {}
            _ => return Err(Unreadable::Misplaced),
        }
        if !opcode.is_control() {
            let so_far = self.message.as_ref().map_or(0, |begun| begun.payload.len());
            let fits =
                usize::try_from(header.payload).is_ok_and(|more| more <= most - so_far.min(most));
            if !fits {
                return Err(Unreadable::TooLarge);
            }
        }
        self.frame = Some(Frame {
            control: opcode.is_control().then_some(opcode),
            fin: header.fin,
            mask: header.mask,
            left: header.payload,
            taken: 0,
        });
        Ok(true)
    }
}

/// Appends payload without its mask; `taken` bytes of the frame came before.
fn append(into: &mut Vec<u8>, payload: &[u8], mask: Option<[u8; 4]>, taken: u64) {
    let from = into.len();
    into.extend_from_slice(payload);
    if let Some(key) = mask {
        let offset = (taken % 4) as usize;
        let key = key.iter().cycle().skip(offset);
        for (byte, key) in into[from..].iter_mut().zip(key) {
            *byte ^= key;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::wire::frame::{control_frame, data_frame};

    const MOST: usize = 1000;

    fn message(opcode: Opcode, payload: &[u8]) -> Unit {
        let payload = payload.to_vec();
        Unit::Message {
            opcode,
            reserved: 0,
            payload,
        }
    }

    fn read(reader: &mut FrameReader, mut bytes: &[u8]) -> Result<Vec<Unit>, Unreadable> {
        let mut units = Vec::new();
        while let Some(unit) = reader.next(&mut bytes, MOST)? {
            units.push(unit);
        }
        assert!(bytes.is_empty(), "all is taken");
        Ok(units)
    }

    #[test]
    fn a_fragmented_message_is_one_around_its_control_frames() {
        let mut first = data_frame(Opcode::Text, b"he", Some([1, 2, 3, 4]));
        first[0] &= 0x7F;
        let ping = control_frame(Opcode::Ping, b"p", Some([5; 4]));
        let last = data_frame(Opcode::Continuation, b"llo", Some([9, 8, 7, 6]));
        let stream = [first, ping, last].concat();
        let mut reader = FrameReader::default();
        let units = read(&mut reader, &stream).expect("frames");
        let ping = Unit::Control {
            opcode: Opcode::Ping,
            payload: b"p".to_vec(),
        };
        assert_eq!(units, [ping, message(Opcode::Text, b"hello")]);
        assert!(reader.is_idle());
    }

    #[test]
    fn i8_a_message_beyond_the_bound_is_refused_at_its_header() {
        let frame = data_frame(Opcode::Binary, &[0; MOST + 1], None);
        let refused = read(&mut FrameReader::default(), &frame[..4]);
        assert_eq!(refused, Err(Unreadable::TooLarge));
        let mut first = data_frame(Opcode::Binary, &[0; MOST], None);
        first[0] &= 0x7F;
        let more = data_frame(Opcode::Continuation, b"x", None);
        let refused = read(&mut FrameReader::default(), &[first, more].concat());
        assert_eq!(refused, Err(Unreadable::TooLarge));
    }

    #[test]
    fn a_continuation_of_nothing_is_refused() {
        let frame = data_frame(Opcode::Continuation, b"x", None);
        let refused = read(&mut FrameReader::default(), &frame);
        assert_eq!(refused, Err(Unreadable::Misplaced));
    }

    proptest! {
        #[test]
        fn the_pieces_of_a_stream_do_not_matter(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..5),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            key in any::<Option<[u8; 4]>>(),
        ) {
            let frames = payloads.iter().map(|payload| data_frame(Opcode::Binary, payload, key));
            let stream = frames.collect::<Vec<_>>().concat();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
            cuts.sort_unstable();
            let mut reader = FrameReader::default();
            let (mut units, mut from) = (Vec::new(), 0);
            for cut in cuts.into_iter().chain([stream.len()]) {
                units.extend(read(&mut reader, &stream[from..cut]).expect("frames"));
                let packed = serde_json::to_vec(&reader).expect("plain data");
                reader = serde_json::from_slice(&packed).expect("its own format");
                from = cut;
            }
            let expected: Vec<_> =
                payloads.iter().map(|payload| message(Opcode::Binary, payload)).collect();
            prop_assert_eq!(units, expected);
        }
    }
}
