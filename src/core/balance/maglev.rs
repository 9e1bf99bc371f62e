//! The `maglev` policy: a table of 65,537 places, filled as in "Maglev: A Fast and Reliable
//! Software Network Load Balancer" (NSDI 2016), with weights. Shares are even to a place; a lookup
//! is one read. If a member is skipped, the members of the next places follow.
//!
//! # How a key is placed
//! Notation as in `ring.rs`; M is 65,537.
//!
//! 1. A member with the hash `h = xxh3(id)` prefers the places (h mod M) + i × s modulo M, for i
//!    from 0, where s = ((h div M) mod (M - 1)) + 1.
//! 2. Rounds are counted from 1. In each, in the order of their ids' bytes, every member takes the
//!    first place of its preference that is free, if it has taken fewer than round × weight
//!    / largest weight, rounded up. It ends when no place is free.
//! 3. A key has the place `xxh3(key)` mod M. Its candidates are the members of that place and of
//!    those that follow, each once, past the last place the first; then members without a place (of
//!    more than M), by id.
//!
//! Skipping a member moves only its own keys. But the table depends on all members: adding or
//! removing one moves about one key in a hundred between others. Use `consistent_hash` or
//! `rendezvous` where I3 must hold exactly for that too.

use xxhash_rust::xxh3::xxh3_64;

use crate::base::names::BackendId;
use crate::config::footprint::MAGLEV_PLACES;
use crate::core::balance::order::Distinct;

/// M. Prime, so that every step reaches every place.
const PLACES: u64 = MAGLEV_PLACES;
const FREE: u32 = u32::MAX;

/// The member of each place.
pub(super) struct Maglev {
    /// Empty without members.
    table: Box<[u32]>,
    members: usize,
}

/// One member while the table is filled.
struct Filler {
    next: u64,
    step: u64,
    weight: u64,
    taken: u64,
}

impl Filler {
    /// The first free place of its preference.
    fn take(&mut self, table: &[u32]) -> usize {
        loop {
            let place = usize::try_from(self.next).expect("a place is below 65,537");
            self.next = (self.next + self.step) % PLACES;
            if table[place] == FREE {
                self.taken += 1;
                return place;
            }
        }
    }
}

impl Maglev {
    pub(super) fn new(members: &[(BackendId, u32)]) -> Self {
        Self {
            table: filled(members),
            members: members.len(),
        }
    }

    /// Every member once, for the key that hashes to `point`.
    pub(super) fn order(&self, point: u64) -> impl Iterator<Item = usize> {
        let start = usize::try_from(point % PLACES).expect("a place is below 65,537");
        let (before, after) = self.table.split_at(start.min(self.table.len()));
        let places = after.iter().chain(before).map(|index| *index as usize);
        Distinct::new(self.members, places.chain(0..self.members))
    }

    /// The places of each member.
    pub(super) fn shares(&self) -> Vec<f64> {
        let mut shares = vec![0.0; self.members];
        for index in &self.table {
            shares[*index as usize] += 1.0 / PLACES as f64;
        }
        shares
    }
}

fn filled(members: &[(BackendId, u32)]) -> Box<[u32]> {
    let largest = members.iter().map(|(_, weight)| u64::from(*weight)).max();
    let Some(largest) = largest else {
        return Box::default();
    };
    let mut fillers: Vec<_> = members
        .iter()
        .map(|(id, weight)| {
            let h = xxh3_64(id.as_bytes());
            Filler {
                next: h % PLACES,
                step: (h / PLACES) % (PLACES - 1) + 1,
                weight: u64::from(*weight),
                taken: 0,
            }
        })
        .collect();
    let mut table = vec![FREE; PLACES as usize].into_boxed_slice();
    let mut free = table.len();
    for round in 1.. {
        for (index, filler) in (0..).zip(&mut fillers) {
            if filler.taken * largest >= round * filler.weight {
                continue;
            }
            let place = filler.take(&table);
            table[place] = index;
            free -= 1;
            if free == 0 {
                return table;
            }
        }
    }
    unreachable!("the member of the largest weight takes a place in every round")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::balance::tests::members;

    #[test]
    fn places_follow_weights_to_a_place() {
        let check = |weights: &[u32]| {
            let table = filled(&members(weights));
            let mut places = vec![0_u32; weights.len()];
            for index in &table {
                places[*index as usize] += 1;
            }
            let total: f64 = weights.iter().copied().map(f64::from).sum();
            for (places, weight) in places.iter().zip(weights) {
                let exact = PLACES as f64 * f64::from(*weight) / total;
                assert!(
                    (f64::from(*places) - exact).abs() <= 2.0,
                    "{places} {exact}"
                );
            }
        };
        check(&[1]);
        check(&[1, 1]);
        check(&[1, 1000]);
        check(&[3, 1, 4, 1, 5, 9, 2, 6]);
        check(&vec![1; 1000]);
    }

    #[test]
    fn members_without_a_position_come_last() {
        let maglev = Maglev::new(&members(&vec![1; 65_600]));
        assert!(maglev.table.iter().all(|index| *index < 65_537));
        assert_eq!(maglev.order(12_345).count(), 65_600);
        assert_eq!(maglev.order(12_345).last(), Some(65_599));
        assert_eq!(Maglev::new(&[]).order(1).count(), 0);
    }
}
