//! Where the live sessions of a key are, for routes with `stick = "live"`. Touched when a session
//! begins, moves or ends, and only then. A key without sessions takes room only on routes that keep
//! its backend (`stick_for`), within a bound.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use xxhash_rust::xxh3::Xxh3;

use crate::base::names::BackendId;

/// Keys without sessions in one shard; the oldest are forgotten first.
const KEPT_MAX: usize = 2048;
/// So that workers seldom wait for each other; a power of two.
const SHARDS: usize = 64;

/// A key of an upstream; 128 bits, so that two never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StickyKey(u128);

impl StickyKey {
    /// The key with these bytes, of that upstream.
    pub fn new(upstream: &str, key: &[u8]) -> Self {
        let mut hasher = Xxh3::new();
        hasher.update(upstream.as_bytes());
        // No name of an upstream has this byte.
        hasher.update(&[0xff]);
        hasher.update(key);
        Self(hasher.digest128())
    }
}

/// Backends of a key with the number of its sessions there, in the order in which they came.
type KeyBackends = SmallVec<[(BackendId, u32); 1]>;

/// The backend of a key whose last session has ended.
#[derive(Debug)]
struct Kept {
    backend: BackendId,
    keep: Duration,
    /// Unknown until the next [`Sticks::expire`], which has a clock.
    until: Option<Instant>,
}

#[derive(Debug, Default)]
struct Shard {
    live: HashMap<StickyKey, KeyBackends>,
    kept: HashMap<StickyKey, Kept>,
    /// The keys of `kept`, the oldest in front, with some that are not kept any more.
    order: VecDeque<StickyKey>,
}

/// All keys with live sessions, and those that keep their backends without.
#[derive(Debug)]
pub struct Sticks {
    shards: Box<[Mutex<Shard>]>,
}

impl Default for Sticks {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }
}

impl Sticks {
    /// A session of this key is on this backend for as long as what is returned lives, and the key
    /// keeps it for `keep` after its last session.
    pub fn join(self: &Arc<Self>, key: StickyKey, backend: &BackendId, keep: Duration) -> Stuck {
        let mut shard = self.shard(key);
        shard.kept.remove(&key);
        let backends = shard.live.entry(key).or_default();
        match backends.iter_mut().find(|(id, _)| id == backend) {
            Some((_, count)) => *count += 1,
            None => backends.push((backend.clone(), 1)),
        }
        Stuck {
            sticks: Arc::clone(self),
            key,
            backend: backend.clone(),
            keep,
        }
    }

    /// The key keeps this backend for a while from now on, unless it has live sessions.
    pub fn keep(&self, key: StickyKey, backend: &BackendId, keep: Duration) {
        let mut shard = self.shard(key);
        if !keep.is_zero() && !shard.live.contains_key(&key) {
            shard.keep(key, backend, keep);
        }
    }

    /// The backend that a key without live sessions keeps.
    pub fn kept(&self, key: StickyKey) -> Option<BackendId> {
        let shard = self.shard(key);
        shard.kept.get(&key).map(|kept| kept.backend.clone())
    }

    /// Forgets the backends that were kept long enough. Called about every second; walks the keys
    /// without sessions, of which there is a bounded number.
    pub fn expire(&self, now: Instant) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let Shard { kept, order, .. } = &mut *shard;
            kept.retain(|_, one| *one.until.get_or_insert(now + one.keep) > now);
            order.retain(|key| kept.contains_key(key));
        }
    }

    /// Backends that have live sessions of this key, the one that it came to first in front.
    pub fn backends(&self, key: StickyKey) -> SmallVec<[BackendId; 2]> {
        let shard = self.shard(key);
        let backends = shard.live.get(&key).into_iter().flatten();
        backends.map(|(backend, _)| backend.clone()).collect()
    }

    /// Keys that have live sessions.
    pub fn len(&self) -> usize {
        let shards = self.shards.iter();
        let locked = shards.map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner));
        locked.map(|shard| shard.live.len()).sum()
    }

    /// Whether no key has a live session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn leave(&self, key: StickyKey, backend: &BackendId, keep: Duration) {
        let mut shard = self.shard(key);
        let Some(backends) = shard.live.get_mut(&key) else {
            return;
        };
        if let Some((_, count)) = backends.iter_mut().find(|(id, _)| id == backend) {
            *count -= 1;
        }
        backends.retain(|(_, count)| *count > 0);
        if backends.is_empty() {
            shard.live.remove(&key);
            if !keep.is_zero() {
                shard.keep(key, backend, keep);
            }
        }
    }

    fn shard(&self, key: StickyKey) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[key.0 as usize & (SHARDS - 1)];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn keep(&mut self, key: StickyKey, backend: &BackendId, keep: Duration) {
        let kept = Kept {
            backend: backend.clone(),
            keep,
            until: None,
        };
        if self.kept.insert(key, kept).is_none() {
            self.order.push_back(key);
        }
        while self.kept.len() > KEPT_MAX || self.order.len() > 2 * KEPT_MAX {
            match self.order.pop_front() {
                Some(oldest) => drop(self.kept.remove(&oldest)),
                None => return,
            }
        }
    }
}

/// One session's part in keeping its key where it is.
#[derive(Debug)]
pub struct Stuck {
    sticks: Arc<Sticks>,
    key: StickyKey,
    backend: BackendId,
    keep: Duration,
}

impl Drop for Stuck {
    fn drop(&mut self) {
        self.sticks.leave(self.key, &self.backend, self.keep);
    }
}

#[cfg(test)]
mod tests {
    use crate::base::clock;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn places_are_those_of_an_obvious_list_and_nothing_stays_behind(
            steps in prop::collection::vec((any::<bool>(), 0_u8..6, 0_u8..4), 0..200),
        ) {
            let sticks = Arc::new(Sticks::default());
            let mut live: Vec<(u8, BackendId, Stuck)> = Vec::new();
            for (joins, key, backend) in steps {
                let hash = StickyKey::new("chat", &[key]);
                if joins {
                    let id = BackendId::from(format!("b{backend}").as_str());
                    live.push((key, id.clone(), sticks.join(hash, &id, Duration::ZERO)));
                } else if !live.is_empty() {
                    live.remove(usize::from(key) % live.len());
                }
                for key in 0..6 {
                    let mut expected: Vec<_> = live
                        .iter()
                        .filter(|(of, ..)| *of == key)
                        .map(|(_, id, _)| id.clone())
                        .collect();
                    expected.sort();
                    expected.dedup();
                    let mut found = sticks.backends(StickyKey::new("chat", &[key])).to_vec();
                    found.sort();
                    prop_assert_eq!(found, expected);
                }
            }
            prop_assert!(sticks.len() <= live.len());
            live.clear();
            prop_assert!(sticks.is_empty());
        }
    }

    #[test]
    fn a_key_keeps_its_backend_for_a_while_after_its_last_session() {
        let (sticks, key) = (Arc::new(Sticks::default()), StickyKey::new("chat", b"ann"));
        let (a, b, keep) = ("a".into(), "b".into(), Duration::from_secs(10));
        let first = sticks.join(key, &a, keep);
        let second = sticks.join(key, &a, keep);
        drop(first);
        assert_eq!((sticks.backends(key).len(), sticks.kept(key)), (1, None));
        drop(second);
        assert_eq!(
            (sticks.backends(key).len(), sticks.kept(key)),
            (0, Some(a.clone()))
        );
        let now = clock::now();
        sticks.expire(now);
        sticks.expire(now + keep / 2);
        assert_eq!(sticks.kept(key), Some(a));
        // A live session counts more than what is kept, and ends it.
        let third = sticks.join(key, &b, Duration::ZERO);
        sticks.keep(key, &"c".into(), keep);
        assert_eq!(sticks.kept(key), None);
        drop(third);
        assert_eq!(sticks.kept(key), None, "its route keeps nothing");
        sticks.keep(key, &b, keep);
        sticks.expire(now);
        sticks.expire(now + keep);
        assert_eq!(sticks.kept(key), None);
    }

    #[test]
    fn i8_keys_without_sessions_are_bounded() {
        let sticks = Sticks::default();
        let key = |n: u32| StickyKey::new("chat", &n.to_be_bytes());
        for n in 0..400_000 {
            sticks.keep(key(n), &"a".into(), Duration::from_secs(10));
        }
        let kept = (0..400_000)
            .filter(|n| sticks.kept(key(*n)).is_some())
            .count();
        assert!(kept <= SHARDS * KEPT_MAX, "{kept}");
        assert!(sticks.kept(key(399_999)).is_some(), "the newest stays");
    }

    #[test]
    fn keys_of_two_upstreams_are_two() {
        assert_ne!(StickyKey::new("a", b"b"), StickyKey::new("ab", b""));
        assert_ne!(StickyKey::new("a", b"k"), StickyKey::new("b", b"k"));
    }
}
