//! What one side may send: the rules for a single frame header (RFC 6455, section 5). The rules for
//! a sequence of frames are in `tracker`.

use serde::{Deserialize, Serialize};

use crate::core::wire::frame::{CONTROL_PAYLOAD_MAX, FrameHeader, Opcode};
use crate::core::wire::violation::Violation;

/// The side that sends the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sender {
    /// Its frames are masked.
    Client,
    /// Its frames are not.
    Backend,
}

/// Bounds and extensions of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Longest payload of one frame, in bytes.
    pub frame_bytes: u64,
    /// Longest message, its fragments together, in bytes on the wire.
    pub message_bytes: u64,
    /// Which reserved bits the negotiated extensions gave a meaning.
    pub extensions: Extensions,
}

/// What client and backend negotiated beyond RFC 6455.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extensions {
    /// Nothing: every reserved bit is an error.
    None,
    /// permessage-deflate (RFC 7692): RSV1 marks the first frame of a compressed message.
    Deflate,
    /// An extension that the gateway does not know; it may use every bit and opcode.
    Unknown,
}

impl Rules {
    /// Checks what a header alone shows; what came before it does not matter.
    #[inline]
    pub(super) fn check(self, sender: Sender, header: &FrameHeader) -> Result<(), Violation> {
        match (sender, header.mask) {
            (Sender::Client, None) => return Err(Violation::Unmasked),
            (Sender::Backend, Some(_)) => return Err(Violation::Masked),
            _ => {}
        }
        if header.payload > i64::MAX as u64 {
            return Err(Violation::LengthOverflow);
        }
        if !header.shortest {
            return Err(Violation::LengthNotShortest);
        }
        let Some(opcode) = header.opcode else {
            return match self.extensions {
                Extensions::Unknown => Ok(()),
                Extensions::None | Extensions::Deflate => Err(Violation::UnknownOpcode),
            };
        };
        if header.reserved != 0 {
            self.allow_reserved(header.reserved, opcode)?;
        }
        if opcode.is_control() {
            control(header, opcode)?;
        }
        Ok(())
    }

    fn allow_reserved(self, reserved: u8, opcode: Opcode) -> Result<(), Violation> {
        let begins_message = matches!(opcode, Opcode::Text | Opcode::Binary);
        let allowed = match self.extensions {
            Extensions::None => false,
            Extensions::Deflate => reserved == 0b100 && begins_message,
            Extensions::Unknown => true,
        };
        if allowed {
            Ok(())
        } else {
            Err(Violation::ReservedBit)
        }
    }
}

#[inline]
fn control(header: &FrameHeader, opcode: Opcode) -> Result<(), Violation> {
    if !header.fin {
        return Err(Violation::ControlFragmented);
    }
    if header.payload > CONTROL_PAYLOAD_MAX as u64 {
        return Err(Violation::ControlTooLong);
    }
    if opcode == Opcode::Close && header.payload == 1 {
        return Err(Violation::CloseTooShort);
    }
    Ok(())
}
