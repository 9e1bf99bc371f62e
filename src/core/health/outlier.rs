//! What ordinary traffic says about a backend: failures in a row eject it for a time that grows with
//! each ejection. How many members of an upstream may be ejected at once is decided by the caller,
//! who sees the others.

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

    /// Other thresholds from now on; an ejection that runs keeps its end.
    pub const fn set_thresholds(&mut self, passive: &Passive) {
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
