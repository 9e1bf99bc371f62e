//! Messages of a client that the function has not accepted.

use serde::{Deserialize, Serialize};

use crate::core::functions::grip::events::append;
use crate::core::functions::grip::malformed::Malformed;

/// Bytes that a function may leave, as with Pushpin. With more it has to accept some.
const LEFT_MAX: usize = 200_000;
/// What each message counts beside its payload, so that empty ones are bounded too.
const PART_BYTES: usize = 32;

/// What is sent with the next request, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Unaccepted {
    messages: Vec<Part>,
    /// Bytes at the front that the function has had before.
    offered: usize,
    /// It has accepted a part of what it was sent last.
    progressed: bool,
}

/// A message, or the rest of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    is_text: bool,
    #[serde(with = "crate::base::blob")]
    payload: Vec<u8>,
}

impl Unaccepted {
    pub(super) fn push(&mut self, is_text: bool, payload: Vec<u8>) {
        self.messages.push(Part { is_text, payload });
    }

    pub(super) fn write(&self, body: &mut Vec<u8>) {
        for part in &self.messages {
            let kind = match part.is_text {
                true => "TEXT",
                false => "BINARY",
            };
            append(body, kind, &part.payload);
        }
    }

    pub(super) fn offered(&self) -> usize {
        self.offered
    }

    pub(super) fn progressed(&self) -> bool {
        self.progressed
    }

    fn bytes(&self) -> usize {
        self.messages.iter().map(|part| part.payload.len()).sum()
    }

    /// Drops what the function has accepted: so many bytes of what it was sent, or all.
    pub(super) fn accept(&mut self, bytes: Option<usize>) -> Result<(), Malformed> {
        let sent = self.bytes();
        let mut left = match bytes {
            Some(bytes) if bytes > sent => return Err(Malformed),
            Some(bytes) => bytes,
            None => sent,
        };
        self.progressed = false;
        let mut taken = 0;
        for part in &mut self.messages {
            if part.payload.len() > left {
                part.payload.drain(..left);
                break;
            }
            left -= part.payload.len();
            taken += 1;
        }
        self.messages.drain(..taken);
        self.offered = self.bytes();
        self.progressed = self.offered > 0 && self.offered < sent;
        let left = self.offered + PART_BYTES * self.messages.len();
        match left > LEFT_MAX && !self.progressed {
            true => Err(Malformed),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(texts: &[&str]) -> Unaccepted {
        let mut all = Unaccepted::default();
        for text in texts {
            all.push(true, text.as_bytes().to_vec());
        }
        all
    }

    fn body(all: &Unaccepted) -> String {
        let mut body = Vec::new();
        all.write(&mut body);
        String::from_utf8(body).expect("text")
    }

    #[test]
    fn what_is_not_accepted_is_sent_again() {
        for (accepted, body_then, offered, progressed) in [
            (None, "", 0, false),
            (Some(7), "", 0, false),
            (Some(6), "TEXT 1\r\nd\r\n", 1, true),
            (Some(3), "TEXT 4\r\nabcd\r\n", 4, true),
            (Some(1), "TEXT 2\r\nyz\r\nTEXT 4\r\nabcd\r\n", 6, true),
            (Some(0), "TEXT 3\r\nxyz\r\nTEXT 4\r\nabcd\r\n", 7, false),
        ] {
            let mut all = waiting(&["xyz", "abcd"]);
            assert_eq!(all.offered(), 0);
            assert_eq!(all.accept(accepted), Ok(()));
            assert_eq!(body(&all), body_then, "{accepted:?}");
            assert_eq!((all.offered(), all.progressed()), (offered, progressed));
        }
    }

    #[test]
    fn an_empty_message_is_accepted_with_what_is_before_it() {
        let mut all = waiting(&["", "x", ""]);
        all.accept(Some(0)).expect("nothing of it");
        assert_eq!(body(&all), "TEXT 1\r\nx\r\nTEXT\r\n");
        all.accept(Some(1)).expect("all of it");
        assert_eq!(body(&all), "");
    }

    #[test]
    fn i8_a_function_that_accepts_nothing_fails_when_too_much_waits() {
        let long = "x".repeat(LEFT_MAX - PART_BYTES);
        let mut all = waiting(&[&long]);
        assert_eq!(all.accept(Some(0)), Ok(()));
        all.push(false, vec![1]);
        assert_eq!(all.clone().accept(Some(0)), Err(Malformed));
        assert_eq!(all.accept(Some(LEFT_MAX + 2)), Err(Malformed));
        assert_eq!(all.accept(Some(1)), Ok(()));
        // Empty messages behind one that it leaves.
        let mut all = waiting(&["x"]);
        (0..LEFT_MAX / PART_BYTES).for_each(|_| all.push(true, Vec::new()));
        assert_eq!(all.accept(Some(0)), Err(Malformed));
    }
}
