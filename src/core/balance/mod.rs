//! Which backend gets a session. A policy gives an order of candidates for a key; the walk along
//! it passes over members that are not eligible and takes the first that is. Who is eligible is the
//! caller's to say, through `Members`.

use std::fmt;

use serde::Serialize;

use crate::base::names::BackendId;
use crate::config::snapshot::Policy;

/// What a balancer asks about the members of its upstream. An index is a position among the members
/// sorted by id, as they were given to `Balancer::new`.
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
            Self::OverBound => "has more than its bounded share of the sessions",
            Self::Tried => "was tried already for this request",
        })
    }
}

/// A step of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which member.
    pub index: usize,
    /// Taken, or why not.
    pub verdict: Result<(), Passed>,
}

/// The policy of an upstream over its members, healthy or not. It is built once for a routing
/// table and then only read.
#[derive(Debug)]
pub struct Balancer {
    weights: Vec<u32>,
}

impl Balancer {
    /// `members` are sorted by id, ids distinct, weights at least 1.
    pub fn new(policy: Policy, bounded_load: Option<f64>, members: &[(BackendId, u32)]) -> Self {
        let _ = (policy, bounded_load);
        Self {
            weights: members.iter().map(|(_, weight)| *weight).collect(),
        }
    }

    /// The member that gets the session; `None` if nobody may. Without a key, hash policies start
    /// at a random point; `random` must then be drawn for each request.
    pub fn pick(&self, key: Option<&[u8]>, members: &impl Members, random: u64) -> Option<usize> {
        let _ = (key, random);
        (0..members.len()).find(|index| members.verdict(*index).is_ok())
    }

    /// The walk that `pick` does for the same arguments, step by step; the last step is the one
    /// taken, unless nobody may.
    pub fn walk(&self, key: Option<&[u8]>, members: &impl Members, random: u64) -> Vec<Candidate> {
        let picked = self.pick(key, members, random);
        (0..=picked.unwrap_or_else(|| members.len().saturating_sub(1)))
            .map(|index| Candidate {
                index,
                verdict: members.verdict(index),
            })
            .collect()
    }

    /// Which share of the keys each member holds while all are eligible, in 0..=1.
    pub fn shares(&self) -> Vec<f64> {
        let total: f64 = self.weights.iter().map(|weight| f64::from(*weight)).sum();
        self.weights
            .iter()
            .map(|weight| f64::from(*weight) / total)
            .collect()
    }
}
