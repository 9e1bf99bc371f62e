//! The first of many sessions by one number, found without keeping more than a few of them.

use std::cmp::Ordering;

use crate::base::session_id::SessionId;

/// Which end of an order comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The smallest.
    Ascending,
    /// The greatest.
    Descending,
}

/// A session and the number that it is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// The number; a session without one comes last in both directions.
    pub value: Option<u64>,
    /// Decides between equals.
    pub id: SessionId,
}

/// The first `limit` of the sessions that were added.
#[derive(Debug)]
pub struct Best {
    direction: Direction,
    limit: usize,
    found: Vec<Ranked>,
}

impl Best {
    /// None yet.
    pub fn new(direction: Direction, limit: usize) -> Self {
        Self {
            direction,
            limit: limit.max(1),
            found: Vec::new(),
        }
    }

    /// Adds a session. In the long run this takes constant time.
    pub fn add(&mut self, one: Ranked) {
        self.found.push(one);
        if self.found.len() >= self.limit * 2 {
            self.cut();
        }
    }

    /// The first ones, in order.
    pub fn into_ids(mut self) -> Vec<SessionId> {
        let direction = self.direction;
        self.cut();
        self.found.sort_unstable_by(|a, b| order(direction, a, b));
        self.found.into_iter().map(|one| one.id).collect()
    }

    fn cut(&mut self) {
        let direction = self.direction;
        if self.found.len() > self.limit {
            let last = self.limit - 1;
            self.found
                .select_nth_unstable_by(last, |a, b| order(direction, a, b));
            self.found.truncate(self.limit);
        }
    }
}

fn order(direction: Direction, one: &Ranked, other: &Ranked) -> Ordering {
    let by_value = match (one.value, other.value) {
        (Some(one), Some(other)) if direction == Direction::Descending => other.cmp(&one),
        (Some(one), Some(other)) => one.cmp(&other),
        (one, other) => other.is_some().cmp(&one.is_some()),
    };
    by_value.then_with(|| one.id.cmp(&other.id))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The same as to sort everything, without keeping everything.
        #[test]
        fn the_best_are_the_first_of_all_sorted(
            values in prop::collection::vec(prop::option::of(0u64..20), 0..200),
            limit in 1usize..30,
            descending: bool,
        ) {
            let direction = if descending { Direction::Descending } else { Direction::Ascending };
            let all = values.iter().enumerate().map(|(place, value)| Ranked {
                value: *value,
                id: SessionId::new(place as u64, 0),
            });
            let mut best = Best::new(direction, limit);
            for one in all.clone() {
                best.add(one);
                prop_assert!(best.found.len() <= 2 * limit);
            }
            let mut sorted: Vec<_> = all.collect();
            sorted.sort_by_key(|one| {
                let value = one.value.unwrap_or(0);
                let value = if descending { u64::MAX - value } else { value };
                (one.value.is_none(), value, one.id)
            });
            let expected: Vec<_> = sorted.iter().take(limit).map(|one| one.id).collect();
            prop_assert_eq!(best.into_ids(), expected);
        }
    }
}
