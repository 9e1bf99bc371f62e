//! Two lazy orders of members, and their shared arithmetic. The first candidate is nearly always
//! taken, so the others are ranked only on demand.

use std::cmp::Ordering;

/// Golden ratio in 64 bits: the step of SplitMix64.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The `n`-th number that follows from `random` (SplitMix64).
pub(super) const fn mixed(random: u64, n: u64) -> u64 {
    let z = random.wrapping_add(STEP.wrapping_mul(n.wrapping_add(1)));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `amount / weight`, compared exactly; the lower comes first. `tie` decides between equals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rank {
    pub(super) amount: u64,
    pub(super) weight: u32,
    pub(super) tie: u64,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let mine = u128::from(self.amount) * u128::from(other.weight);
        let others = u128::from(other.amount) * u128::from(self.weight);
        mine.cmp(&others).then(self.tie.cmp(&other.tie))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// All of `0..len` by ascending rank, equals by index. The caller provides the first; the rest are
/// ranked and sorted when a second is requested.
pub(super) struct Ascending<F> {
    rank: F,
    len: usize,
    first: Option<usize>,
    state: State,
}

enum State {
    Untouched,
    GaveFirst,
    Sorted(std::vec::IntoIter<usize>),
}

impl<F: Fn(usize) -> Rank> Ascending<F> {
    /// `first` is the index of the lowest rank, `None` if `len` is 0.
    pub(super) fn new(len: usize, first: Option<usize>, rank: F) -> Self {
        Self {
            rank,
            len,
            first,
            state: State::Untouched,
        }
    }

    fn sorted(&self) -> std::vec::IntoIter<usize> {
        // Ranks may follow live sessions, so the first could rank elsewhere by now.
        let mut rest: Vec<_> = (0..self.len)
            .filter(|index| Some(*index) != self.first)
            .map(|index| ((self.rank)(index), index))
            .collect();
        rest.sort_unstable();
        let rest: Vec<_> = rest.into_iter().map(|(_, index)| index).collect();
        rest.into_iter()
    }
}

impl<F: Fn(usize) -> Rank> Iterator for Ascending<F> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        match &mut self.state {
            State::Untouched => {
                self.state = State::GaveFirst;
                self.first
            }
            State::GaveFirst => {
                let mut rest = self.sorted();
                let second = rest.next();
                self.state = State::Sorted(rest);
                second
            }
            State::Sorted(rest) => rest.next(),
        }
    }
}

/// Each index that `source` names, once, in the order of first mention.
pub(super) struct Distinct<I> {
    source: I,
    len: usize,
    given: usize,
    first: usize,
    /// Empty until a second one is requested.
    seen: Vec<bool>,
}

impl<I: Iterator<Item = usize>> Distinct<I> {
    /// All indexes are below `len`. Once they all are given, `source` is left alone.
    pub(super) fn new(len: usize, source: I) -> Self {
        Self {
            source,
            len,
            given: 0,
            first: 0,
            seen: Vec::new(),
        }
    }
}

impl<I: Iterator<Item = usize>> Iterator for Distinct<I> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.given == 0 {
            self.first = self.source.next()?;
            self.given = 1;
            return Some(self.first);
        }
        if self.given == self.len {
            return None;
        }
        if self.seen.is_empty() {
            self.seen = vec![false; self.len];
            self.seen[self.first] = true;
        }
        let seen = &mut self.seen;
        let index = self
            .source
            .find(|index| !std::mem::replace(&mut seen[*index], true))?;
        self.given += 1;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_compare_as_fractions() {
        let check = |a: (u64, u32, u64), b: (u64, u32, u64), expected| {
            let rank = |(amount, weight, tie)| Rank {
                amount,
                weight,
                tie,
            };
            assert_eq!(rank(a).cmp(&rank(b)), expected, "{a:?} {b:?}");
        };
        check((1, 1, 0), (2, 1, 0), Ordering::Less);
        check((3, 2, 0), (1, 1, 0), Ordering::Greater);
        check((2, 4, 0), (1, 2, 0), Ordering::Equal);
        check((2, 4, 9), (1, 2, 0), Ordering::Greater);
        check((u64::MAX, u32::MAX, 0), (u64::MAX, 1, 0), Ordering::Less);
    }

    #[test]
    fn ascending_ranks_the_rest_only_when_asked() {
        let amounts = [5, 1, 3, 1, 4];
        let asked = std::cell::Cell::new(0);
        let mut order = Ascending::new(5, Some(1), |index| {
            asked.set(asked.get() + 1);
            Rank {
                amount: amounts[index],
                weight: 1,
                tie: 0,
            }
        });
        assert_eq!((order.next(), asked.get()), (Some(1), 0));
        assert_eq!(order.by_ref().collect::<Vec<_>>(), [3, 2, 4, 0]);
        assert_eq!((order.next(), asked.get()), (None, 4));
    }

    #[test]
    fn distinct_gives_each_once_and_then_stops() {
        let check = |len, source: &[usize], expected: &[usize]| {
            let found: Vec<_> = Distinct::new(len, source.iter().copied()).collect();
            assert_eq!(found, expected, "{source:?}");
        };
        check(0, &[], &[]);
        check(1, &[0, 0], &[0]);
        check(3, &[2, 2, 0, 2, 1, 0], &[2, 0, 1]);
        check(3, &[1, 1], &[1]);
        // Endless, as places on a circle are.
        let circle = Distinct::new(2, [1, 1, 0].into_iter().cycle());
        assert_eq!(circle.collect::<Vec<_>>(), [1, 0]);
    }
}
