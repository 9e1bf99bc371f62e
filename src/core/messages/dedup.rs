//! Deduplication: a message that is sent twice with one id within a window is delivered once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For how long an id is remembered.
pub const WINDOW: Duration = Duration::from_secs(120);
/// Most ids that are remembered; the oldest is forgotten first.
pub const IDS_MAX: usize = 100_000;

/// Whether an id came before within the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DedupResult {
    /// It did not come before.
    New,
    /// It came before, but the broker has not taken its message yet.
    NotCarried,
    /// It came before.
    Known,
}

/// The ids of a window.
#[derive(Debug, Default)]
pub struct DedupWindow {
    /// With whether the broker has taken the message.
    ids: HashMap<Arc<str>, bool>,
    order: VecDeque<(Instant, Arc<str>)>,
}

impl DedupWindow {
    /// Remembers an id; `carried` is whether no broker has to take its message. Returns what was
    /// known of it.
    pub fn insert(&mut self, id: &Arc<str>, carried: bool, now: Instant) -> DedupResult {
        self.forget(now);
        match self.ids.get(id) {
            Some(true) => return DedupResult::Known,
            Some(false) => return DedupResult::NotCarried,
            None => {}
        }
        self.ids.insert(Arc::clone(id), carried);
        if self.order.len() == IDS_MAX {
            self.forget_oldest();
        }
        self.order.push_back((now, Arc::clone(id)));
        DedupResult::New
    }

    /// Whether an id came within the window.
    pub fn contains(&mut self, id: &str, now: Instant) -> bool {
        self.forget(now);
        self.ids.contains_key(id)
    }

    /// The broker has taken the message with this id.
    pub fn set_carried(&mut self, id: &str) {
        if let Some(carried) = self.ids.get_mut(id) {
            *carried = true;
        }
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
        let (mut seen, now) = (DedupWindow::default(), clock::now());
        let (one, other) = ("one".into(), "other".into());
        assert_eq!(seen.insert(&one, true, now), DedupResult::New);
        assert_eq!(
            seen.insert(&other, true, now + WINDOW / 2),
            DedupResult::New
        );
        assert_eq!(
            seen.insert(&one, true, now + WINDOW / 2),
            DedupResult::Known
        );
        let later = now + WINDOW;
        assert_eq!(
            seen.insert(&one, true, later),
            DedupResult::New,
            "its window is over"
        );
        assert_eq!(seen.insert(&other, true, later), DedupResult::Known);
        assert_eq!((seen.ids.len(), seen.order.len()), (2, 2));
    }

    #[test]
    fn a_message_that_was_not_carried_may_come_again() {
        let (mut seen, now) = (DedupWindow::default(), clock::now());
        let id = "one".into();
        assert_eq!(seen.insert(&id, false, now), DedupResult::New);
        assert_eq!(seen.insert(&id, false, now), DedupResult::NotCarried);
        seen.set_carried("one");
        seen.set_carried("another");
        assert_eq!(seen.insert(&id, false, now), DedupResult::Known);
        assert_eq!(seen.ids.len(), 1);
    }

    #[test]
    fn i8_ids_are_bounded() {
        let (mut seen, now) = (DedupWindow::default(), clock::now());
        for number in 0..=IDS_MAX {
            assert_eq!(
                seen.insert(&number.to_string().into(), false, now),
                DedupResult::New
            );
        }
        assert_eq!((seen.ids.len(), seen.order.len()), (IDS_MAX, IDS_MAX));
        assert_eq!(
            seen.insert(&"0".into(), true, now),
            DedupResult::New,
            "the oldest was forgotten"
        );
    }
}
