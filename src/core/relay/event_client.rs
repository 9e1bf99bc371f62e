//! A client that only listens: it takes server-sent events (WHATWG HTML, "Server-sent events")
//! where other clients take frames. The machine writes frames to it as to any client; this is the
//! translation, without I/O.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::base::message::Message;
use crate::core::wire::frame::{Opcode, answer_to_close, control_frame, data_frame};
use crate::core::wire::frame_reader::{FrameReader, Unit, Unreadable};

/// RSV2, which no extension of the gateway's uses: the payload is an event already.
const ENCODED: u8 = 0b010;
/// In front of each line of a text.
const LINE: &[u8] = b"data: ";
/// What is around the body of an event: header, id, type and line ends.
const ADDED_MAX: usize = 96;
/// Largest message: the gateway's own are smaller.
const MESSAGE_MAX: usize = 16 << 20;
/// Frames of a client are masked (RFC 6455, section 5.3). These never leave the process.
const MASK: [u8; 4] = [0; 4];

/// A client that only listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventClient {
    reader: FrameReader,
    /// Milliseconds after which the client comes back when it has lost the connection.
    retry: u32,
    /// The close frame was written.
    closed: bool,
}

impl EventClient {
    /// A client that comes back after `retry` milliseconds when it has lost the connection.
    pub fn new(retry: u32) -> Self {
        Self {
            retry,
            ..Self::default()
        }
    }

    /// What the client gets first.
    pub fn greeting(&self) -> Vec<u8> {
        format!("retry: {}\n\n", self.retry).into_bytes()
    }

    /// Whether the close frame was written; nothing is written after it.
    pub fn closed(&self) -> bool {
        self.closed
    }

    /// Translates frames for the client: appends events to `events`, and to `answers` the frames
    /// with which a client would answer.
    ///
    /// # Errors
    /// When the frames cannot be read.
    pub fn write(
        &mut self,
        mut frames: &[u8],
        events: &mut Vec<u8>,
        answers: &mut Vec<u8>,
    ) -> Result<(), Unreadable> {
        while let Some(unit) = self.reader.next(&mut frames, MESSAGE_MAX)? {
            match unit {
                Unit::Message {
                    reserved: ENCODED,
                    payload,
                    ..
                } => events.extend_from_slice(&payload),
                Unit::Message {
                    opcode, payload, ..
                } => encode(events, None, opcode == Opcode::Text, &payload),
                Unit::Control {
                    opcode: Opcode::Ping,
                    payload,
                } => {
                    events.extend_from_slice(b":\n\n");
                    answers.extend(control_frame(Opcode::Pong, &payload, Some(MASK)));
                }
                Unit::Control {
                    opcode: Opcode::Close,
                    payload,
                } => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    self.close(events, code, payload.get(2..).unwrap_or_default());
                    answers.extend(answer_to_close(code, Some(MASK)));
                }
                Unit::Control { .. } => {}
            }
        }
        Ok(())
    }

    fn close(&mut self, events: &mut Vec<u8>, code: Option<u16>, reason: &[u8]) {
        self.closed = true;
        let reason = String::from_utf8_lossy(reason);
        let data = serde_json::json!({ "code": code, "reason": reason });
        let text = format!("event: close\nretry: {}\ndata: {data}\n\n", self.retry);
        events.extend_from_slice(text.as_bytes());
    }
}

/// An event with an id, as a frame for clients that only listen: made once for all of them.
pub fn event_frame(id: Option<&str>, message: &Message) -> Arc<[u8]> {
    let mut event = Vec::new();
    match message {
        Message::Text(text) => encode(&mut event, id, true, text.as_bytes()),
        Message::Binary(bytes) => encode(&mut event, id, false, bytes),
    }
    mark(&event)
}

/// Bytes of [`event_frame`] at most: each line of a text has a prefix, base64 adds a third.
pub fn event_bytes_max(message: &Message) -> usize {
    let body = match message {
        Message::Text(text) => {
            let breaks = memchr::memchr2_iter(b'\n', b'\r', text.as_bytes()).count();
            text.len() + (breaks + 1) * LINE.len()
        }
        Message::Binary(bytes) => bytes.len().div_ceil(3) * 4,
    };
    body + ADDED_MAX
}

/// The event that says that messages between the id from which a client goes on and the next event
/// are not kept any more.
pub fn gap_frame() -> Arc<[u8]> {
    mark(b"event: gap\ndata: {}\n\n")
}

fn mark(event: &[u8]) -> Arc<[u8]> {
    let mut frame = data_frame(Opcode::Text, event, None);
    frame[0] |= ENCODED << 4;
    frame.into()
}

/// Appends an event. Binary messages are events of the type `binary`, in base64.
fn encode(events: &mut Vec<u8>, id: Option<&str>, text: bool, payload: &[u8]) {
    if let Some(id) = id {
        events.extend_from_slice(b"id: ");
        events.extend_from_slice(id.as_bytes());
        events.push(b'\n');
    }
    if !text {
        let mut encoded = String::from("event: binary\ndata: ");
        STANDARD.encode_string(payload, &mut encoded);
        let _ = encoded.write_str("\n\n");
        events.extend_from_slice(encoded.as_bytes());
        return;
    }
    for line in lines(payload) {
        events.extend_from_slice(LINE);
        events.extend_from_slice(line);
        events.push(b'\n');
    }
    events.push(b'\n');
}

/// Lines as the format has them: ended by `\r\n`, `\n` or `\r`.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = memchr::memchr2(b'\n', b'\r', text) else {
            rest = None;
            return Some(text);
        };
        let ended = if text[end..].starts_with(b"\r\n") {
            2
        } else {
            1
        };
        rest = Some(&text[end + ended..]);
        Some(&text[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::wire::frame::close_frame;

    fn written(frames: &[u8]) -> (String, Vec<u8>) {
        let (mut events, mut answers) = (Vec::new(), Vec::new());
        let mut client = EventClient::new(1500);
        for byte in frames {
            let written = client.write(&[*byte], &mut events, &mut answers);
            written.expect("readable frames");
        }
        (String::from_utf8(events).expect("text"), answers)
    }

    #[test]
    fn a_message_is_an_event_with_all_of_its_lines() {
        let frame = data_frame(Opcode::Text, "a\r\nb\rc\n\nid: 7".as_bytes(), None);
        let (events, answers) = written(&frame);
        let expected = "data: a\ndata: b\ndata: c\ndata: \ndata: id: 7\n\n";
        assert_eq!((events.as_str(), answers.len()), (expected, 0));
        let (events, _) = written(&data_frame(Opcode::Binary, &[0, 255], None));
        assert_eq!(events, "event: binary\ndata: AP8=\n\n");
        let (events, _) = written(&data_frame(Opcode::Text, b"", None));
        assert_eq!(events, "data: \n\n", "an empty message is one too");
    }

    #[test]
    fn an_event_that_was_encoded_before_is_the_same() {
        let message = Message::Text("one\ntwo".into());
        let (events, _) = written(&event_frame(Some("17-0"), &message));
        assert_eq!(events, "id: 17-0\ndata: one\ndata: two\n\n");
        let (events, _) = written(&gap_frame());
        assert_eq!(events, "event: gap\ndata: {}\n\n");
    }

    #[test]
    fn i8_an_event_is_no_larger_than_it_is_counted_for() {
        let id = "18446744073709551615-18446744073709551615";
        let breaks = "\n".repeat(5000);
        let texts = ["", "x", "\n", "\r\n\r\n", "a\nb", &*breaks];
        let texts = texts.map(|text| Message::Text(text.into()));
        let bytes = [0, 1, 2, 3, 5000].map(|count| Message::Binary(vec![0; count].into()));
        for message in texts.iter().chain(&bytes) {
            let frame = event_frame(Some(id), message);
            assert!(frame.len() <= event_bytes_max(message), "{}", frame.len());
        }
    }

    #[test]
    fn a_ping_is_a_comment_that_the_gateway_answers() {
        let (events, answers) = written(&control_frame(Opcode::Ping, b"12", None));
        assert_eq!(events, ":\n\n");
        assert_eq!(answers, control_frame(Opcode::Pong, b"12", Some(MASK)));
    }

    #[test]
    fn a_close_frame_is_the_last_event() {
        let (events, answers) = written(&close_frame(1012, "a \"move\"", None));
        let data = r#"{"code":1012,"reason":"a \"move\""}"#;
        assert_eq!(
            events,
            format!("event: close\nretry: 1500\ndata: {data}\n\n")
        );
        assert_eq!(answers, close_frame(1012, "", Some(MASK)));
    }
}
