//! Which ids are of the history that is here.

use std::collections::VecDeque;

use crate::base::history_id::HistoryId;

/// Bits at the end of an id that are its process' mark.
const MARK_BITS: u32 = 32;
/// Processes before this one whose ids are known.
const FORMER_MAX: usize = 64;

/// The ids of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incarnation {
    /// A random number that its ids end with.
    pub mark: u32,
    /// Its last id that the next process has the message of.
    pub last: HistoryId,
}

/// The processes of a gateway that handed the history over to one another. An id of any other one
/// is no place in it: clients with such an id learn of a gap.
#[derive(Debug)]
pub struct Lineage {
    own: u32,
    /// Before this one, the oldest first.
    former: VecDeque<Incarnation>,
}

impl Lineage {
    /// Of a process with no other before it.
    pub fn new(own: u32) -> Self {
        Self {
            own,
            former: VecDeque::new(),
        }
    }

    /// The id behind `last` of a message that comes now, in milliseconds since 1970.
    pub fn next_id(&self, last: HistoryId, now: u64) -> HistoryId {
        let number = match now > last.millis {
            true => 1,
            false => (last.number >> MARK_BITS) + 1,
        };
        HistoryId {
            millis: now.max(last.millis),
            number: number << MARK_BITS | u64::from(self.own),
        }
    }

    /// Whether a process of this gateway gave an id, and what it kept up to then is here.
    pub fn has(&self, id: HistoryId) -> bool {
        let mark = mark_of(id);
        let gave = |one: &Incarnation| one.mark == mark && id <= one.last;
        mark == self.own || self.former.iter().any(gave)
    }

    /// For the next process: `last` is the newest id here.
    pub fn all(&self, last: HistoryId) -> impl Iterator<Item = Incarnation> {
        let own = Incarnation {
            mark: self.own,
            last,
        };
        self.former.iter().copied().chain([own])
    }

    /// Those of the process before this one, which it gives with [`all`](Self::all).
    pub fn follow(&mut self, former: impl IntoIterator<Item = Incarnation>) {
        self.former.clear();
        for one in former {
            if self.former.len() == FORMER_MAX {
                self.former.pop_front();
            }
            self.former.push_back(one);
        }
    }
}

/// What an id ends with.
pub fn mark_of(id: HistoryId) -> u32 {
    // The low bits are meant.
    id.number as u32
}

/// Whether a log of the fleet gave an id: its numbers begin anew with each millisecond, and have no
/// mark behind them.
pub fn is_of_log(id: HistoryId) -> bool {
    id.number >> MARK_BITS == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_and_end_with_the_mark() {
        let lineage = Lineage::new(7);
        let mut last = HistoryId::default();
        for now in [5, 5, 4, 6] {
            let next = lineage.next_id(last, now);
            assert!(next > last && mark_of(next) == 7, "{last} {next}");
            assert!(lineage.has(next) && !Lineage::new(8).has(next));
            last = next;
        }
        assert!(is_of_log(HistoryId::at(5)) && !is_of_log(lineage.next_id(last, 6)));
    }

    #[test]
    fn i1_ids_of_the_processes_before_are_known_up_to_the_hand_over() {
        let (one, other) = (Lineage::new(1), Lineage::new(2));
        let before = one.next_id(HistoryId::default(), 10);
        let behind = one.next_id(before, 20);
        let mut next = Lineage::new(3);
        next.follow(one.all(before));
        assert!(next.has(before), "given");
        assert!(!next.has(behind), "not given");
        assert!(
            !next.has(other.next_id(HistoryId::default(), 5)),
            "another gateway's"
        );
    }

    #[test]
    fn i8_processes_before_are_bounded() {
        let at = HistoryId::at(6);
        let mut lineage = Lineage::new(0);
        for own in 1..=FORMER_MAX as u32 + 1 {
            let mut next = Lineage::new(own);
            next.follow(lineage.all(at));
            lineage = next;
        }
        assert_eq!(lineage.all(at).count(), FORMER_MAX + 1);
        let gave = |mark: u32| {
            lineage.has(HistoryId {
                millis: 5,
                number: mark.into(),
            })
        };
        assert!(!gave(0) && gave(1));
    }
}
