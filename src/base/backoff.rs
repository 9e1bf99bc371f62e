//! Waiting longer after each failure, so that what is broken is not also hammered.

use std::time::Duration;

/// Exponential waits from `first` to `last`, each shortened by up to a quarter so that many waiters
/// spread out.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    last: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits begin at `first`, double with each failure, and never pass `last`.
    pub const fn new(first: Duration, last: Duration) -> Self {
        Self {
            first,
            last,
            failures: 0,
        }
    }

    /// The wait after one more failure; `random` in 0..1 is the caller's.
    pub fn next(&mut self, random: f64) -> Duration {
        let doubled = self
            .first
            .saturating_mul(1_u32.checked_shl(self.failures.min(20)).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        doubled
            .min(self.last)
            .mul_f64(1.0 - random.clamp(0.0, 1.0) / 4.0)
    }

    /// After a success the next failure waits `first` again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_last_and_start_anew_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(50));
        let waits: Vec<_> = (0..4).map(|_| backoff.next(0.0).as_millis()).collect();
        assert_eq!(waits, [10, 20, 40, 50]);
        backoff.reset();
        assert_eq!(backoff.next(1.0), Duration::from_micros(7_500));
        for _ in 0..100 {
            assert!(backoff.next(0.5) <= Duration::from_millis(50));
        }
    }
}
