//! How often something is repeated that may end at once, such as a query whose answer changes all
//! the time.

use std::time::{Duration, Instant};

/// A token bucket: some answers in a row at once, then one for each interval.
#[derive(Clone, Debug)]
pub struct Pace {
    interval: Duration,
    burst: u32,
    /// When the bucket is full again.
    full: Option<Instant>,
}

impl Pace {
    /// So many at once, then one for each interval.
    pub const fn new(burst: u32, interval: Duration) -> Self {
        Self {
            interval,
            burst,
            full: None,
        }
    }

    /// How long to wait before the next query, which is counted.
    pub fn wait(&mut self, now: Instant) -> Duration {
        let full = self.full.map_or(now, |full| full.max(now));
        self.full = Some(full + self.interval);
        let slack = self.interval * self.burst.saturating_sub(1);
        full.saturating_duration_since(now).saturating_sub(slack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    #[test]
    fn some_go_at_once_then_one_for_each_interval_and_rest_fills_it_again() {
        let start = clock::now();
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(2, second);
        let waits: Vec<_> = (0..4).map(|_| pace.wait(start).as_secs()).collect();
        assert_eq!(waits, [0, 0, 1, 2]);
        let later = start + second * 10;
        assert_eq!(pace.wait(later), Duration::ZERO);
        assert_eq!(pace.wait(later), Duration::ZERO);
        assert_eq!(pace.wait(later), second);
    }
}
