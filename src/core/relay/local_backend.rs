//! The backend's end of a session without a backend: the gateway itself is there. It answers pings
//! and close frames, and drops messages, which clients that only listen do not send.

use serde::{Deserialize, Serialize};

use crate::core::wire::frame::{Opcode, answer_to_close, control_frame};
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

    /// Reads frames of the client's; appends what a backend would answer to `answers`.
    ///
    /// # Errors
    /// When the frames cannot be read.
    pub fn write(&mut self, mut frames: &[u8], answers: &mut Vec<u8>) -> Result<(), Unreadable> {
        while let Some(unit) = self.reader.next(&mut frames, MESSAGE_MAX)? {
            let Unit::Control { opcode, payload } = unit else {
                continue;
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
        Ok(())
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
            data_frame(Opcode::Text, b"dropped", key),
            control_frame(Opcode::Ping, b"7", key),
            close_frame(1001, "bye", key),
        ];
        backend
            .write(&frames.concat(), &mut answers)
            .expect("frames");
        let pong = control_frame(Opcode::Pong, b"7", None);
        let close = close_frame(1001, "", None);
        assert_eq!(answers, [pong, close].concat());
        assert!(backend.closed());
    }
}
