//! Ticket keys in the order of time. One seals, older ones still open, and the next one opens
//! before it seals, so that gateways that learn of a rotation at different times never disagree.

use std::time::Duration;

use crate::base::ticket_secret::{SECRETS_MAX, TicketSecret};

/// A rotation lets a key seal for so long.
pub const SEALS_FOR: Duration = Duration::from_secs(6 * 60 * 60);
/// A key opens for so long after it has sealed last: the lifetime of a ticket.
pub const OPENS_AFTER: Duration = Duration::from_secs(12 * 60 * 60);

/// A ticket key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketKey {
    /// What it is derived from.
    pub secret: TicketSecret,
    /// It seals from this time on (milliseconds since 1970), until the key after it does.
    pub seals_from: u64,
}

/// The keys of one source, in the order of their times: at least one, at most [`SECRETS_MAX`], all
/// different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<TicketKey>,
    /// All keys open at any time: the operator removes the old ones.
    ordered: bool,
}

/// Keys are no set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetFault {
    /// There is none.
    #[error("there is no key")]
    Empty,
    /// There are too many.
    #[error("there are more than {SECRETS_MAX} keys")]
    TooMany,
    /// Two are the same.
    #[error("two keys are the same")]
    Twice,
}

impl KeySet {
    /// A set of these keys, in any order.
    ///
    /// # Errors
    /// When there is none, there are too many, or two are the same.
    pub fn new(mut keys: Vec<TicketKey>) -> Result<Self, KeySetFault> {
        match keys.len() {
            0 => return Err(KeySetFault::Empty),
            1..=SECRETS_MAX => {}
            _ => return Err(KeySetFault::TooMany),
        }
        for (place, key) in keys.iter().enumerate() {
            if keys[..place].iter().any(|other| other.secret == key.secret) {
                return Err(KeySetFault::Twice);
            }
        }
        keys.sort_by_key(|key| key.seals_from);
        Ok(Self::of(keys))
    }

    fn of(keys: Vec<TicketKey>) -> Self {
        Self {
            keys,
            ordered: false,
        }
    }

    /// A set whose order is the operator's and does not depend on the time: the last key but one
    /// seals (or the only one), the last one is the next, the others open.
    ///
    /// # Errors
    /// As for [`KeySet::new`].
    pub fn ordered(secrets: Vec<TicketSecret>) -> Result<Self, KeySetFault> {
        let sealing = secrets.len().saturating_sub(2);
        let keys = secrets.into_iter().enumerate().map(|(place, secret)| {
            let seals_from = if place <= sealing { 0 } else { u64::MAX };
            TicketKey { secret, seals_from }
        });
        // Sorting is stable, so the last of those with the time 0 stays the one that seals.
        let set = Self::new(keys.collect())?;
        Ok(Self {
            ordered: true,
            ..set
        })
    }

    /// A set that begins now, with the key after the first one.
    pub fn begin(now: u64, mut fresh: impl FnMut() -> TicketSecret) -> Self {
        let key = |secret, seals_from| TicketKey { secret, seals_from };
        Self::of(vec![
            key(fresh(), now),
            key(fresh(), now.saturating_add(millis(SEALS_FOR))),
        ])
    }

    /// The keys, in the order of their times.
    pub fn keys(&self) -> &[TicketKey] {
        &self.keys
    }

    /// The place of the key that seals at `now`. Before the time of all keys it is the first.
    pub fn sealing(&self, now: u64) -> usize {
        let begun = self.keys.iter().rposition(|key| key.seals_from <= now);
        begun.unwrap_or(0)
    }

    /// Whether the key at this place opens at `now`: it does from the beginning, and until
    /// [`OPENS_AFTER`] has passed since another one seals.
    pub fn opens(&self, place: usize, now: u64) -> bool {
        let next = self.keys.get(place + 1);
        let ended = next.map_or(u64::MAX, |next| next.seals_from);
        self.ordered
            || place >= self.sealing(now)
            || now < ended.saturating_add(millis(OPENS_AFTER))
    }

    /// The set after the rotation that is due at `now`; `None` if none is. There is always a next
    /// key, for a whole [`SEALS_FOR`] before it seals; keys that no longer open are dropped, and so
    /// are those of a clock that was far ahead.
    pub fn rotated(&self, now: u64, mut fresh: impl FnMut() -> TicketSecret) -> Option<Self> {
        let period = millis(SEALS_FOR);
        let absurd = now.saturating_add(2 * period);
        let ahead = |key: &TicketKey| (now..=absurd).contains(&key.seals_from);
        let has_next = self.keys.iter().any(ahead);
        let kept = |(place, key): &(usize, &TicketKey)| {
            self.opens(*place, now) && key.seals_from <= absurd
        };
        let kept = self.keys.iter().enumerate().filter(kept);
        let mut keys: Vec<_> = kept.map(|(_, key)| key.clone()).collect();
        if has_next && keys.len() == self.keys.len() {
            return None;
        }
        if keys.is_empty() {
            return Some(Self::begin(now, fresh));
        }
        if !has_next {
            keys.push(TicketKey {
                secret: fresh(),
                seals_from: now.saturating_add(period),
            });
        }
        // Sets of other writers may hold more keys than a rotation of our own keeps.
        keys.drain(..keys.len().saturating_sub(SECRETS_MAX));
        Some(Self::of(keys))
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
