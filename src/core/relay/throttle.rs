//! How fast a client may send. Bytes are counted after they were read, so an excess is made up for
//! afterwards: the client is not read for a while, or the session ends.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::limits::Over;
use crate::core::limits::{Meter, SharedMeter};
use crate::core::session::wheel::Tick;

/// Most bytes that are read from a throttled client before they are counted. Small, because an
/// excess of one read cannot be prevented.
pub(super) const READ_MAX: usize = 16 * 1024;

/// What a client may send, and what it has sent.
#[derive(Debug)]
pub struct Throttle {
    /// The session's own meter.
    pub own: Meter,
    /// The meter of all sessions of its principal.
    pub shared: Option<Arc<SharedMeter>>,
    /// What happens to a client that exceeds it.
    pub over: Over,
    /// Nanoseconds of a tick.
    pub tick: u64,
    /// The node's time at tick 0, in nanoseconds.
    pub began: u64,
    /// Messages and bytes that have been counted.
    pub counted: (u64, u64),
    /// The reading of the fragments that have been counted.
    pub fragments: u16,
    /// Until when the client is not read.
    pub until: Option<Tick>,
}

/// A throttle as plain data. The principal's meter is not part of it: it is full again in another
/// process, and counts for new sessions only.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PackedThrottle {
    own: Meter,
    over: Over,
    tick: u64,
    counted: (u64, u64),
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fragments: Option<u16>,
    paused_for: Option<Tick>,
}

/// A reading of what a client has sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) messages: u64,
    /// Frames that did not end a message; it wraps around.
    pub(super) fragments: u16,
    pub(super) bytes: u64,
}

impl Throttle {
    /// Nothing has been counted, and no meter is shared. A tick has this many nanoseconds, and tick
    /// 0 is the node's time 0.
    pub fn new(own: Meter, over: Over, tick: u64) -> Self {
        Self {
            own,
            shared: None,
            over,
            tick,
            began: 0,
            counted: (0, 0),
            fragments: 0,
            until: None,
        }
    }

    fn time(&self, now: Tick) -> u64 {
        self.began + u64::from(now) * self.tick
    }

    /// The throttle for another process.
    pub(super) fn pack(&self, now: Tick) -> PackedThrottle {
        PackedThrottle {
            own: self.own.shifted(self.time(now), 0),
            over: self.over,
            tick: self.tick,
            counted: self.counted,
            fragments: Some(self.fragments).filter(|count| *count > 0),
            paused_for: self.until.map(|until| until.saturating_sub(now)),
        }
    }

    /// Ends a pause that is over.
    pub(super) fn resume(&mut self, now: Tick) {
        self.until = self.until.filter(|until| now < *until);
    }

    /// Counts what has come since the last reading. Returns when the client is within its rate
    /// again, if it exceeds it now. A fragment costs as much as a message: otherwise a message that
    /// never ends would be free.
    pub(super) fn charge(&mut self, reading: Reading, now: Tick) -> Option<Tick> {
        let fragments = std::mem::replace(&mut self.fragments, reading.fragments);
        let fragments = reading.fragments.wrapping_sub(fragments);
        let counted = (reading.messages, reading.bytes);
        let before = std::mem::replace(&mut self.counted, counted);
        let messages = counted.0.saturating_sub(before.0) + u64::from(fragments);
        let bytes = counted.1.saturating_sub(before.1);
        if (messages, bytes) == (0, 0) {
            return None;
        }
        let time = self.time(now);
        let own = self.own.charge(messages, bytes, time);
        let shared = self.shared.as_ref();
        let shared = shared.map_or(0, |shared| shared.charge(messages, bytes, time));
        let wait = own.max(shared);
        let ticks = Tick::try_from(wait.div_ceil(self.tick)).unwrap_or(Tick::MAX);
        (wait > 0).then(|| now.saturating_add(ticks))
    }
}

impl PackedThrottle {
    /// The throttle by this process's clock.
    pub(super) fn unpack(self, now: Tick) -> Throttle {
        let mut throttle = Throttle {
            own: self.own,
            shared: None,
            over: self.over,
            // A tick of zero would divide by zero.
            tick: self.tick.max(1),
            began: 0,
            counted: self.counted,
            fragments: self.fragments.unwrap_or(0),
            until: self.paused_for.map(|left| now.saturating_add(left)),
        };
        throttle.own = throttle.own.shifted(0, throttle.time(now));
        throttle
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::limits::Pace;

    fn throttle() -> Throttle {
        let pace = Pace::with_burst(1.0, Duration::from_secs(1));
        Throttle::new(Meter::new(Some(pace), None), Over::Slow, 100_000_000)
    }

    fn reading(messages: u64, fragments: u16) -> Reading {
        Reading {
            messages,
            fragments,
            bytes: messages * 10,
        }
    }

    #[test]
    fn an_excess_is_made_up_for_in_time() {
        let mut throttle = throttle();
        assert_eq!(throttle.charge(reading(1, 0), 0), None);
        assert_eq!(throttle.charge(reading(1, 0), 0), None, "nothing new");
        assert_eq!(throttle.charge(reading(4, 0), 0), Some(30));
        assert_eq!(throttle.charge(reading(5, 0), 100), None, "made up for");
    }

    #[test]
    fn a_fragment_costs_as_much_as_a_message_across_the_wrap() {
        let mut throttle = throttle();
        throttle.fragments = u16::MAX;
        assert_eq!(throttle.charge(reading(0, 2), 0), Some(20));
    }

    #[test]
    fn a_pause_ends_at_its_tick() {
        let mut throttle = throttle();
        throttle.until = Some(10);
        throttle.resume(9);
        assert_eq!(throttle.until, Some(10));
        throttle.resume(10);
        assert_eq!(throttle.until, None);
    }

    #[test]
    fn a_pause_and_an_excess_are_the_same_in_another_process() {
        let mut throttle = throttle();
        throttle.charge(reading(4, 3), 50);
        throttle.until = Some(70);
        let packed = throttle.pack(60);
        let mut other = packed.unpack(9_000);
        assert_eq!((other.until, other.fragments), (Some(9_010), 3));
        let more = reading(5, 3);
        let (here, there) = (throttle.charge(more, 60), other.charge(more, 9_000));
        assert_eq!(here.map(|at| at - 60), there.map(|at| at - 9_000));
    }
}
