//! A token bucket in one number: the time at which it will be full again (the generic cell rate
//! algorithm). Taking moves that time on; what would move it further ahead than a whole bucket
//! takes to fill is refused.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::limits::Rate;

/// What a bucket holds and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// Nanoseconds until one unit is there again.
    unit: f64,
    /// Nanoseconds until an empty bucket is full.
    whole: u64,
}

impl Pace {
    /// A bucket with the capacity of one period of the rate.
    pub fn new(rate: Rate) -> Self {
        Self::with_burst(
            f64::from(rate.count) / rate.period.as_secs_f64(),
            rate.period,
        )
    }

    /// Units per second, above zero; the capacity is what accrues within `burst`, at least one
    /// unit.
    pub fn with_burst(per_second: f64, burst: Duration) -> Self {
        let unit = 1e9 / per_second;
        let whole = u64::try_from(burst.as_nanos()).unwrap_or(u64::MAX);
        Self {
            unit,
            whole: whole.max(unit.ceil() as u64),
        }
    }

    /// Takes one unit from the bucket that is full again at `full_at`.
    ///
    /// # Errors
    /// How long until there is one; nothing has been taken.
    pub fn take(&self, full_at: &mut u64, now: u64) -> Result<(), Duration> {
        let then = (*full_at).max(now).saturating_add(self.cost(1));
        match (then - now).checked_sub(self.whole) {
            None | Some(0) => {
                *full_at = then;
                Ok(())
            }
            Some(wait) => Err(Duration::from_nanos(wait)),
        }
    }

    /// Charges `units` that have already been used, even if the bucket lacks them. Returns the time
    /// until the debt is paid, zero without debt.
    pub fn charge(&self, full_at: &mut u64, now: u64, units: u64) -> u64 {
        let then = (*full_at).max(now).saturating_add(self.cost(units));
        *full_at = then;
        (then - now).saturating_sub(self.whole)
    }

    fn cost(&self, units: u64) -> u64 {
        (units as f64 * self.unit) as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_full_bucket_comes_at_once_and_then_the_rate() {
        let pace = Pace::new("10/s".parse().expect("a rate"));
        let mut full_at = 0;
        let now = 5 * SECOND;
        for _ in 0..10 {
            assert_eq!(pace.take(&mut full_at, now), Ok(()));
        }
        let wait = pace.take(&mut full_at, now).expect_err("an eleventh");
        assert_eq!(wait, Duration::from_millis(100));
        assert!(pace.take(&mut full_at, now + SECOND / 10 - 1).is_err());
        assert_eq!(pace.take(&mut full_at, now + SECOND / 10), Ok(()));
        // A refusal costs nothing.
        assert_eq!(pace.take(&mut full_at, now + SECOND / 5), Ok(()));
    }

    #[test]
    fn what_is_owed_has_to_come_in_first() {
        let pace = Pace::with_burst(1000.0, Duration::from_secs(1));
        let mut full_at = 0;
        assert_eq!(pace.charge(&mut full_at, SECOND, 1000), 0);
        assert_eq!(pace.charge(&mut full_at, SECOND, 500), SECOND / 2);
        assert_eq!(pace.charge(&mut full_at, 3 * SECOND, 500), 0);
        let slow = Pace::with_burst(0.1, Duration::from_secs(1));
        assert_eq!(slow.take(&mut 0, SECOND), Ok(()), "one fits, however slow");
    }

    proptest! {
        /// Over any interval the bucket grants at most its capacity plus what accrued, and exactly
        /// that much under constant demand.
        #[test]
        fn no_more_passes_than_a_bucket_and_the_rate(
            count in 2_u32..1000,
            waits in prop::collection::vec(0_u64..50_000_000, 1..300),
        ) {
            let pace = Pace::new(Rate { count, period: Duration::from_secs(1) });
            let (mut full_at, mut now, mut passed) = (0, SECOND, 0_u64);
            // It is full until its first use; what accrues before that is lost.
            let start = now + waits[0];
            let mut lost = 0;
            for wait in waits {
                now += wait;
                lost += now.saturating_sub(full_at.max(start));
                while pace.take(&mut full_at, now).is_ok() {
                    passed += 1;
                }
                let came = (now - start) as f64 / SECOND as f64 * f64::from(count);
                let most = f64::from(count) + came;
                prop_assert!(passed as f64 <= most + 1.01, "{passed} of {most}");
                // A full bucket accrues nothing.
                let least = most - lost as f64 / SECOND as f64 * f64::from(count);
                prop_assert!(passed as f64 >= least - 1.01, "{passed} of {least}");
            }
        }
    }
}
