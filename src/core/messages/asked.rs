//! What this node has asked of the others, and who has answered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Most questions at the same time (I8).
pub const ASKED_MAX: usize = 4096;
/// Most nodes that answer a question without having been known when it was asked (I8).
const STRANGERS_MAX: usize = 16;

/// Questions without all of their answers, by number. `W` is what is handed back when there is
/// nothing more to wait for.
#[derive(Debug)]
pub struct Asked<A, W> {
    last: u64,
    pending: HashMap<u64, Pending<A, W>>,
}

#[derive(Debug)]
struct Pending<A, W> {
    waiting: HashSet<Arc<str>>,
    answered: HashSet<Arc<str>>,
    /// Answers of nodes that were not known.
    strangers: usize,
    replies: Replies<A>,
    enough: fn(&A) -> bool,
    wake: Option<W>,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replies<A> {
    /// The answers, one of each node.
    pub answers: Vec<A>,
    /// Nodes that have not answered.
    pub missing: usize,
}

impl<A> Replies<A> {
    /// No answer, of so many nodes.
    pub const fn none(missing: usize) -> Self {
        Self {
            answers: Vec::new(),
            missing,
        }
    }
}

impl<A, W> Default for Asked<A, W> {
    fn default() -> Self {
        Self {
            last: 0,
            pending: HashMap::new(),
        }
    }
}

impl<A, W> Asked<A, W> {
    /// Begins to wait for these nodes, until one answer is `enough`. Returns the number of the
    /// question; `None` if there are too many.
    pub fn begin(
        &mut self,
        nodes: impl Iterator<Item = Arc<str>>,
        enough: fn(&A) -> bool,
        wake: W,
    ) -> Option<u64> {
        if self.pending.len() == ASKED_MAX {
            return None;
        }
        self.last += 1;
        let pending = Pending {
            waiting: nodes.collect(),
            answered: HashSet::new(),
            strangers: 0,
            replies: Replies::none(0),
            enough,
            wake: Some(wake),
        };
        self.pending.insert(self.last, pending);
        Some(self.last)
    }

    /// An answer came. The first of each node counts, also of one that was not known. Returns what
    /// to wake if nothing more is waited for.
    pub fn answer(&mut self, ask: u64, node: &Arc<str>, answer: A) -> Option<W> {
        let pending = self.pending.get_mut(&ask)?;
        if !pending.waiting.remove(node) {
            if pending.strangers == STRANGERS_MAX || pending.answered.contains(node) {
                return None;
            }
            pending.strangers += 1;
        }
        pending.answered.insert(Arc::clone(node));
        let enough = (pending.enough)(&answer);
        pending.replies.answers.push(answer);
        match enough || pending.waiting.is_empty() {
            true => pending.wake.take(),
            false => None,
        }
    }

    /// A node is gone: it does not answer any more. Returns what to wake.
    pub fn gone(&mut self, node: &str) -> Vec<W> {
        let mut woken = Vec::new();
        for pending in self.pending.values_mut() {
            if pending.waiting.remove(node) {
                pending.replies.missing += 1;
                if pending.waiting.is_empty() {
                    woken.extend(pending.wake.take());
                }
            }
        }
        woken
    }

    /// Ends a question. Returns what came of it.
    pub fn end(&mut self, ask: u64) -> Replies<A> {
        let Some(mut pending) = self.pending.remove(&ask) else {
            return Replies::none(0);
        };
        pending.replies.missing += pending.waiting.len();
        pending.replies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(names: &[&str]) -> impl Iterator<Item = Arc<str>> {
        let all: Vec<_> = names.iter().map(|name| Arc::<str>::from(*name)).collect();
        all.into_iter()
    }

    fn never(_: &u32) -> bool {
        false
    }

    #[test]
    fn the_wait_ends_when_every_node_has_answered_or_is_gone() {
        let mut asked = Asked::default();
        let ask = asked.begin(nodes(&["a", "b", "c"]), never, "wake");
        let ask = ask.expect("room");
        let [a, b, unknown] = ["a", "b", "unknown"].map(Arc::<str>::from);
        assert_eq!(asked.answer(ask, &a, 1), None);
        assert_eq!(asked.answer(ask, &a, 10), None, "it has answered");
        assert_eq!(asked.answer(ask + 1, &b, 10), None, "nothing was asked");
        assert_eq!(asked.answer(ask, &unknown, 2), None);
        assert!(asked.gone("c").is_empty() && asked.gone("c").is_empty());
        assert_eq!(asked.answer(ask, &b, 3), Some("wake"));
        let replies = asked.end(ask);
        assert_eq!((replies.answers, replies.missing), (vec![1, 2, 3], 1));
        assert_eq!(asked.end(ask), Replies::none(0));
        assert_eq!(asked.answer(ask, &b, 4), None, "it came too late");
    }

    #[test]
    fn one_answer_may_be_enough_and_a_timeout_counts_who_is_missing() {
        let mut asked = Asked::default();
        let ask = asked.begin(nodes(&["a", "b"]), |answer| *answer > 5, "wake");
        let ask = ask.expect("room");
        assert_eq!(asked.answer(ask, &"a".into(), 9), Some("wake"));
        assert_eq!(asked.answer(ask, &"b".into(), 9), None, "it is woken once");
        let ask = asked.begin(nodes(&["a", "b"]), never, "wake");
        let ask = ask.expect("room");
        assert_eq!(asked.answer(ask, &"a".into(), 1), None);
        let replies = asked.end(ask);
        assert_eq!((replies.answers, replies.missing), (vec![1], 1));
        let ask = asked.begin(nodes(&["a"]), never, "wake").expect("room");
        assert_eq!(asked.gone("a"), ["wake"]);
        assert_eq!(asked.end(ask), Replies::none(1));
    }

    #[test]
    fn i8_questions_and_answers_are_bounded() {
        let mut asked = Asked::default();
        for _ in 0..ASKED_MAX {
            assert!(asked.begin(nodes(&["a"]), never, ()).is_some());
        }
        assert_eq!(asked.begin(nodes(&["a"]), never, ()), None);
        for number in 0..1000 {
            let node = format!("x{number}");
            asked.answer(1, &node.into(), number);
        }
        assert_eq!(asked.end(1).answers.len(), STRANGERS_MAX);
        assert!(asked.begin(nodes(&["a"]), never, ()).is_some());
    }
}
