//! Deduplication: a message that is sent twice with one id within a window is delivered once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For how long an id is remembered.
pub const WINDOW: Duration = Duration::from_secs(120);
/// Most ids that are remembered. Beyond that the publisher with the most of them loses its oldest:
/// none loses an id as long as it has no more than its share (I12).
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

/// The place of an id: when it came, and a number that no other one has.
pub type Place = (Instant, u64);

/// The ids of a window. An id is its publisher's name, a colon, and what the publisher calls it.
#[derive(Debug, Default)]
pub struct DedupWindow {
    /// With whether the broker has taken the message.
    ids: HashMap<Arc<str>, bool>,
    order: BTreeMap<Place, Arc<str>>,
    /// Those of each publisher.
    publishers: HashMap<Arc<str>, BTreeSet<Place>>,
    /// How many each publisher has.
    sizes: BTreeSet<(usize, Arc<str>)>,
    added: u64,
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
        self.added += 1;
        let place = (now, self.added);
        self.ids.insert(Arc::clone(id), carried);
        self.order.insert(place, Arc::clone(id));
        self.change(publisher_of(id), |places| places.insert(place));
        if self.order.len() > IDS_MAX {
            self.make_room();
        }
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
        let old = |(at, _): &Place| now.saturating_duration_since(*at) >= WINDOW;
        while let Some((place, _)) = self.order.first_key_value().filter(|(place, _)| old(place)) {
            self.remove(*place);
        }
    }

    /// Forgets the oldest id of the publisher that has the most.
    fn make_room(&mut self) {
        let most = self.sizes.last().and_then(|(_, publisher)| {
            let places = self.publishers.get(publisher)?;
            places.first().copied()
        });
        if let Some(place) = most {
            self.remove(place);
        }
    }

    fn remove(&mut self, place: Place) {
        if let Some(id) = self.order.remove(&place) {
            self.ids.remove(&id);
            self.change(publisher_of(&id), |places| places.remove(&place));
        }
    }

    /// Changes what a publisher has.
    fn change(&mut self, publisher: &str, change: impl FnOnce(&mut BTreeSet<Place>) -> bool) {
        let (name, mut places) = match self.publishers.remove_entry(publisher) {
            Some((name, places)) => (name, places),
            None => (publisher.into(), BTreeSet::new()),
        };
        self.sizes.remove(&(places.len(), Arc::clone(&name)));
        change(&mut places);
        if !places.is_empty() {
            self.sizes.insert((places.len(), Arc::clone(&name)));
            self.publishers.insert(name, places);
        }
    }
}

/// Ids for the process that takes over, in parts.
impl DedupWindow {
    /// The ids behind the place `after`, until they have `most` bytes, and the place of the last of
    /// them; `None` if there are no more.
    pub fn part(
        &mut self,
        after: Option<Place>,
        most: usize,
        now: Instant,
    ) -> Option<(Vec<u8>, Place)> {
        self.forget(now);
        let (mut part, mut last) = (Vec::new(), None);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (place, id) in self.order.range((from, Bound::Unbounded)) {
            last = Some(*place);
            let age = now.saturating_duration_since(place.0).as_millis();
            // An id of a broker's message is bounded, as all of it is.
            let (Ok(age), Ok(length)) = (u32::try_from(age), u16::try_from(id.len())) else {
                continue;
            };
            part.extend_from_slice(&age.to_be_bytes());
            part.push(u8::from(self.ids.get(id).copied().unwrap_or_default()));
            part.extend_from_slice(&length.to_be_bytes());
            part.extend_from_slice(id.as_bytes());
            if part.len() >= most {
                break;
            }
        }
        last.map(|last| (part, last))
    }

    /// Remembers the ids of a part for the time that they have left; what is not understood, and
    /// all behind it, is left out.
    pub fn adopt(&mut self, mut part: &[u8], now: Instant) {
        while let Some((id, carried, age)) = take_id(&mut part) {
            let at = now.checked_sub(age).filter(|_| age < WINDOW);
            if let Some(at) = at
                && !self.ids.contains_key(id)
            {
                self.insert(&id.into(), carried, at);
            }
        }
    }
}

fn take_id<'a>(part: &mut &'a [u8]) -> Option<(&'a str, bool, Duration)> {
    let (age, rest) = part.split_first_chunk()?;
    let ([carried], rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (id, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    *part = rest;
    let age = Duration::from_millis(u32::from_be_bytes(*age).into());
    Some((std::str::from_utf8(id).ok()?, *carried != 0, age))
}

/// Who gave an id.
fn publisher_of(id: &str) -> &str {
    id.split_once(':').map_or("", |(publisher, _)| publisher)
}

#[cfg(test)]
mod tests;
