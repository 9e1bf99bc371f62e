//! Ids of messages that came lately: what is sent twice is delivered once.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For how long an id is remembered.
pub const WINDOW: Duration = Duration::from_secs(120);
/// Most ids that are remembered; the oldest is forgotten first.
pub const IDS_MAX: usize = 100_000;

/// The ids of a window.
#[derive(Debug, Default)]
pub struct SeenIds {
    ids: HashSet<Arc<str>>,
    order: VecDeque<(Instant, Arc<str>)>,
}

impl SeenIds {
    /// Remembers an id. Returns whether it is new.
    pub fn note(&mut self, id: &Arc<str>, now: Instant) -> bool {
        self.forget(now);
        if !self.ids.insert(Arc::clone(id)) {
            return false;
        }
        if self.order.len() == IDS_MAX {
            self.forget_oldest();
        }
        self.order.push_back((now, Arc::clone(id)));
        true
    }

    /// Forgets what is older than the window. The work is bounded by what was added.
    fn forget(&mut self, now: Instant) {
        let old = |(at, _): &(Instant, _)| now.saturating_duration_since(*at) >= WINDOW;
        while self.order.front().is_some_and(old) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, id)) = self.order.pop_front() {
            self.ids.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    #[test]
    fn an_id_is_new_once_in_a_window() {
        let (mut seen, now) = (SeenIds::default(), clock::now());
        let (one, other) = ("one".into(), "other".into());
        assert!(seen.note(&one, now) && seen.note(&other, now + WINDOW / 2));
        assert!(!seen.note(&one, now + WINDOW / 2));
        let later = now + WINDOW;
        assert!(seen.note(&one, later), "its window is over");
        assert!(!seen.note(&other, later));
        assert_eq!((seen.ids.len(), seen.order.len()), (2, 2));
    }

    #[test]
    fn i8_ids_are_bounded() {
        let (mut seen, now) = (SeenIds::default(), clock::now());
        for number in 0..=IDS_MAX {
            assert!(seen.note(&number.to_string().into(), now));
        }
        assert_eq!((seen.ids.len(), seen.order.len()), (IDS_MAX, IDS_MAX));
        assert!(seen.note(&"0".into(), now), "the oldest was forgotten");
    }
}
