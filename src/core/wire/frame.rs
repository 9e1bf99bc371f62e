//! One frame's header, read and written (RFC 6455, section 5.2). What a sequence of frames may be
//! is `tracker`'s.

use serde::{Deserialize, Serialize};

/// Longest header: two bytes, eight of length, four of mask.
pub const HEADER_MAX: usize = 14;
/// Longest payload of a control frame (RFC 6455, section 5.5).
pub const CONTROL_PAYLOAD_MAX: usize = 125;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opcode {
    /// More of the message that has begun.
    Continuation,
    /// Begins a text message.
    Text,
    /// Begins a binary message.
    Binary,
    /// The sender's last frame.
    Close,
    /// Asks for a pong.
    Ping,
    /// The answer to a ping, or an unsolicited heartbeat.
    Pong,
}

impl Opcode {
    /// The opcode with these bits; `None` if there is none.
    pub fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// Its four bits.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    /// Close, ping or pong: permitted between the frames of a message, never fragmented.
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A header as it stood on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The last frame of its message.
    pub fin: bool,
    /// RSV1, RSV2 and RSV3 as bits 2, 1 and 0.
    pub reserved: u8,
    /// `None` is an opcode that RFC 6455 leaves undefined.
    pub opcode: Option<Opcode>,
    /// The masking key, if the payload is masked.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload that follow.
    pub payload: u64,
    /// The length is written in its shortest form, as RFC 6455, section 5.2 demands.
    pub shortest: bool,
    /// Bytes of the header itself.
    pub len: usize,
}

impl FrameHeader {
    /// Reads the header at the start of `bytes`; `None` if it is not all there yet.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (payload, longest_of_shorter_form, after_length) = match second & 0x7F {
            126 => {
                let length = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
                (u64::from(length), Some(125), 4)
            }
            127 => {
                let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
                (length, Some(u64::from(u16::MAX)), 10)
            }
            short => (u64::from(short), None, 2),
        };
        let (mask, len) = if second & 0x80 == 0 {
            (None, after_length)
        } else {
            let key = bytes.get(after_length..after_length + 4)?;
            (Some(key.try_into().ok()?), after_length + 4)
        };
        Some(Self {
            fin: first & 0x80 != 0,
            reserved: (first >> 4) & 0x7,
            opcode: Opcode::from_bits(first & 0xF),
            mask,
            payload,
            shortest: longest_of_shorter_form.is_none_or(|longest| payload > longest),
            len,
        })
    }
}

/// The code of the close frame, not masked, at the start of `frame`.
pub fn code_of_close(frame: &[u8]) -> Option<u16> {
    let header = FrameHeader::parse(frame)?;
    let code = frame.get(header.len..header.len + 2)?;
    (header.payload >= 2).then(|| u16::from_be_bytes([code[0], code[1]]))
}

/// A whole control frame. `mask` is the key that a frame to a backend needs (RFC 6455, section
/// 5.3); frames to clients have none. Payload beyond 125 bytes is cut.
pub fn control_frame(opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let payload = &payload[..payload.len().min(CONTROL_PAYLOAD_MAX)];
    let length = u8::try_from(payload.len()).expect("cut to 125");
    let mut frame = Vec::with_capacity(6 + payload.len());
    frame.push(0x80 | opcode.bits());
    match mask {
        None => {
            frame.push(length);
            frame.extend_from_slice(payload);
        }
        Some(key) => {
            frame.push(0x80 | length);
            frame.extend_from_slice(&key);
            frame.extend(
                payload
                    .iter()
                    .zip(key.iter().cycle())
                    .map(|(byte, key)| byte ^ key),
            );
        }
    }
    frame
}

/// A whole message in one frame, masked if it goes to a backend.
pub fn data_frame(opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER_MAX + payload.len());
    frame.push(0x80 | opcode.bits());
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let length = payload.len();
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => frame.push(masked | short),
        (_, Ok(length)) => {
            frame.push(masked | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(masked | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    match mask {
        None => frame.extend_from_slice(payload),
        Some(key) => {
            frame.extend_from_slice(&key);
            let plain = payload.iter().zip(key.iter().cycle());
            frame.extend(plain.map(|(byte, key)| byte ^ key));
        }
    }
    frame
}

/// A close frame with a code and a reason (RFC 6455, section 5.5.1). The reason is cut to 123
/// bytes, at a character's end.
pub fn close_frame(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(
        &reason.as_bytes()[..reason.floor_char_boundary(CONTROL_PAYLOAD_MAX - 2)],
    );
    control_frame(Opcode::Close, &payload, mask)
}

/// The answer to a close frame with this code, or with none: the same (RFC 6455, section 5.5.1).
/// Codes that must not be sent are answered with 1002.
pub fn answer_to_close(code: Option<u16>, mask: Option<[u8; 4]>) -> Vec<u8> {
    match code {
        Some(code @ (1000..=1003 | 1007..=1014 | 3000..=4999)) => close_frame(code, "", mask),
        Some(_) => close_frame(1002, "close code not allowed", mask),
        None => control_frame(Opcode::Close, &[], mask),
    }
}

#[cfg(test)]
mod tests;
