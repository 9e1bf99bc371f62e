//! The members of an upstream as a balancer sees them, and why it passes over one.

use std::fmt;

use serde::Serialize;

/// What a balancer needs to know about the members of its upstream. An index is a position among
/// the members sorted by id, as they were given to `Balancer::new`.
pub trait Members {
    /// How many there are: as many as the balancer was built with.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Live sessions now.
    fn sessions(&self, index: usize) -> u64;

    /// Whether it may take the session. Panic is decided in here: then the unhealthy may.
    ///
    /// # Errors
    /// The reason if it may not.
    fn verdict(&self, index: usize) -> Result<(), Passed>;

    /// Which part of its share it takes now, in 0..=1; less than 1 while it wakes up.
    fn awake(&self, _index: usize) -> f64 {
        1.0
    }

    /// Whether it is well, regardless of one request.
    fn standing(&self, _index: usize) -> Standing {
        Standing::Well
    }

    /// Which part of the keys of its unwell members a level passes on, in 0..=1.
    fn passes_on(&self, _level: usize) -> f64 {
        0.0
    }
}

/// How a member stands, regardless of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is on its way out: its level does without it.
    Out,
    /// It may take sessions.
    Well,
    /// It is missing: its probe fails, traffic to it fails, or it is disabled.
    Unwell,
}

/// Why a candidate was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Passed {
    /// Its probe fails.
    Unhealthy,
    /// Traffic to it failed.
    Ejected,
    /// It keeps its sessions and takes no new ones.
    Draining,
    /// The operator took it out.
    Disabled,
    /// It has more than its share of the sessions (`bounded_load`).
    OverBound,
    /// It wakes up and takes only some of its keys yet (`slow_start`).
    SlowStart,
    /// It has as many sessions of this gateway as it may (`sessions_per_backend`).
    Full,
    /// This request was there already.
    Tried,
}

impl Passed {
    /// The name that metrics and the admin API show.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
            Self::OverBound => "over_bound",
            Self::SlowStart => "slow_start",
            Self::Full => "full",
            Self::Tried => "tried",
        }
    }
}

/// What people read.
impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unhealthy => "its probe fails",
            Self::Ejected => "ejected after failures of ordinary traffic",
            Self::Draining => "draining, takes no new sessions",
            Self::Disabled => "disabled",
            Self::Full => "has as many sessions of this gateway as it may",
            Self::OverBound => "has more than its bounded share of the sessions",
            Self::SlowStart => "slow start: wakes up, and this key is not among its first",
            Self::Tried => "was tried already for this request",
        })
    }
}
