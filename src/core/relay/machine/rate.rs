//! Rate limiting of clients: the gateway pauses reading from a client that sends too fast, or ends
//! the session.

use crate::config::limits::Over;
use crate::core::relay::direction::{ClosePlace, mask};
use crate::core::relay::machine::Machine;
use crate::core::relay::throttle::Reading;
use crate::core::session::record::{Cause, EndedBy};
use crate::core::session::wheel::Tick;
use crate::core::wire::frame::close_frame;

impl Machine {
    /// Whether the client is not read at this time.
    pub(super) fn pauses(&mut self, now: Tick) -> bool {
        let closing = self.ending().is_some();
        let Some(throttle) = &mut self.throttle else {
            return false;
        };
        throttle.resume(now);
        if throttle.until.is_some() && closing {
            // The client's close frame follows messages that exceed the rate limit. They are read
            // and dropped.
            throttle.until = None;
            self.close_backend();
            return false;
        }
        throttle.until.is_some()
    }

    /// When reading from the client resumes, if it is paused.
    pub(super) fn resumes_at(&self) -> Option<Tick> {
        self.throttle.as_ref().and_then(|throttle| throttle.until)
    }

    /// Counts what the client has sent, and acts on an excess.
    pub(super) fn measure(&mut self, now: Tick) {
        let closing = self.ending().is_some();
        let traffic = self.up.tracker.traffic();
        let reading = Reading {
            messages: traffic.messages() + u64::from(traffic.ping) + u64::from(traffic.pong),
            fragments: self.up.tracker.fragments(),
            bytes: traffic.bytes,
        };
        let Some(throttle) = &mut self.throttle else {
            return;
        };
        let Some(until) = throttle.charge(reading, now) else {
            return;
        };
        match throttle.over {
            // The pause of a session that is closing ends at the next read; see `pauses`.
            Over::Slow => throttle.until = Some(until),
            Over::Close if closing => {}
            Over::Close => self.end_exceeded(now),
        }
    }

    /// Ends the session of a client that sends too fast. What it sent so far was forwarded; the
    /// rest is dropped.
    fn end_exceeded(&mut self, now: Tick) {
        const TEXT: &str = "message rate exceeded";
        self.stop_moving();
        self.end(EndedBy::Gateway, Cause::RateLimited, Some(1008), now);
        let frame = close_frame(1008, TEXT, None);
        self.down.queue_close(frame, ClosePlace::NextBoundary);
        self.down.finish();
        let frame = close_frame(1008, &format!("client: {TEXT}"), Some(mask(self.entropy)));
        self.up.queue_close(frame, ClosePlace::NextBoundary);
    }
}
