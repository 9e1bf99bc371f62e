//! The log of refused subscriptions. Clients may choose the names that a broker refuses, so not
//! each has a line.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::clock;

/// Between two lines.
const EVERY: Duration = Duration::from_secs(10);

static LOG: Mutex<RefusalLog> = Mutex::new(RefusalLog {
    last: None,
    left_out: 0,
});

/// Logs that a subscription is refused, unless one was logged of late; the next line counts those
/// that were left out.
pub(super) fn log_refusal(topic: &dyn Display, reason: &str) {
    let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(left_out) = log.note(clock::now()) {
        tracing::warn!(%topic, reason, left_out, "the broker refuses a subscription");
    }
}

#[derive(Debug)]
struct RefusalLog {
    last: Option<Instant>,
    left_out: u64,
}

impl RefusalLog {
    /// Notes a refusal. Returns how many were left out before it, if it is to be logged.
    fn note(&mut self, now: Instant) -> Option<u64> {
        let since = |last| now.saturating_duration_since(last);
        if self.last.is_some_and(|last| since(last) < EVERY) {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i12_refusals_that_clients_cause_do_not_flood_the_log() {
        let start = clock::now();
        let mut log = RefusalLog {
            last: None,
            left_out: 0,
        };
        let times = (0..1000).map(|n| start + Duration::from_millis(n * 20));
        let logged: Vec<_> = times.filter_map(|now| log.note(now)).collect();
        assert_eq!(logged, [0, 499]);
    }
}
