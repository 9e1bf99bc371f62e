//! The load of an upstream over time: how many sessions it had at most of late, and how many begin.

use std::collections::VecDeque;
use std::time::Duration;

/// Parts of the time that a peak is kept for.
const SLOTS: u64 = 60;
/// For how long sessions that begin are averaged.
const RATE_OVER: Duration = Duration::from_secs(60);

/// Times are since any fixed moment.
#[derive(Debug)]
pub struct LoadHistory {
    /// When it was first looked at.
    since: Option<Duration>,
    /// The greatest number of sessions, by slot; the oldest first.
    peaks: VecDeque<(u64, u64)>,
    slot: Duration,
    /// Sessions that had begun at a time, for [`RATE_OVER`] and one look more.
    began: VecDeque<(Duration, u64)>,
}

/// What is known of the load at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// The most sessions there were at a time.
    pub peak: u64,
    /// Whether the whole time was watched.
    pub whole: bool,
    /// Sessions that begin in a second.
    pub per_second: f64,
}

impl LoadHistory {
    /// Peaks are kept for `span`.
    pub fn new(span: Duration) -> Self {
        Self {
            since: None,
            peaks: VecDeque::new(),
            slot: slot(span),
            began: VecDeque::new(),
        }
    }

    /// Peaks are kept for `span` from now on. What is remembered already stays.
    pub fn keep_for(&mut self, span: Duration) {
        if self.slot != slot(span) {
            let peak = self.peaks.iter().map(|(_, peak)| *peak).max();
            self.slot = slot(span);
            self.peaks.clear();
            let last = self.began.back().map(|(at, _)| self.number(*at));
            self.peaks.extend(last.zip(peak));
        }
    }

    /// Takes a look: live sessions, and how many have begun since any fixed moment. That number may
    /// fall when a backend is forgotten.
    pub fn look(&mut self, sessions: u64, began: u64, now: Duration) {
        self.since.get_or_insert(now);
        let number = self.number(now);
        match self.peaks.back_mut() {
            Some((last, peak)) if *last == number => *peak = sessions.max(*peak),
            _ => self.peaks.push_back((number, sessions)),
        }
        // One slot more than the span, since the first is not whole.
        while self
            .peaks
            .front()
            .is_some_and(|(first, _)| *first + SLOTS < number)
        {
            self.peaks.pop_front();
        }
        let before = self.began.back().map_or(began, |(_, total)| *total);
        // What was forgotten is taken out of the past, too.
        let forgotten = before.saturating_sub(began);
        for (_, total) in &mut self.began {
            *total = total.saturating_sub(forgotten);
        }
        self.began.push_back((now, began));
        let old = now.saturating_sub(RATE_OVER);
        while self.began.get(1).is_some_and(|(at, _)| *at <= old) {
            self.began.pop_front();
        }
    }

    /// What is known at `now`.
    pub fn seen(&self, now: Duration) -> Seen {
        let span = self.slot * u32::try_from(SLOTS).unwrap_or(u32::MAX);
        Seen {
            peak: self.peaks.iter().map(|(_, peak)| *peak).max().unwrap_or(0),
            whole: self
                .since
                .is_some_and(|since| now.saturating_sub(since) >= span),
            per_second: self.per_second(),
        }
    }

    fn per_second(&self) -> f64 {
        let (Some((from, before)), Some((to, after))) = (self.began.front(), self.began.back())
        else {
            return 0.0;
        };
        let passed = to.saturating_sub(*from).as_secs_f64();
        if passed > 0.0 {
            after.saturating_sub(*before) as f64 / passed
        } else {
            0.0
        }
    }

    fn number(&self, at: Duration) -> u64 {
        u64::try_from(at.as_nanos() / self.slot.as_nanos().max(1)).unwrap_or(u64::MAX)
    }
}

fn slot(span: Duration) -> Duration {
    (span / u32::try_from(SLOTS).unwrap_or(u32::MAX)).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPAN: Duration = Duration::from_secs(600);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_peak_holds_for_its_time() {
        let mut history = LoadHistory::new(SPAN);
        assert_eq!(history.seen(at(1)), Seen::default());
        for second in 1_000..2_000 {
            let sessions = if second == 1_100 { 90 } else { 10 };
            history.look(sessions, 0, at(second));
            let seen = history.seen(at(second));
            let expected = if (1_100..=1_700).contains(&second) {
                90
            } else {
                10
            };
            // To the length of a slot.
            if !(1_700..=1_710).contains(&second) {
                assert_eq!(seen.peak, expected, "{second}");
            }
            assert_eq!(seen.whole, second >= 1_600, "{second}");
        }
    }

    #[test]
    fn another_time_keeps_what_is_known() {
        let mut history = LoadHistory::new(SPAN);
        history.look(90, 0, at(10));
        history.look(10, 0, at(20));
        history.keep_for(SPAN * 2);
        assert_eq!(history.seen(at(20)).peak, 90);
        history.look(10, 0, at(1_400));
        assert_eq!(history.seen(at(1_400)).peak, 10);
    }

    #[test]
    fn the_rate_is_that_of_a_minute_and_survives_what_is_forgotten() {
        let mut history = LoadHistory::new(SPAN);
        for second in (0..=120).step_by(5) {
            // Two in a second; after a minute a backend with 1,000 old ones is forgotten.
            let total = 5_000 + 2 * second - if second > 60 { 1_000 } else { 0 };
            history.look(1, total, at(second));
        }
        let rate = history.seen(at(120)).per_second;
        // The look at which they were forgotten counts nothing.
        assert!((1.8..=2.0).contains(&rate), "{rate}");
    }

    proptest! {
        #[test]
        fn i8_what_is_kept_is_bounded(looks in prop::collection::vec((0_u64..9, 1_u64..20), 1..400)) {
            let mut history = LoadHistory::new(SPAN);
            let mut now = 0;
            for (sessions, passed) in looks {
                now += passed;
                history.look(sessions, now, at(now));
                prop_assert!(history.peaks.len() as u64 <= SLOTS + 1);
                prop_assert!(history.began.len() <= 62);
                prop_assert!(history.seen(at(now)).per_second <= 20.0);
            }
        }
    }
}
