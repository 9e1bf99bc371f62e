//! The backend's end of a session without a backend: the gateway itself is there. It answers pings
//! and close frames, and reads whole messages.

use serde::{Deserialize, Serialize};

use crate::core::wire::frame::{Opcode, answer_to_close, close_frame, control_frame};
use crate::core::wire::frame_reader::{FrameReader, Unit, Unreadable};

/// Largest message: the route's own bound is smaller, or there is none.
const MESSAGE_MAX: usize = 16 << 20;

/// The gateway at a backend's place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalBackend {
    reader: FrameReader,
    /// A close frame came.
    closed: bool,
}

impl LocalBackend {
    /// Whether a close frame came: nothing more is sent.
    pub fn closed(&self) -> bool {
        self.closed
    }

    /// Reads frames of the client's up to the end of a message, and takes them off; appends what a
    /// backend would answer to `answers`. `None`: there is no whole message, all were taken.
    ///
    /// # Errors
    /// When the frames cannot be read.
    pub fn read(
        &mut self,
        frames: &mut &[u8],
        answers: &mut Vec<u8>,
    ) -> Result<Option<ClientMessage>, Unreadable> {
        while let Some(unit) = self.reader.next(frames, MESSAGE_MAX)? {
            let (opcode, payload) = match unit {
                Unit::Message {
                    opcode, payload, ..
                } => {
                    let is_text = opcode == Opcode::Text;
                    return Ok(Some(ClientMessage { is_text, payload }));
                }
                Unit::Control { opcode, payload } => (opcode, payload),
            };
            match opcode {
                Opcode::Ping => answers.extend(control_frame(Opcode::Pong, &payload, None)),
                Opcode::Close if !self.closed => {
                    self.closed = true;
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    answers.extend(answer_to_close(code, None));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Closes the session from the backend's side.
    pub fn close(&mut self, code: u16, reason: &str, answers: &mut Vec<u8>) {
        if !self.closed {
            self.closed = true;
            answers.extend(close_frame(code, reason, None));
        }
    }
}

/// A message of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMessage {
    /// Text, which is not checked to be UTF-8; else binary.
    pub is_text: bool,
    /// Not masked.
    pub payload: Vec<u8>,
}

impl ClientMessage {
    /// Whether it is binary, or text in UTF-8.
    pub fn is_readable(&self) -> bool {
        !self.is_text || std::str::from_utf8(&self.payload).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::wire::frame::{close_frame, data_frame};

    #[test]
    fn it_answers_what_a_backend_has_to_answer() {
        let mut backend = LocalBackend::default();
        let mut answers = Vec::new();
        let key = Some([1, 2, 3, 4]);
        let frames = [
            data_frame(Opcode::Text, b"hello", key),
            control_frame(Opcode::Ping, b"7", key),
            close_frame(1001, "bye", key),
        ];
        let frames = frames.concat();
        let mut rest = &frames[..];
        let message = backend.read(&mut rest, &mut answers).expect("frames");
        let expected = ClientMessage {
            is_text: true,
            payload: b"hello".to_vec(),
        };
        assert_eq!(message, Some(expected));
        let more = backend.read(&mut rest, &mut answers).expect("frames");
        assert!(more.is_none() && rest.is_empty());
        let pong = control_frame(Opcode::Pong, b"7", None);
        let close = close_frame(1001, "", None);
        assert_eq!(answers, [pong, close].concat());
        assert!(backend.closed());
    }
}
