//! The `random_two` policy: of two members drawn at random, by weight, the one with fewer sessions
//! for its weight. Nearly as even as `least_sessions`, without reading all members, and without all
//! gateways choosing the same one.

use crate::base::names::BackendId;
use crate::core::balance::order::{Distinct, Rank, mixed};

/// Draws per member before the rest follow in order: a member that has not been drawn by then has
/// very little weight, or no member is eligible.
const DRAWS: u64 = 4;

/// The weights, summed up.
pub(super) struct RandomTwo {
    /// At each index the weights up to it, its own included.
    sums: Vec<u64>,
}

impl RandomTwo {
    pub(super) fn new(members: &[(BackendId, u32)]) -> Self {
        let sums = members.iter().scan(0, |sum, (_, weight)| {
            *sum += u64::from(*weight);
            Some(*sum)
        });
        Self {
            sums: sums.collect(),
        }
    }

    /// Every member once: pairs as drawn, within each the lower rank first.
    pub(super) fn order(
        &self,
        random: u64,
        rank: impl Fn(usize) -> Rank,
    ) -> impl Iterator<Item = usize> {
        let members = self.sums.len();
        let draws = (0..DRAWS * members as u64).map(move |n| self.draw(mixed(random, n)));
        let mut drawn = Distinct::new(members, draws.chain(0..members));
        let mut other = None;
        std::iter::from_fn(move || {
            if let Some(other) = other.take() {
                return Some(other);
            }
            let (a, b) = (drawn.next()?, drawn.next());
            let Some(b) = b else { return Some(a) };
            let (better, worse) = if rank(b) < rank(a) { (b, a) } else { (a, b) };
            other = Some(worse);
            Some(better)
        })
    }

    /// A member by weight.
    fn draw(&self, random: u64) -> usize {
        let total = self.sums.last().copied().unwrap_or(0);
        // Scales 0..2^64 to 0..total.
        let at = ((u128::from(random) * u128::from(total)) >> 64) as u64;
        self.sums.partition_point(|sum| *sum <= at)
    }
}
