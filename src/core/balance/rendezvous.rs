//! The `rendezvous` policy: each member draws a number for the key, the best for its weight wins
//! (highest random weight, by the logarithm method). Balance is perfect, only a hash per member is
//! stored; the cost of a lookup grows with the members.
//!
//! # How a key is placed
//! Notation as in `ring.rs`. All arithmetic is on whole numbers, so that every machine agrees to
//! the last bit; a logarithm of the system's library would not.
//!
//! 1. A member draws `h = xxh3(le64(xxh3(key)) ‖ le64(xxh3(id)))`.
//! 2. Its cost is -log2(h / 2^64) in units of 2^-48, as `cost` below computes it: z leading zeros
//!    (h = 0 counts as 1), m = h shifted left by z; 48 times, s = m × m: if s ≥ 2^127, the next bit
//!    of f is 1 and m = s >> 64, else it is 0 and m = s >> 63. The cost is (z + 1) × 2^48 - f.
//! 3. Candidates stand by ascending cost / weight (compared exactly, by
//!    cross-multiplication), equal ones in the order of their ids' bytes.
//!
//! A cost over its weight is exponentially distributed with the weight as its rate, so the chance
//! to be the least is the weight over all weights. No draw depends on other members: I3 is exact.

use xxhash_rust::xxh3::xxh3_64;

use crate::base::names::BackendId;
use crate::core::balance::order::{Ascending, Rank};

/// Bits of a cost after the point.
const FRACTION: u32 = 48;

/// The hash of each member's id, and its weight.
pub(super) struct Rendezvous {
    members: Vec<(u64, u32)>,
}

impl Rendezvous {
    pub(super) fn new(members: &[(BackendId, u32)]) -> Self {
        let hashed = |(id, weight): &(BackendId, u32)| (xxh3_64(id.as_bytes()), *weight);
        Self {
            members: members.iter().map(hashed).collect(),
        }
    }

    /// Every member once, best first, for the key that hashes to `point`.
    pub(super) fn order(&self, point: u64) -> impl Iterator<Item = usize> {
        Ascending::new(self.members.len(), self.first(point), move |index| {
            let (id, weight) = self.members[index];
            rank(draw(point, id), weight)
        })
    }

    /// The best, without a logarithm for those that cannot be it.
    fn first(&self, point: u64) -> Option<usize> {
        let mut best: Option<(Rank, usize)> = None;
        for (index, (id, weight)) in self.members.iter().enumerate() {
            let h = draw(point, *id);
            if best.is_none_or(|(best, _)| at_least(h, *weight) < best) {
                let candidate = (rank(h, *weight), index);
                best = Some(best.map_or(candidate, |best| best.min(candidate)));
            }
        }
        best.map(|(_, index)| index)
    }
}

fn draw(point: u64, id: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&point.to_le_bytes());
    bytes[8..].copy_from_slice(&id.to_le_bytes());
    xxh3_64(&bytes)
}

fn rank(h: u64, weight: u32) -> Rank {
    Rank {
        amount: cost(h),
        weight,
        tie: 0,
    }
}

/// A rank that is not above that of `h`: -log2(x) is at least 1 - x, and `cost` rounds up.
fn at_least(h: u64, weight: u32) -> Rank {
    Rank {
        amount: !h >> (u64::BITS - FRACTION),
        weight,
        tie: 0,
    }
}

/// -log2(h / 2^64) × 2^48, rounded up: the fraction bit by bit, by squaring.
fn cost(h: u64) -> u64 {
    let h = h.max(1);
    let zeros = h.leading_zeros();
    let mut m = h << zeros;
    let mut fraction = 0_u64;
    for _ in 0..FRACTION {
        let square = u128::from(m) * u128::from(m);
        let bit = (square >> 127) as u64;
        fraction = fraction << 1 | bit;
        m = (square >> (63 + bit)) as u64;
    }
    (u64::from(zeros + 1) << FRACTION) - fraction
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::balance::tests::members;

    #[test]
    fn costs_are_logarithms() {
        assert_eq!(cost(1), 64 << FRACTION);
        assert_eq!(cost(0), cost(1));
        assert_eq!(cost(1 << 63), 1 << FRACTION);
        assert_eq!(cost(3 << 61), 398_297_647_154_218);
        assert_eq!(cost(u64::MAX), 1);
    }

    proptest! {
        #[test]
        fn costs_agree_with_floating_point(h in any::<u64>(), zeros in 0_u32..64) {
            let h = (h >> zeros).max(1);
            let exact = 64.0 - (h as f64).log2();
            let found = cost(h) as f64 / (1_u64 << FRACTION) as f64;
            prop_assert!((found - exact).abs() < 1e-9, "{} {}", found, exact);
        }

        #[test]
        fn a_bound_is_never_above_the_rank(h in any::<u64>(), zeros in 0_u32..64, weight in 1_u32..1000) {
            for h in [h, h >> zeros, !(h >> zeros)] {
                prop_assert!(at_least(h, weight) <= rank(h, weight));
            }
        }

        #[test]
        fn the_best_is_the_first_of_all_ranked(
            weights in prop::collection::vec(1_u32..1000, 1..50),
            point in any::<u64>(),
        ) {
            let rendezvous = Rendezvous::new(&members(&weights));
            let ranked = |index: &usize| {
                let (id, weight) = rendezvous.members[*index];
                rank(draw(point, id), weight)
            };
            let mut expected: Vec<_> = (0..weights.len()).collect();
            expected.sort_by_key(ranked);
            prop_assert_eq!(rendezvous.order(point).collect::<Vec<_>>(), expected);
        }
    }
}
