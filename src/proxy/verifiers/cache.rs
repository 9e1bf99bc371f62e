//! A cache whose entries all live equally long: the oldest expires first and is evicted first, at a
//! cost that does not grow with the cache.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A bounded cache with one time to live.
pub(crate) struct ExpiringCache<K, V> {
    lives: Duration,
    most: usize,
    kept: Mutex<Kept<K, V>>,
}

struct Kept<K, V> {
    values: HashMap<Arc<K>, (Instant, V)>,
    /// Keys by expiry. A key that was put again is in it twice.
    order: VecDeque<(Instant, Arc<K>)>,
}

impl<K: Eq + Hash, V: Clone> ExpiringCache<K, V> {
    /// An empty cache of `most` entries that live for `lives`.
    pub(crate) fn new(lives: Duration, most: usize) -> Self {
        Self {
            lives,
            most,
            kept: Mutex::new(Kept {
                values: HashMap::new(),
                order: VecDeque::new(),
            }),
        }
    }

    /// The value of a key, unless it has expired.
    pub(crate) fn get(&self, key: &K, now: Instant) -> Option<V> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, value) = kept.values.get(key)?;
        (now < *until).then(|| value.clone())
    }

    /// Puts a value in place of the key's old one, and of the oldest entry if there is no room.
    pub(crate) fn put(&self, key: K, value: V, now: Instant) {
        if self.most == 0 || self.lives.is_zero() {
            return;
        }
        let (key, until) = (Arc::new(key), now + self.lives);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = &mut *kept;
        while let Some((expires, oldest)) = kept.order.front() {
            if now < *expires && kept.order.len() < self.most {
                break;
            }
            if kept
                .values
                .get(oldest)
                .is_some_and(|(until, _)| until == expires)
            {
                kept.values.remove(oldest);
            }
            kept.order.pop_front();
        }
        kept.order.push_back((until, Arc::clone(&key)));
        kept.values.insert(key, (until, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    #[test]
    fn the_oldest_goes_first_and_nothing_outlives_its_time() {
        let start = clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let recent = ExpiringCache::new(Duration::from_secs(10), 3);
        for key in 0..4 {
            recent.put(key, key * 2, at(key));
        }
        let known = |now| (0..4).map(|key| recent.get(&key, now)).collect::<Vec<_>>();
        assert_eq!(known(at(4)), [None, Some(2), Some(4), Some(6)]);
        assert_eq!(known(at(11)), [None, None, Some(4), Some(6)]);
        recent.put(2, 9, at(11));
        assert_eq!(known(at(20)), [None, None, Some(9), None]);
        for key in 0..1_000 {
            recent.put(key, key, at(30));
        }
        let kept = recent.kept.lock().unwrap();
        assert!(kept.values.len() <= 3 && kept.order.len() <= 3);
    }
}
