//! A tap on a session: an observer that sees the frames of both sides as they come.

use crate::core::relay::direction::SourceState;
use crate::core::relay::machine::Machine;
use crate::core::relay::side::Side;
use crate::core::relay::tap::{FrameObserver, Scan, Tap};

impl Machine {
    /// Reports the frames of both sides to `observer` from now on, with the first `payload_max`
    /// bytes of their payload if that is given. Replaces the observer before.
    pub fn tap(&mut self, observer: Box<dyn FrameObserver>, payload_max: Option<usize>) {
        self.untap("another tap began");
        let scan = |side| {
            let tracker = &self.sent_by(side).tracker;
            let secret = tracker
                .in_band()
                .map_or(&[][..], |matcher| matcher.prefix());
            Scan::new(tracker.position().remaining, payload_max, secret)
        };
        let tap = Tap::new(scan(Side::Client), scan(Side::Backend), observer);
        self.tap = Some(Box::new(tap));
        // The beginning of a frame that has come and is not decided about.
        for side in [Side::Client, Side::Backend] {
            let direction = self.sent_by(side);
            let injected = direction.injected.as_ref();
            let undecided = injected.map_or(&[][..], |injected| &injected.undecided);
            let begun = [direction.tracker.carry(), undecided].concat();
            self.see(side, &begun);
        }
    }

    /// Whether the session is tapped, by an observer that still takes frames.
    pub fn tapped(&self) -> bool {
        self.tap.as_ref().is_some_and(|tap| !tap.is_over())
    }

    /// Ends the tap, if there is one.
    pub fn untap(&mut self, reason: &'static str) {
        if let Some(tap) = self.tap.take() {
            tap.end(reason);
        }
    }

    /// Reports a chunk of a side, which begins with the carry, before it is inspected.
    #[cold]
    pub(super) fn see_chunk(&mut self, from: Side, chunk: &[u8]) {
        let direction = self.sent_by(from);
        if direction.source == SourceState::Open {
            let known = direction.tracker.carry().len();
            self.see(from, &chunk[known.min(chunk.len())..]);
        }
    }

    /// Reports the bytes that the backend sent behind its 101.
    pub(super) fn see_early(&mut self) {
        if self.tap.is_some()
            && let Some(early) = self.down.early.take()
        {
            self.see(Side::Backend, &early);
            self.down.early = Some(early);
        }
    }

    fn see(&mut self, from: Side, bytes: &[u8]) {
        let tap = self.tap.as_mut();
        if tap.is_some_and(|tap| !tap.follow(from, bytes)) {
            self.tap = None;
        }
    }
}
