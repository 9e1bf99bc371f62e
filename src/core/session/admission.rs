//! How many new sessions a gateway takes that has just started: a rate that grows, then no limit.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::snapshot::Admission;

/// The gate in front of new sessions, while the ramp lasts.
#[derive(Debug)]
pub struct Gate {
    ramp: Admission,
    began: Instant,
    over: AtomicBool,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    /// Seconds since the gate opened.
    at: f64,
}

impl Gate {
    /// Opens at `now`.
    pub fn new(ramp: Admission, now: Instant) -> Self {
        Self {
            ramp,
            began: now,
            over: AtomicBool::new(false),
            bucket: Mutex::new(Bucket {
                tokens: 1.0,
                at: 0.0,
            }),
        }
    }

    /// Lets one more in.
    ///
    /// # Errors
    /// How long the ramp still lasts, for one too many.
    pub fn admit(&self, now: Instant) -> Result<(), Duration> {
        if self.over.load(Relaxed) {
            return Ok(());
        }
        let at = now.saturating_duration_since(self.began);
        let Some(left) = self
            .ramp
            .ramp
            .checked_sub(at)
            .filter(|left| !left.is_zero())
        else {
            self.over.store(true, Relaxed);
            return Ok(());
        };
        let at = at.as_secs_f64();
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = self.rate(at);
        let mean = (rate + self.rate(bucket.at)) / 2.0;
        let gained = mean * (at - bucket.at).max(0.0);
        // Unused admissions of more than a second are not saved for a later burst.
        bucket.tokens = (bucket.tokens + gained).min(rate.max(1.0));
        bucket.at = bucket.at.max(at);
        if bucket.tokens < 1.0 {
            return Err(left);
        }
        bucket.tokens -= 1.0;
        Ok(())
    }

    /// New sessions a second, so many seconds after the start.
    fn rate(&self, at: f64) -> f64 {
        let part = (at / self.ramp.ramp.as_secs_f64()).min(1.0);
        self.ramp.from + (self.ramp.to - self.ramp.from) * part
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    #[test]
    fn a_crowd_is_let_in_by_the_ramp_and_then_freely() {
        let ramp = Admission {
            ramp: Duration::from_secs(10),
            from: 10.0,
            to: 110.0,
        };
        let start = clock::now();
        let gate = Gate::new(ramp, start);
        let mut let_in = vec![0; 10];
        for tick in 0..10_000_u32 {
            let now = start + Duration::from_millis(tick.into());
            if gate.admit(now).is_ok() {
                let_in[tick as usize / 1_000] += 1;
            }
        }
        for (second, count) in (0..).zip(&let_in) {
            let ideal = 10 + second * 10 + 5;
            assert!((ideal - 2..=ideal + 2).contains(count), "{let_in:?}");
        }
        let left = gate.admit(start + Duration::from_millis(9_999));
        assert!(left.is_ok() || left == Err(Duration::from_millis(1)));
        for _ in 0..1_000 {
            assert_eq!(gate.admit(start + Duration::from_secs(10)), Ok(()));
        }
    }

    #[test]
    fn unused_admissions_do_not_accumulate() {
        let ramp = Admission {
            ramp: Duration::from_secs(100),
            from: 10.0,
            to: 10.0,
        };
        let start = clock::now();
        let gate = Gate::new(ramp, start);
        let later = start + Duration::from_secs(50);
        let let_in = (0..1_000).filter(|_| gate.admit(later).is_ok()).count();
        assert_eq!(let_in, 10);
        assert_eq!(gate.admit(later), Err(Duration::from_secs(50)));
    }
}
