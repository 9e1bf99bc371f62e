//! What the sink gets next.

use crate::core::relay::direction::{Direction, Entropy, SinkState};

/// What a driver does next for one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output<'m> {
    /// Write these bytes; then `wrote`.
    Write(&'m [u8]),
    /// Flush what was written; then `flushed`.
    Flush,
    /// End the sending side of the stream; then `finished`.
    Finish,
    /// Nothing.
    Idle,
}

impl Direction {
    /// What the sink gets next. The order is: bytes that wait, frames of the gateway's own, a
    /// flush, the end of the stream.
    #[inline]
    pub(in crate::core::relay) fn output(&mut self, entropy: Entropy) -> Output<'_> {
        if self.sink == SinkState::Lost {
            return Output::Idle;
        }
        if self.backlog.is_empty() && self.holding().is_none() && self.tracker.at_boundary() {
            if self.has_only_message() {
                return Output::Write(self.only_message());
            }
            self.insert_own(entropy);
        }
        if !self.backlog.is_empty() {
            return Output::Write(self.backlog.waiting());
        }
        if self.unflushed {
            return Output::Flush;
        }
        if self.sink == SinkState::Finishing && !self.has_queued_close() {
            return Output::Finish;
        }
        Output::Idle
    }

    /// The sink took this many bytes of the last `Output::Write`.
    pub(in crate::core::relay) fn wrote(&mut self, bytes: usize) {
        if self.backlog.is_empty() {
            self.store_only_message();
        }
        self.activity.moved |= self.backlog.wrote(bytes);
        self.unflushed = true;
        self.activity.wrote = true;
    }

    /// Whether exactly one message of the gateway's own waits and may be written now. It is written
    /// from the frame that all its receivers share, without a copy.
    fn has_only_message(&self) -> bool {
        self.tracker.at_message_boundary() && self.takes_own() && !self.only_message().is_empty()
    }

    fn only_message(&self) -> &[u8] {
        let injected = self.injected.as_ref();
        injected
            .and_then(|injected| injected.queued.only())
            .unwrap_or_default()
    }

    /// A part of that message was written: the rest stands before everything else.
    fn store_only_message(&mut self) {
        let injected = self.injected.as_mut();
        if let Some(frame) = injected.and_then(|injected| injected.queued.take_first()) {
            self.backlog.push_own(&frame, self.tracker.position());
        }
    }

    /// The sink has flushed what it took.
    pub(in crate::core::relay) fn flushed(&mut self) {
        self.unflushed = false;
    }

    /// The sink's stream was ended.
    pub(in crate::core::relay) fn sink_finished(&mut self) {
        self.sink = SinkState::Finished;
    }
}
