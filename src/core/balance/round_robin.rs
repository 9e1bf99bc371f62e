//! The `round_robin` policy: members in turn, each as often as its weight requires and as evenly
//! spread as possible. A table holds one whole round; a counter holds the position in it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::base::names::BackendId;
use crate::core::balance::order::Distinct;

/// Turns of a round, but for members that would have none. Larger weights are scaled down to it.
const TURNS_MAX: u64 = 1 << 16;

/// A round, and the current position.
pub(super) struct RoundRobin {
    turns: Box<[u32]>,
    members: usize,
    /// Where the first round starts: somewhere, or the first member would have a session more after
    /// every swap of tables, on every gateway.
    start: OnceLock<usize>,
    taken: AtomicUsize,
}

impl RoundRobin {
    pub(super) fn new(members: &[(BackendId, u32)]) -> Self {
        Self {
            turns: round(members),
            members: members.len(),
            start: OnceLock::new(),
            taken: AtomicUsize::new(0),
        }
    }

    /// Takes the next turn.
    pub(super) fn take(&self, random: u64) -> usize {
        self.start(random)
            .wrapping_add(self.taken.fetch_add(1, Relaxed))
    }

    /// What `take` would give.
    pub(super) fn peek(&self, random: u64) -> usize {
        self.start(random).wrapping_add(self.taken.load(Relaxed))
    }

    /// Advances the turn past the skipped members. Otherwise the successor of an ineligible member
    /// would get its sessions as well.
    pub(super) fn skip(&self, passed: usize) {
        self.taken.fetch_add(passed, Relaxed);
    }

    /// Every member once, from `turn` on.
    pub(super) fn order(&self, turn: usize) -> impl Iterator<Item = usize> {
        let start = turn.checked_rem(self.turns.len()).unwrap_or(0);
        let (before, after) = self.turns.split_at(start);
        let turns = after.iter().chain(before).map(|index| *index as usize);
        Distinct::new(self.members, turns)
    }

    fn start(&self, random: u64) -> usize {
        // Small, so that the sum with the counter never wraps in the middle of a round.
        *self.start.get_or_init(|| (random >> 40) as usize)
    }
}

/// Turn j of n that a member has in a round is due at (2j + 1) / 2n of it.
fn round(members: &[(BackendId, u32)]) -> Box<[u32]> {
    let weights = || members.iter().map(|(_, weight)| u64::from(*weight));
    let divisor = weights().fold(0, common_divisor).max(1);
    let total = weights().sum::<u64>() / divisor;
    let mut due: Vec<_> = (0_u32..)
        .zip(weights())
        .flat_map(|(index, weight)| {
            let mut turns = weight / divisor;
            if total > TURNS_MAX {
                turns = (turns * TURNS_MAX / total).max(1);
            }
            (0..turns).map(move |turn| (2 * turn + 1, turns, index))
        })
        .collect();
    due.sort_by(|a, b| (a.0 * b.1).cmp(&(b.0 * a.1)).then(a.2.cmp(&b.2)));
    due.into_iter().map(|(_, _, index)| index).collect()
}

fn common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::balance::tests::members;

    #[test]
    fn a_round_is_even() {
        let check = |weights: &[u32], expected: &[u32]| {
            assert_eq!(&*round(&members(weights)), expected, "{weights:?}");
        };
        check(&[], &[]);
        check(&[7], &[0]);
        check(&[1, 1, 1], &[0, 1, 2]);
        check(&[100, 100, 200], &[2, 0, 1, 2]);
        check(&[5, 1, 1], &[0, 0, 0, 1, 2, 0, 0]);
        check(&[3, 2], &[0, 1, 0, 1, 0]);
    }

    #[test]
    fn a_round_is_bounded_and_includes_every_member() {
        let mut weights = vec![1000; 500];
        weights.extend([1; 100]);
        weights.push(999);
        let round = round(&members(&weights));
        assert!(round.len() as u64 <= TURNS_MAX + 600, "{}", round.len());
        for index in 0..601 {
            assert!(round.contains(&index), "{index}");
        }
    }
}
