//! Messages of the client that wait for the next backend. A message of which a backend had a part
//! is never given to another one (at most once).

use crate::core::wire::position::Position;

/// What a direction holds for its next sink.
#[derive(Clone, Debug)]
pub(super) enum HoldMode {
    /// The sink is not replaced: what it does not take is lost with it.
    Never,
    /// The sink may be replaced; all bytes go to the present one.
    Ready,
    /// The present sink gets the rest of a message and then `close_frame`; what follows is held.
    Leaving(Box<Leaving>),
    /// All bytes are held.
    Holding(Box<HoldBuffer>),
}

/// A sink that is left at the next message boundary.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaving {
    /// The close frame for it.
    pub(super) close_frame: Vec<u8>,
    pub(super) held: Box<HoldBuffer>,
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

impl HoldMode {
    /// Whether the sink may be replaced.
    pub(super) fn is_possible(&self) -> bool {
        !matches!(self, Self::Never)
    }

    /// Whether the sink is being left, or was.
    pub(super) fn is_active(&self) -> bool {
        matches!(self, Self::Leaving(_) | Self::Holding(_))
    }

    /// Whether a message boundary is awaited at which the sink is left.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self, Self::Leaving(_))
    }

    /// The buffer, if all bytes go into it.
    pub(super) fn holding(&self) -> Option<&HoldBuffer> {
        match self {
            Self::Holding(held) => Some(held),
            _ => None,
        }
    }

    /// The buffer, if there is one.
    pub(super) fn buffer(&self) -> Option<&HoldBuffer> {
        match self {
            Self::Leaving(leaving) => Some(&leaving.held),
            Self::Holding(held) => Some(held),
            Self::Never | Self::Ready => None,
        }
    }

    /// Takes bytes, if all bytes are held. Returns whether it did.
    pub(super) fn take_in(&mut self, bytes: &[u8]) -> bool {
        let Self::Holding(held) = self else {
            return false;
        };
        held.bytes.extend_from_slice(bytes);
        true
    }

    /// The boundary has come: everything is held from here on. Returns the close frame for the sink
    /// that is left.
    pub(super) fn leave_here(&mut self) -> Option<Vec<u8>> {
        let Self::Leaving(leaving) = self else {
            return None;
        };
        let Leaving { close_frame, held } = std::mem::take(&mut **leaving);
        *self = Self::Holding(held);
        Some(close_frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaving(bytes: &[u8], max: usize) -> HoldMode {
        let bytes = bytes.to_vec();
        HoldMode::Leaving(Box::new(Leaving {
            close_frame: b"close".to_vec(),
            held: Box::new(HoldBuffer { bytes, max }),
        }))
    }

    #[test]
    fn bytes_are_held_only_behind_the_boundary() {
        let mut hold = leaving(b"held", 10);
        assert!(hold.is_leaving() && hold.is_active() && hold.holding().is_none());
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

    #[test]
    fn a_direction_that_never_holds_takes_nothing_in() {
        for mut hold in [HoldMode::Never, HoldMode::Ready] {
            assert!(!hold.take_in(b"a") && hold.buffer().is_none());
            assert_eq!(hold.leave_here(), None);
            assert!(!hold.is_active());
        }
        assert!(HoldMode::Ready.is_possible() && !HoldMode::Never.is_possible());
    }
}
