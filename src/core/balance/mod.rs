//! Which backend gets a session. A policy gives an order of candidates for a key; the walk along it
//! skips ineligible members and takes the first eligible one. The caller decides eligibility
//! through `Members`: health changes, the order does not (I3).
//!
//! The placement of a key by hash policies is the same on every gateway and in every version (I2).
//! It is specified, for other implementations too, in `ring.rs`, `rendezvous.rs` and `maglev.rs`,
//! and verified by `tests/vectors/placement.json`. The cost is that a client that chooses its keys
//! can choose them all for one backend; bounded load limits that.

mod bound;
mod levels;
mod maglev;
mod members;
mod order;
mod random_two;
mod rendezvous;
mod ring;
mod round_robin;
mod spill;
#[cfg(test)]
mod tests;

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

use crate::base::names::BackendId;
use crate::config::snapshot::Policy;
use crate::core::balance::bound::{Bound, Crowd};
use crate::core::balance::maglev::Maglev;
use crate::core::balance::order::{Ascending, Rank, mixed};
use crate::core::balance::random_two::RandomTwo;
use crate::core::balance::rendezvous::Rendezvous;
use crate::core::balance::ring::Ring;
use crate::core::balance::round_robin::RoundRobin;

pub use levels::{LevelWalk, Levels, Placed, Preference};
pub use members::{Members, Passed, Standing};
pub use spill::LevelHealth;

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
pub struct Balancer {
    order: Order,
    bound: Option<Bound>,
    weights: Box<[u32]>,
}

/// The order in which candidates are tried.
enum Order {
    Ring(Ring),
    Rendezvous(Rendezvous),
    Maglev(Maglev),
    LeastSessions,
    RoundRobin(RoundRobin),
    RandomTwo(RandomTwo),
}

/// What a walk found.
enum Found {
    /// This member takes it.
    Taken(usize),
    /// None takes it; the first that may is in slow start.
    Waking(usize),
    /// No member may.
    None,
}

/// Whether a round-robin turn is taken or only looked at.
#[derive(Clone, Copy, PartialEq)]
enum Turn {
    Take,
    Peek,
}

/// After this many steps a pick checks whether any member is eligible at all: an unsuccessful walk
/// along 10,000 members takes a thousand times as long as a successful one.
const HOPELESS: usize = 32;

/// Weights are multiplied by this, so that a waking member's can be a part of one.
const WEIGHT_UNIT: u32 = 1024;
/// Takes a key's place among those that a waking member takes first apart from its place on a ring.
const WAKING: u64 = 0x5e55_11e0;

impl Balancer {
    /// `members` are sorted by id, ids distinct, weights at least 1. With `bounded_load`, which is
    /// 1 or more, a member with more than this multiple of its share of the sessions is skipped; a
    /// pick then reads the sessions of every member, not only of those that it passes.
    pub fn new(policy: Policy, bounded_load: Option<f64>, members: &[(BackendId, u32)]) -> Self {
        debug_assert!(members.is_sorted_by(|a, b| a.0 < b.0), "members by id");
        debug_assert!(members.iter().all(|(_, weight)| *weight > 0), "weights");
        let order = match policy {
            Policy::ConsistentHash => Order::Ring(Ring::new(members)),
            Policy::Rendezvous => Order::Rendezvous(Rendezvous::new(members)),
            Policy::Maglev => Order::Maglev(Maglev::new(members)),
            Policy::LeastSessions => Order::LeastSessions,
            Policy::RoundRobin => Order::RoundRobin(RoundRobin::new(members)),
            Policy::RandomTwo => Order::RandomTwo(RandomTwo::new(members)),
        };
        Self {
            order,
            bound: bounded_load.map(Bound::new),
            weights: members.iter().map(|(_, weight)| *weight).collect(),
        }
    }

    /// The member that gets the session; `None` if none is eligible. `random` must be drawn for
    /// each request: without a key, hash policies place by it, and the others break ties with it.
    pub fn pick(&self, key: Option<&[u8]>, members: &impl Members, random: u64) -> Option<usize> {
        self.pick_noting(key, members, random, |_, _| {})
    }

    /// The same; calls `note` for each member that is passed over on the way.
    pub fn pick_noting(
        &self,
        key: Option<&[u8]>,
        members: &impl Members,
        random: u64,
        mut note: impl FnMut(usize, Passed),
    ) -> Option<usize> {
        let mut steps = 0;
        let found = self.decide(key, members, random, Turn::Take, |step| {
            if let Err(passed) = step.verdict {
                note(step.index, passed);
            }
            steps += 1;
            steps != HOPELESS || (0..members.len()).any(|index| members.verdict(index).is_ok())
        });
        match found {
            Found::Taken(index) | Found::Waking(index) => Some(index),
            Found::None => None,
        }
    }

    /// The first member of the order of a key at `point` that `fits`; `None` too if the policy does
    /// not place by key.
    fn first_of(&self, point: u64, fits: impl Fn(usize) -> bool) -> Option<usize> {
        let fits = |index: &usize| fits(*index);
        match &self.order {
            Order::Ring(ring) => ring.order(point).find(fits),
            Order::Rendezvous(rendezvous) => rendezvous.order(point).find(fits),
            Order::Maglev(maglev) => maglev.order(point).find(fits),
            Order::LeastSessions | Order::RoundRobin(_) | Order::RandomTwo(_) => None,
        }
    }

    /// The member that owns a key now, regardless of its sessions; `None` if the policy does not
    /// place by key, or no member is eligible.
    pub fn owner(&self, key: &[u8], members: &impl Members) -> Option<usize> {
        let point = xxh3_64(key);
        let gate = gate(mixed(point, WAKING));
        self.first_of(point, |index| {
            members.verdict(index).is_ok() && gate < members.awake(index)
        })
    }

    /// Whether keys decide.
    pub const fn is_keyed(&self) -> bool {
        matches!(
            self.order,
            Order::Ring(_) | Order::Rendezvous(_) | Order::Maglev(_)
        )
    }

    /// The walk that `pick` would do now for the same arguments, step by step. The last step is the
    /// chosen member, unless none is eligible. If all eligible members are over their bound, that
    /// is the first of them, listed a second time.
    pub fn walk(&self, key: Option<&[u8]>, members: &impl Members, random: u64) -> Vec<Candidate> {
        let mut steps = Vec::new();
        let found = self.decide(key, members, random, Turn::Peek, |step| {
            steps.push(step);
            true
        });
        if let Found::Waking(index) = found {
            let verdict = Ok(());
            steps.push(Candidate { index, verdict });
        }
        steps
    }

    /// Which share of the keys (or of the sessions, where keys do not decide) each member holds
    /// while all are eligible, in 0..=1. The first call on a large ring takes as long as building
    /// it did.
    pub fn shares(&self) -> Vec<f64> {
        match &self.order {
            Order::Ring(ring) => ring.shares().to_vec(),
            Order::Maglev(maglev) => maglev.shares(),
            Order::Rendezvous(_)
            | Order::LeastSessions
            | Order::RoundRobin(_)
            | Order::RandomTwo(_) => {
                let total: f64 = self.weights.iter().copied().map(f64::from).sum();
                let share = |weight: &u32| f64::from(*weight) / total;
                self.weights.iter().map(share).collect()
            }
        }
    }

    /// Calls `see` for each step; it returns whether to continue.
    fn decide(
        &self,
        key: Option<&[u8]>,
        members: &impl Members,
        random: u64,
        turn: Turn,
        mut see: impl FnMut(Candidate) -> bool,
    ) -> Found {
        debug_assert_eq!(
            members.len(),
            self.weights.len(),
            "the members it was built with"
        );
        let point = || key.map_or(random, xxh3_64);
        // The backend with the least load after the new session; of two idle ones, the heavier.
        let rank = |index: usize| Rank {
            amount: members.sessions(index) + 1,
            weight: waking_weight(self.weights[index], members.awake(index)),
            tie: mixed(random, index as u64),
        };
        // Whether a member in slow start takes a key depends only on the key, so each key moves
        // once.
        let keyed = || gate(mixed(point(), WAKING));
        match &self.order {
            Order::Ring(ring) => self.first(members, ring.order(point()), keyed(), see),
            Order::Rendezvous(hashes) => self.first(members, hashes.order(point()), keyed(), see),
            Order::Maglev(maglev) => self.first(members, maglev.order(point()), keyed(), see),
            Order::LeastSessions => {
                let least = (0..self.weights.len()).min_by_key(|index| rank(*index));
                let order = Ascending::new(self.weights.len(), least, rank);
                self.first(members, order, OPEN, see)
            }
            Order::RandomTwo(two) => self.first(members, two.order(random, rank), OPEN, see),
            Order::RoundRobin(turns) if turn == Turn::Peek => {
                let order = turns.order(turns.peek(random));
                self.first(members, order, gate(random), see)
            }
            Order::RoundRobin(turns) => {
                let mut passed = 0;
                let order = turns.order(turns.take(random));
                let picked = self.first(members, order, gate(random), |step| {
                    passed += usize::from(step.verdict.is_err());
                    see(step)
                });
                turns.skip(passed);
                picked
            }
        }
    }

    /// Walks `order` to the first member that is eligible, passes the slow-start gate and is below
    /// its bound; otherwise to the first eligible one.
    fn first(
        &self,
        members: &impl Members,
        order: impl Iterator<Item = usize>,
        gate: f64,
        mut see: impl FnMut(Candidate) -> bool,
    ) -> Found {
        let mut crowd = None;
        let mut eligible = None;
        for index in order {
            let mut verdict = members.verdict(index);
            if verdict.is_ok() && gate >= members.awake(index) {
                eligible = eligible.or(Some(Found::Waking(index)));
                verdict = Err(Passed::SlowStart);
            }
            if let (Ok(()), Some(bound)) = (verdict, self.bound) {
                let crowd = *crowd.get_or_insert_with(|| Crowd::of(members, &self.weights));
                if members.sessions(index) >= bound.sessions_max(crowd, self.weights[index]) {
                    eligible = eligible.or(Some(Found::Taken(index)));
                    verdict = Err(Passed::OverBound);
                }
            }
            let go_on = see(Candidate { index, verdict });
            if verdict.is_ok() {
                return Found::Taken(index);
            }
            if !go_on {
                break;
            }
        }
        // A member was below its bound when the sessions were summed, and has filled up since.
        if let Some(Found::Taken(index)) = eligible {
            let verdict = Ok(());
            see(Candidate { index, verdict });
        }
        eligible.unwrap_or(Found::None)
    }
}

/// Below the share of any member in slow start.
const OPEN: f64 = -1.0;

/// A number in 0..1 out of a random one.
fn gate(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

/// The part of a weight that a waking member has, at least a trace of it.
fn waking_weight(weight: u32, awake: f64) -> u32 {
    let whole = weight.saturating_mul(WEIGHT_UNIT);
    if awake >= 1.0 {
        return whole;
    }
    ((f64::from(whole) * awake) as u32).max(1)
}

/// Without what is inside: a ring may have millions of points.
impl fmt::Debug for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balancer")
            .field("members", &self.weights.len())
            .finish_non_exhaustive()
    }
}
