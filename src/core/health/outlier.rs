//! What ordinary traffic says about a backend: failures in a row eject it for a time that grows
//! with each ejection. How many members of an upstream may be ejected at once is decided by the
//! caller, who sees the others.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::config::snapshot::Passive;

/// How a backend did with one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It answered an ordinary request, or a session outlived `early_close`. Not to be reported at
    /// the 101 already: a backend that drops each session after it would never fail twice in a row.
    Ok,
    /// No connection, or no TLS on it.
    ConnectFailed,
    /// The answer to the upgrade was a 5xx or no valid 101.
    HandshakeRefused,
    /// No answer to the upgrade in time.
    HandshakeTimedOut,
    /// The session ended abnormally within `early_close`.
    EarlyClose,
}

impl Outcome {
    /// The name that metrics and the admin API show.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ConnectFailed => "connect_failed",
            Self::HandshakeRefused => "handshake_refused",
            Self::HandshakeTimedOut => "handshake_timed_out",
            Self::EarlyClose => "early_close",
        }
    }
}

/// A backend that takes no sessions for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// When it may come back.
    pub until: Instant,
    /// The last of the failures.
    pub cause: Outcome,
}

/// Counts failures in a row, and ejections.
#[derive(Clone, Debug)]
pub struct Outlier {
    passive: Passive,
    /// In a row, while not ejected.
    failures: u32,
    /// How often the next ejection is doubled.
    doublings: u32,
    /// The last ejection, over or not.
    last: Option<Ejection>,
    /// Until when `doublings` has been forgiven.
    forgiven: Option<Instant>,
}

impl Outlier {
    /// Nothing has been heard of the backend yet.
    pub const fn new(passive: &Passive) -> Self {
        Self {
            passive: *passive,
            failures: 0,
            doublings: 0,
            last: None,
            forgiven: None,
        }
    }

    /// Other thresholds from now on. An ejection that runs keeps its end, unless passive health is
    /// turned off: then all is forgotten.
    pub const fn set_thresholds(&mut self, passive: &Passive) {
        if passive.failures == 0 {
            *self = Self::new(passive);
        }
        self.passive = *passive;
    }

    /// Takes an outcome; returns the ejection if that begins one. Without `may_eject` failures are
    /// counted, and the first one after it becomes true ejects. What happens during an ejection
    /// (sessions that were under way, or panic) counts for nothing.
    pub fn report(&mut self, outcome: Outcome, now: Instant, may_eject: bool) -> Option<Ejection> {
        if self.passive.failures == 0 || self.ejection(now).is_some() {
            return None;
        }
        self.forgive(now);
        if outcome == Outcome::Ok {
            self.failures = 0;
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures < self.passive.failures || !may_eject {
            return None;
        }
        let factor = 1_u32.checked_shl(self.doublings).unwrap_or(u32::MAX);
        let time = self.passive.ejection.saturating_mul(factor);
        let until = now.checked_add(time.min(self.passive.ejection_max))?;
        self.failures = 0;
        self.doublings = self.doublings.saturating_add(1);
        self.forgiven = Some(until);
        self.last = Some(Ejection {
            until,
            cause: outcome,
        });
        self.last
    }

    /// The ejection that runs at `now`.
    pub fn ejection(&self, now: Instant) -> Option<Ejection> {
        self.last.filter(|ejection| now < ejection.until)
    }

    /// Each `ejection_max` without an ejection takes one doubling back.
    fn forgive(&mut self, now: Instant) {
        let Some(since) = self.forgiven else { return };
        let good = now.saturating_duration_since(since);
        let step = self.passive.ejection_max.max(Duration::from_millis(1));
        let steps = u32::try_from(good.as_nanos() / step.as_nanos()).unwrap_or(u32::MAX);
        self.doublings = self.doublings.saturating_sub(steps);
        self.forgiven = if self.doublings == 0 {
            None
        } else {
            Some(since + step * steps)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSIVE: Passive = Passive {
        failures: 3,
        ejection: Duration::from_secs(10),
        ejection_max: Duration::from_secs(60),
        ejected_share_max: 0.5,
        early_close: Duration::from_secs(1),
    };

    /// A clock and a backend.
    struct Scene {
        now: Instant,
        outlier: Outlier,
    }

    impl Scene {
        fn new(passive: &Passive) -> Self {
            Self {
                now: crate::base::clock::now(),
                outlier: Outlier::new(passive),
            }
        }

        fn report(&mut self, outcome: Outcome) -> Option<Ejection> {
            self.outlier.report(outcome, self.now, true)
        }

        /// Fails as often as it takes; returns for how many seconds that ejects.
        fn eject(&mut self) -> u64 {
            for _ in 1..PASSIVE.failures {
                assert_eq!(self.report(Outcome::ConnectFailed), None);
            }
            let ejection = self
                .report(Outcome::EarlyClose)
                .expect("the last failure ejects");
            assert_eq!(ejection.cause, Outcome::EarlyClose);
            (ejection.until - self.now).as_secs()
        }

        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }
    }

    #[test]
    fn failures_in_a_row_eject_until_the_time_is_over() {
        let mut scene = Scene::new(&PASSIVE);
        for _ in 0..10 {
            assert_eq!(scene.report(Outcome::HandshakeRefused), None);
            assert_eq!(scene.report(Outcome::HandshakeTimedOut), None);
            assert_eq!(scene.report(Outcome::Ok), None);
        }
        assert_eq!(scene.eject(), 10);
        scene.pass(9);
        assert!(scene.outlier.ejection(scene.now).is_some());
        scene.pass(1);
        assert_eq!(scene.outlier.ejection(scene.now), None);
    }

    #[test]
    fn ejections_grow_to_the_longest() {
        let mut scene = Scene::new(&PASSIVE);
        for expected in [10, 20, 40, 60, 60] {
            assert_eq!(scene.eject(), expected);
            scene.pass(expected);
        }
    }

    #[test]
    fn good_times_take_doublings_back_one_by_one() {
        let mut scene = Scene::new(&PASSIVE);
        for expected in [10, 20, 40] {
            assert_eq!(scene.eject(), expected);
            scene.pass(expected);
        }
        scene.pass(59);
        scene.report(Outcome::Ok);
        scene.pass(1);
        scene.report(Outcome::Ok);
        scene.pass(61);
        assert_eq!(scene.eject(), 20, "two of three doublings are forgiven");
        scene.pass(20 + 1_000_000);
        assert_eq!(scene.eject(), 10);
    }

    #[test]
    fn what_happens_during_an_ejection_counts_for_nothing() {
        let mut scene = Scene::new(&PASSIVE);
        scene.eject();
        scene.pass(5);
        for _ in 0..10 {
            assert_eq!(scene.report(Outcome::ConnectFailed), None);
        }
        scene.pass(5);
        assert_eq!(scene.eject(), 20);
    }

    #[test]
    fn where_nobody_may_be_ejected_the_next_failure_is_waited_for() {
        let mut scene = Scene::new(&PASSIVE);
        let now = scene.now;
        for _ in 0..5 {
            let refused = scene.outlier.report(Outcome::ConnectFailed, now, false);
            assert_eq!(refused, None);
        }
        assert!(scene.report(Outcome::ConnectFailed).is_some());
    }

    #[test]
    fn zero_failures_turn_it_off() {
        let mut scene = Scene::new(&Passive {
            failures: 0,
            ..PASSIVE
        });
        for _ in 0..10 {
            assert_eq!(scene.report(Outcome::ConnectFailed), None);
        }
    }

    #[test]
    fn any_number_of_ejections_and_any_length_is_survived() {
        let mut scene = Scene::new(&Passive {
            failures: 1,
            ejection: Duration::from_secs(1),
            ejection_max: Duration::ZERO,
            ..PASSIVE
        });
        for _ in 0..100 {
            assert!(scene.report(Outcome::ConnectFailed).is_some());
        }
        scene.pass(1_000_000_000);
        assert!(scene.report(Outcome::ConnectFailed).is_some());
        scene.outlier.set_thresholds(&Passive {
            failures: 1,
            ejection: Duration::MAX,
            ejection_max: Duration::MAX,
            ..PASSIVE
        });
        assert_eq!(scene.report(Outcome::ConnectFailed), None, "no such time");
    }
}
