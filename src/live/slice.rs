//! Walks over all sessions of a worker, in slices: between two of them the worker serves its
//! clients.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::base::session_id::SessionId;

/// Sessions that a worker looks at in one go.
pub const SLICE_MAX: usize = 256;

/// One slice of a walk, in the order of the sessions' ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// It begins behind this one; `None` at the first.
    pub after: Option<SessionId>,
    /// So many sessions at most, and never more than [`SLICE_MAX`].
    pub limit: usize,
}

/// What came of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sliced<A> {
    /// About the sessions in it.
    pub answer: A,
    /// Where the next slice begins; `None` after the last.
    pub next: Option<SessionId>,
}

impl<A> Sliced<A> {
    /// The only slice of a walk.
    pub const fn whole(answer: A) -> Self {
        Self { answer, next: None }
    }

    /// Another answer about the same slice.
    pub fn map<B>(self, change: impl FnOnce(A) -> B) -> Sliced<B> {
        Sliced {
            answer: change(self.answer),
            next: self.next,
        }
    }
}

impl Slice {
    /// The first one of a walk, behind `after` if that is given.
    pub const fn first(after: Option<SessionId>) -> Self {
        Self {
            after,
            limit: SLICE_MAX,
        }
    }

    /// The sessions in it.
    pub fn of<T: Clone>(&self, all: &BTreeMap<SessionId, T>) -> Sliced<Vec<T>> {
        let after = self.after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = all.range((after, Bound::Unbounded));
        let (mut last, mut answer) = (None, Vec::new());
        for (id, one) in rest.by_ref().take(self.limit.min(SLICE_MAX)) {
            last = Some(*id);
            answer.push(one.clone());
        }
        let next = last.filter(|_| rest.next().is_some());
        Sliced { answer, next }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever comes and goes between slices, a walk ends, no slice is longer than allowed,
        /// and every session that was there all the time is visited exactly once, in order.
        #[test]
        fn a_walk_visits_each_session_once(
            staying in prop::collection::btree_set(0u64..500, 0..60),
            going in prop::collection::btree_set(500u64..1000, 0..60),
            limit in 1usize..10,
        ) {
            let id = |n: &u64| (SessionId::new(*n, 0), *n);
            let mut all: BTreeMap<_, _> = staying.iter().chain(&going).map(id).collect();
            let mut slice = Slice { after: None, limit };
            let mut visited = Vec::new();
            loop {
                let Sliced { answer, next } = slice.of(&all);
                prop_assert!(answer.len() <= limit);
                visited.extend(answer);
                let Some(after) = next else { break };
                slice.after = Some(after);
                // The one behind which the next slice begins may be gone by then.
                all.remove(&after);
                if let Some((last, _)) = all.last_key_value().filter(|(_, n)| **n >= 500) {
                    let last = *last;
                    all.remove(&last);
                }
            }
            prop_assert!(visited.is_sorted_by(|one, other| one < other));
            let stayed: Vec<_> = visited.into_iter().filter(|n| *n < 500).collect();
            prop_assert_eq!(stayed, staying.into_iter().collect::<Vec<_>>());
        }
    }
}
