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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 60 * 60 * 1000;
    const START: u64 = 1_000_000 * HOUR;

    /// Secrets that are all different.
    fn fresh() -> impl FnMut() -> TicketSecret {
        let mut count = 0;
        move || {
            count += 1;
            TicketSecret::new([count; 32])
        }
    }

    fn sealing(set: &KeySet, now: u64) -> &TicketSecret {
        &set.keys()[set.sealing(now)].secret
    }

    fn opens(set: &KeySet, secret: &TicketSecret, now: u64) -> bool {
        let place = set.keys().iter().position(|key| key.secret == *secret);
        place.is_some_and(|place| set.opens(place, now))
    }

    #[test]
    fn the_next_key_opens_a_whole_period_before_it_seals() {
        let set = KeySet::begin(START, fresh());
        let [first, next] = set.keys() else {
            panic!("two keys")
        };
        assert!(opens(&set, &next.secret, START));
        assert_eq!(sealing(&set, START), &first.secret);
        assert_eq!(sealing(&set, START + 6 * HOUR - 1), &first.secret);
        assert_eq!(sealing(&set, START + 6 * HOUR), &next.secret);
        assert!(opens(&set, &first.secret, START + 18 * HOUR - 1));
        assert!(!opens(&set, &first.secret, START + 18 * HOUR));
        assert!(
            opens(&set, &next.secret, START + 1000 * HOUR),
            "there is no other"
        );
    }

    #[test]
    fn a_rotation_is_due_when_there_is_no_next_key_or_an_old_one_no_longer_opens() {
        let mut secrets = fresh();
        let set = KeySet::begin(START, &mut secrets);
        assert_eq!(set.rotated(START + 6 * HOUR, &mut secrets), None);
        let second = set.rotated(START + 7 * HOUR, &mut secrets).expect("due");
        assert_eq!(second.keys().len(), 3);
        assert_eq!(second.keys()[2].seals_from, START + 13 * HOUR);
        assert_eq!(second.rotated(START + 12 * HOUR, &mut secrets), None);
        let third = second
            .rotated(START + 18 * HOUR, &mut secrets)
            .expect("due");
        assert_eq!(
            third.keys()[0],
            second.keys()[1],
            "the first one was dropped"
        );
    }

    #[test]
    fn the_operators_order_does_not_depend_on_the_time() {
        let ordered = |count| {
            let mut secrets = fresh();
            KeySet::ordered((0..count).map(|_| secrets()).collect())
        };
        for (count, expected) in [(1, 1), (2, 1), (3, 2), (5, 4)] {
            let set = ordered(count).expect("a set");
            assert_eq!(sealing(&set, START), &TicketSecret::new([expected; 32]));
            assert!((0..count).all(|place| set.opens(place, START)), "{count}");
        }
        assert_eq!(ordered(0), Err(KeySetFault::Empty));
        assert_eq!(ordered(SECRETS_MAX + 1), Err(KeySetFault::TooMany));
        let same = vec![TicketSecret::new([1; 32]); 2];
        assert_eq!(KeySet::ordered(same), Err(KeySetFault::Twice));
    }

    #[test]
    fn keys_of_a_clock_that_was_far_ahead_do_not_stop_the_rotation() {
        let mut secrets = fresh();
        let ahead = KeySet::begin(START + 100_000 * HOUR, &mut secrets);
        let mended = ahead.rotated(START, &mut secrets).expect("due");
        assert_eq!(mended.keys()[0].seals_from, START);
        assert_eq!(mended.rotated(START, &mut secrets), None);
    }

    proptest! {
        /// Whatever gateways rotate at whatever times: what one of them has sealed, all that know
        /// of the rotations up to one period ago open for the lifetime of a ticket.
        #[test]
        fn a_gateway_that_is_a_period_behind_opens_what_the_others_seal(
            steps in proptest::collection::vec(0_u64..8 * HOUR, 1..40),
        ) {
            let mut secrets = {
                let mut count = 0_u64;
                move || {
                    count += 1;
                    let mut bytes = [0; 32];
                    bytes[..8].copy_from_slice(&count.to_be_bytes());
                    TicketSecret::new(bytes)
                }
            };
            let mut now = START;
            // The set in force since each time.
            let mut history = vec![(now, KeySet::begin(now, &mut secrets))];
            for step in steps {
                now += step;
                let set = history.last().expect("not empty").1.clone();
                let set = set.rotated(now, &mut secrets).unwrap_or(set);
                let sealed = sealing(&set, now).clone();
                history.push((now, set));
                let behind = history.iter().rfind(|(since, _)| *since + 6 * HOUR <= now);
                if let Some((_, behind)) = behind {
                    // The key that seals was published with the rotation a period earlier at the
                    // latest, unless nothing rotated for longer than that.
                    let known = behind.keys().iter().any(|key| key.secret == sealed);
                    prop_assert!(known, "at {now}");
                }
                for (since, past) in &history {
                    let lately = now < since + 12 * HOUR;
                    let current = &history.last().expect("not empty").1;
                    prop_assert!(!lately || opens(current, sealing(past, *since), now));
                }
            }
        }
    }
}
