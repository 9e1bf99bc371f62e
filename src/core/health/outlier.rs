//! Passive health: consecutive failures of ordinary traffic eject a backend for a time that grows
//! with each ejection. Failed dials always count, since no client can cause them. All other
//! failures count only if several clients had them (`streak`): one client alone never ejects a
//! backend. The caller, which sees all members of an upstream, decides how many may be ejected at
//! once.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::config::snapshot::Passive;
use crate::core::health::{Meanwhile, Streak, Witness};

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

/// How a backend did with one connection of one client.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// The outcome.
    pub outcome: Outcome,
    /// For whom.
    pub witness: Witness,
    /// Sessions granted by the backend so far.
    pub established: u64,
}

/// A backend that takes no sessions for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// When it began.
    pub since: Instant,
    /// The end of the ejection.
    pub until: Instant,
    /// The last of the failures.
    pub cause: Outcome,
}

/// Counts failures in a row, and ejections.
#[derive(Clone, Debug)]
pub struct Outlier {
    passive: Passive,
    /// Failed dials in a row, while not ejected.
    dials: u32,
    /// All other failures in a row.
    streak: Streak,
    /// Sessions lost right after their 101.
    lost_early: u64,
    /// How often the next ejection is doubled.
    doublings: u32,
    /// The last ejection, over or not.
    last: Option<Ejection>,
    /// Until when `doublings` has been forgiven.
    forgiven: Option<Instant>,
}

impl Outlier {
    /// Nothing has been heard of the backend yet.
    pub fn new(passive: &Passive) -> Self {
        Self {
            passive: *passive,
            dials: 0,
            streak: Streak::default(),
            lost_early: 0,
            doublings: 0,
            last: None,
            forgiven: None,
        }
    }

    /// Other thresholds from now on. An ejection that runs keeps its end, unless passive health is
    /// turned off: then all is forgotten.
    pub fn set_thresholds(&mut self, passive: &Passive) {
        if passive.failures == 0 {
            *self = Self::new(passive);
        }
        self.passive = *passive;
    }

    /// Takes an outcome; returns the ejection if that begins one. Without `may_eject` failures are
    /// counted, and the first one after it becomes true ejects. What happens during an ejection
    /// (sessions that were under way, or panic) counts for nothing.
    pub fn report(&mut self, report: Report, now: Instant, may_eject: bool) -> Option<Ejection> {
        let outcome = report.outcome;
        self.lost_early += u64::from(outcome == Outcome::EarlyClose);
        if self.passive.failures == 0 || self.ejection(now).is_some() {
            return None;
        }
        self.forgive(now);
        let meanwhile = Meanwhile {
            established: report.established,
            lost_early: self.lost_early,
        };
        match outcome {
            Outcome::Ok => {
                self.begin_again();
                return None;
            }
            Outcome::ConnectFailed => self.dials = self.dials.saturating_add(1),
            Outcome::HandshakeRefused | Outcome::HandshakeTimedOut | Outcome::EarlyClose => {
                self.streak.add(report.witness, meanwhile, now);
            }
        }
        if !self.is_unwell(meanwhile) || !may_eject {
            return None;
        }
        let factor = 1_u32.checked_shl(self.doublings).unwrap_or(u32::MAX);
        let time = self.passive.ejection.saturating_mul(factor);
        let until = now.checked_add(time.min(self.passive.ejection_max))?;
        self.begin_again();
        self.doublings = self.doublings.saturating_add(1);
        self.forgiven = Some(until);
        self.last = Some(Ejection {
            since: now,
            until,
            cause: outcome,
        });
        self.last
    }

    fn is_unwell(&self, meanwhile: Meanwhile) -> bool {
        let failures = self.passive.failures;
        let several = self.streak.clients() >= self.passive.clients as usize
            && self.streak.clients() as u64 > self.streak.good(meanwhile);
        self.dials >= failures
            || (several && self.dials.saturating_add(self.streak.failures()) >= failures)
    }

    fn begin_again(&mut self) {
        self.dials = 0;
        self.streak = Streak::default();
    }

    /// Ends the ejection that runs at `now`, if it began before `tried` and a probe can disprove
    /// what caused it: failed dials by any probe that passes, failed handshakes by one that speaks
    /// HTTP. What happens to sessions after their 101 no probe sees. Answers whether it ended one.
    pub fn disprove(&mut self, tried: Instant, speaks_http: bool, now: Instant) -> bool {
        let Some(ejection) = self.ejection(now) else {
            return false;
        };
        let disproved = match ejection.cause {
            Outcome::ConnectFailed => true,
            Outcome::HandshakeRefused | Outcome::HandshakeTimedOut => speaks_http,
            Outcome::EarlyClose | Outcome::Ok => false,
        };
        let ends = disproved && tried >= ejection.since;
        if ends {
            self.last = Some(Ejection {
                until: now,
                ..ejection
            });
            self.forgiven = Some(now);
        }
        ends
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
mod tests;
