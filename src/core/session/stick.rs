//! Where the live sessions of a key are, for routes with `stick = "live"`. Touched when a session
//! begins, moves or ends, and only then; what has no session takes no room.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;
use xxhash_rust::xxh3::Xxh3;

use crate::base::names::BackendId;

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

/// All keys with live sessions.
#[derive(Debug)]
pub struct Sticks {
    shards: Box<[Mutex<HashMap<StickyKey, KeyBackends>>]>,
}

impl Default for Sticks {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }
}

impl Sticks {
    /// A session of this key is on this backend for as long as what is returned lives.
    pub fn join(self: &Arc<Self>, key: StickyKey, backend: &BackendId) -> Stuck {
        let mut shard = self.shard(key);
        let backends = shard.entry(key).or_default();
        match backends.iter_mut().find(|(id, _)| id == backend) {
            Some((_, count)) => *count += 1,
            None => backends.push((backend.clone(), 1)),
        }
        Stuck {
            sticks: Arc::clone(self),
            key,
            backend: backend.clone(),
        }
    }

    /// Backends that have live sessions of this key, the one that it came to first in front.
    pub fn backends(&self, key: StickyKey) -> SmallVec<[BackendId; 2]> {
        let shard = self.shard(key);
        let backends = shard.get(&key).into_iter().flatten();
        backends.map(|(backend, _)| backend.clone()).collect()
    }

    /// Keys that have live sessions.
    pub fn len(&self) -> usize {
        let shards = self.shards.iter();
        let locked = shards.map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner));
        locked.map(|shard| shard.len()).sum()
    }

    /// Whether no key has a live session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn leave(&self, key: StickyKey, backend: &BackendId) {
        let mut shard = self.shard(key);
        let Some(backends) = shard.get_mut(&key) else {
            return;
        };
        if let Some((_, count)) = backends.iter_mut().find(|(id, _)| id == backend) {
            *count -= 1;
        }
        backends.retain(|(_, count)| *count > 0);
        if backends.is_empty() {
            shard.remove(&key);
        }
    }

    fn shard(&self, key: StickyKey) -> MutexGuard<'_, HashMap<StickyKey, KeyBackends>> {
        let shard = &self.shards[key.0 as usize & (SHARDS - 1)];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One session's part in keeping its key where it is.
#[derive(Debug)]
pub struct Stuck {
    sticks: Arc<Sticks>,
    key: StickyKey,
    backend: BackendId,
}

impl Drop for Stuck {
    fn drop(&mut self) {
        self.sticks.leave(self.key, &self.backend);
    }
}

#[cfg(test)]
mod tests {
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
                    live.push((key, id.clone(), sticks.join(hash, &id)));
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
    fn keys_of_two_upstreams_are_two() {
        assert_ne!(StickyKey::new("a", b"b"), StickyKey::new("ab", b""));
        assert_ne!(StickyKey::new("a", b"k"), StickyKey::new("b", b"k"));
    }
}
