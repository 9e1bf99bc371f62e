//! Messages of the client that wait for the next backend. A message of which a backend had a part
//! is never given to another one (at most once).

use crate::core::wire::position::Position;

/// What a direction holds for its next sink.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    /// The close frame for the present sink, which first gets the rest of a message. `None` once
    /// that boundary has come; then all bytes are held.
    pub(super) close_frame: Option<Vec<u8>>,
    pub(super) held: HoldBuffer,
}

/// Whole frames for the next sink, beginning at a message boundary.
#[derive(Clone, Debug, Default)]
pub(super) struct HoldBuffer {
    pub(super) bytes: Vec<u8>,
    /// Most bytes; then the source is not read.
    pub(super) max: usize,
}

/// What was lost with a sink, or with a sink that never came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl HoldBuffer {
    /// Bytes that still fit, `most` at most.
    pub(super) fn room(&self, most: usize) -> usize {
        most.min(self.max.saturating_sub(self.bytes.len()))
    }

    /// What is lost if no sink takes it.
    pub(super) fn loss(&self) -> Lost {
        Lost {
            messages: Position::default().messages(&self.bytes),
            bytes: self.bytes.len() as u64,
        }
    }
}

impl Hold {
    /// Holds all bytes: `bytes` and what follows, `max` bytes at most.
    pub(super) fn new(bytes: Vec<u8>, max: usize) -> Self {
        Self {
            close_frame: None,
            held: HoldBuffer { bytes, max },
        }
    }

    /// Whether a message boundary is awaited at which the sink is left.
    pub(super) fn is_leaving(&self) -> bool {
        self.close_frame.is_some()
    }

    /// The hold buffer, unless a close frame is waiting to leave.
    pub(super) fn holding(&self) -> Option<&HoldBuffer> {
        (!self.is_leaving()).then_some(&self.held)
    }

    /// What is held so far.
    pub(super) fn buffer(&self) -> &HoldBuffer {
        &self.held
    }

    /// Takes bytes, if all bytes are held. Returns whether it did.
    pub(super) fn take_in(&mut self, bytes: &[u8]) -> bool {
        if self.is_leaving() {
            return false;
        }
        self.held.bytes.extend_from_slice(bytes);
        true
    }

    /// The boundary has come: everything is held from here on. Returns the close frame for the sink
    /// that is left.
    pub(super) fn leave_here(&mut self) -> Option<Vec<u8>> {
        self.close_frame.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_held_only_behind_the_boundary() {
        let mut hold = Hold::new(b"held".to_vec(), 10);
        hold.close_frame = Some(b"close".to_vec());
        assert!(hold.is_leaving() && hold.holding().is_none());
        assert!(!hold.take_in(b"for the old one"));
        assert_eq!(hold.leave_here().as_deref(), Some(&b"close"[..]));
        assert_eq!(hold.leave_here(), None, "there is one close frame");
        assert!(hold.take_in(b"more") && !hold.is_leaving());
        assert_eq!(hold.holding().expect("it holds").bytes, b"heldmore");
    }

    #[test]
    fn a_buffer_has_room_up_to_its_bound() {
        let held = HoldBuffer {
            bytes: vec![0; 7],
            max: 10,
        };
        assert_eq!((held.room(2), held.room(100)), (2, 3));
        let over = HoldBuffer { max: 5, ..held };
        assert_eq!(over.room(1), 0);
    }

    #[test]
    fn a_loss_counts_whole_messages_and_all_bytes() {
        let held = HoldBuffer {
            bytes: vec![0x81, 1, b'a', 0x89, 0, 0x82, 0, 0x81, 9, b'b'],
            max: 100,
        };
        let loss = held.loss();
        assert_eq!((loss.messages, loss.bytes), (2, 10));
    }
}
