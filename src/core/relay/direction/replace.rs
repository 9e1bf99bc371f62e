//! How a direction changes its sink or its source. The old sink gets whole messages and a close
//! frame; what follows is held for the next one, within a bound.

use crate::core::relay::backlog::{Backlog, Waiting};
use crate::core::relay::close_filter::CloseFilter;
use crate::core::relay::direction::{Direction, SinkState, SourceState, early_bytes};
use crate::core::relay::hold::{Hold, HoldBuffer, Lost};
use crate::core::wire::position::Cut;

impl Direction {
    /// Prepares for other sinks: from now on it is known where in the stream the sink is.
    pub(in crate::core::relay) fn allow_replacement(&mut self) {
        self.replaceable = true;
    }

    /// Leaves the sink at the next message boundary with `close_frame`, and holds what follows,
    /// `max` bytes at most.
    pub(in crate::core::relay) fn leave_sink(&mut self, close_frame: Vec<u8>, max: usize) {
        self.ping = None;
        let cut = self.cut();
        // Whole messages of which no byte was sent to this sink go to the next one.
        let bytes = cut.map_or_else(Vec::new, |cut| self.backlog.split_off(cut.at));
        self.hold = Some(Box::new(Hold {
            close_frame: Some(close_frame),
            held: HoldBuffer { bytes, max },
        }));
        if cut.is_some() {
            self.leave_here();
        }
    }

    /// Stays with the sink, if its boundary has not come. Returns whether it does.
    pub(in crate::core::relay) fn stay(&mut self) -> bool {
        let leaving = self.is_leaving();
        if leaving {
            self.hold = None;
        }
        leaving
    }

    /// Whether the sink that is left has everything that it gets.
    pub(in crate::core::relay) fn has_left(&self) -> bool {
        let holding = self.holding().is_some();
        holding && self.backlog.is_empty() && !self.unflushed
    }

    /// The sink is lost: holds what the next one may have. `None`, and nothing changed, where a
    /// message that is not complete has been begun towards the lost one.
    pub(in crate::core::relay) fn salvage(&mut self, max: usize) -> Option<Lost> {
        // A sink that is being left is inside a message, so there is no cut.
        let cut = self.cut()?;
        let bytes = self.backlog.split_off(cut.at);
        let lost = Lost {
            messages: cut.broken,
            bytes: self.backlog.len() as u64,
        };
        self.backlog.clear();
        self.unflushed = false;
        self.ping = None;
        self.sink = SinkState::Open;
        if self.holding().is_none() {
            self.hold = Some(Box::new(Hold::new(bytes, max)));
        }
        Some(lost)
    }

    /// Where the sink can be left; the backlog is cut there. `None` inside an incomplete message.
    fn cut(&self) -> Option<Cut> {
        if self.backlog.is_empty() {
            let here = Cut { at: 0, broken: 0 };
            let possible = self.holding().is_some() || self.tracker.at_message_boundary();
            return possible.then_some(here);
        }
        self.backlog.cut()
    }

    /// Another sink takes the place of the one that was left; it gets what was held.
    pub(in crate::core::relay) fn attach_sink(&mut self) {
        self.replaceable = true;
        let held = self.hold.take().map(|hold| hold.held).unwrap_or_default();
        self.backlog = Backlog::from(Waiting {
            bytes: held.bytes,
            ..Waiting::default()
        });
        self.unflushed = false;
        self.sink = SinkState::Open;
    }

    /// Another source takes the place of the one that ended; `early` came behind its 101.
    pub(in crate::core::relay) fn attach_source(&mut self, early: Vec<u8>) {
        debug_assert!(self.whole(), "another source cannot finish a message");
        self.source = SourceState::Open;
        self.early = early_bytes(early);
    }

    /// What is lost with the sink if no other one comes: what it has not taken, what is held for
    /// the next one, and the message that the source has not completed. Nothing once it was
    /// dropped.
    pub(in crate::core::relay) fn unsent(&self) -> Lost {
        if !self.replaceable && self.hold.is_none() {
            return Lost::default();
        }
        let (held, waiting) = (self.held_loss(), self.backlog.loss());
        let open = self.source == SourceState::Open;
        let begun = open && !self.tracker.at_message_boundary();
        Lost {
            messages: held.messages + waiting.messages + u64::from(begun),
            bytes: held.bytes + waiting.bytes,
        }
    }

    /// What is lost of the bytes that are held, if no other sink comes.
    pub(in crate::core::relay) fn held_loss(&self) -> Lost {
        let held = self.held_for_next();
        held.map_or_else(Lost::default, HoldBuffer::loss)
    }

    /// Sets which close frames of the source are not forwarded.
    pub(in crate::core::relay) fn filter_closes(&mut self, filter: CloseFilter) {
        self.filter = filter;
    }
}
