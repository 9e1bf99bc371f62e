//! Messages and bytes together: what a session may send, and what all sessions of a principal may.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::core::limits::Pace;

/// A session's own buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Meter {
    messages: Option<(Pace, u64)>,
    bytes: Option<(Pace, u64)>,
}

impl Meter {
    /// Full buckets; `None` is no limit.
    pub fn new(messages: Option<Pace>, bytes: Option<Pace>) -> Self {
        Self {
            messages: messages.map(|pace| (pace, 0)),
            bytes: bytes.map(|pace| (pace, 0)),
        }
    }

    /// Charges what was received. Returns the nanoseconds until the debt is paid.
    pub fn charge(&mut self, messages: u64, bytes: u64, now: u64) -> u64 {
        let charge = |bucket: &mut Option<(Pace, u64)>, units| {
            let bucket = bucket.as_mut();
            bucket.map_or(0, |(pace, full_at)| pace.charge(full_at, now, units))
        };
        charge(&mut self.messages, messages).max(charge(&mut self.bytes, bytes))
    }

    /// The same meter by a clock that shows `to` when this one shows `from`.
    pub fn shifted(self, from: u64, to: u64) -> Self {
        let shift = |(pace, full_at): (Pace, u64)| {
            let owed = full_at.saturating_sub(from);
            (pace, to.saturating_add(owed))
        };
        Self {
            messages: self.messages.map(shift),
            bytes: self.bytes.map(shift),
        }
    }

    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.messages.is_none() && self.bytes.is_none()
    }
}

/// Buckets that sessions on several workers share. One addition to each for a read, and for
/// sessions only that have them.
#[derive(Debug, Default)]
pub struct SharedMeter {
    messages: Option<(Pace, AtomicU64)>,
    bytes: Option<(Pace, AtomicU64)>,
}

impl SharedMeter {
    /// Full buckets; `None` is no limit.
    pub fn new(messages: Option<Pace>, bytes: Option<Pace>) -> Self {
        let full = || AtomicU64::new(0);
        Self {
            messages: messages.map(|pace| (pace, full())),
            bytes: bytes.map(|pace| (pace, full())),
        }
    }

    /// See [`Meter::charge`].
    pub fn charge(&self, messages: u64, bytes: u64, now: u64) -> u64 {
        let charge = |bucket: &Option<(Pace, AtomicU64)>, units| {
            let Some((pace, full_at)) = bucket else {
                return 0;
            };
            let mut wait = 0;
            let taken = |before: u64| {
                let mut then = before;
                wait = pace.charge(&mut then, now, units);
                Some(then)
            };
            // It always has a next value, so it always succeeds.
            let _ = full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken);
            wait
        };
        charge(&self.messages, messages).max(charge(&self.bytes, bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_shared_is_charged_as_what_is_not(
            calls in prop::collection::vec((0_u64..5, 0_u64..500, 0_u64..300_000_000), 1..100),
        ) {
            let messages = Some(Pace::with_burst(10.0, Duration::from_secs(1)));
            let bytes = Some(Pace::with_burst(1000.0, Duration::from_secs(1)));
            let (mut own, shared) = (Meter::new(messages, bytes), SharedMeter::new(messages, bytes));
            let mut now = 1_000_000_000;
            for (some, more, wait) in calls {
                now += wait;
                prop_assert_eq!(own.charge(some, more, now), shared.charge(some, more, now));
            }
        }
    }

    #[test]
    fn the_scarcer_of_the_two_decides() {
        let pace = |rate| Some(Pace::with_burst(rate, Duration::from_secs(1)));
        let mut meter = Meter::new(pace(10.0), pace(1000.0));
        assert_eq!(meter.charge(5, 500, 1), 0);
        assert_eq!(meter.charge(5, 1500, 1), 1_000_000_000);
        assert!(Meter::new(None, None).is_empty() && !meter.is_empty());
    }
}
