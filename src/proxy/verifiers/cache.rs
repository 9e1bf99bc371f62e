//! A bounded cache whose entries all live equally long. `quick_cache` decides which entries are
//! evicted when it is full: those that were not used again go first, so that requests that come
//! once do not displace those that come again.

use std::hash::{Hash, RandomState};
use std::time::{Duration, Instant};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, UnitWeighter};

/// The share of entries that were used again. It is lower than the default, since old entries
/// expire however often they were used.
const USED_AGAIN: f64 = 0.5;

/// A bounded cache with one time to live.
pub(crate) struct ExpiringCache<K, V> {
    time_to_live: Duration,
    entries: Cache<K, (Instant, V), UnitWeighter, RandomState>,
}

impl<K: Clone + Eq + Hash, V: Clone> ExpiringCache<K, V> {
    /// An empty cache of at most `most` entries that live for `time_to_live`.
    pub(crate) fn new(time_to_live: Duration, most: usize) -> Self {
        let options = OptionsBuilder::new()
            // The bound is exact only of one shard.
            .shards(1)
            .hot_allocation(USED_AGAIN)
            .estimated_items_capacity(most)
            .weight_capacity(most as u64)
            .build();
        Self {
            time_to_live,
            entries: Cache::with_options(
                options.expect("both capacities are set"),
                UnitWeighter,
                RandomState::new(),
                DefaultLifecycle::default(),
            ),
        }
    }

    /// The value of a key, unless it has expired.
    pub(crate) fn get(&self, key: &K, now: Instant) -> Option<V> {
        let (until, value) = self.entries.get(key)?;
        if now < until {
            return Some(value);
        }
        // Another request may have put a new value meanwhile.
        self.entries.remove_if(key, |(until, _)| *until <= now);
        None
    }

    /// Puts a value in place of the key's old one, and of another entry if there is no room.
    pub(crate) fn put(&self, key: K, value: V, now: Instant) {
        if !self.time_to_live.is_zero() {
            self.entries.insert(key, (now + self.time_to_live, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_entry_is_used_until_it_expires() {
        let start = clock::now();
        let cache = ExpiringCache::new(seconds(10), 3);
        assert_eq!(cache.get(&1, start), None);
        cache.put(1, 'a', start);
        assert_eq!(cache.get(&1, start + seconds(9)), Some('a'));
        assert_eq!(cache.get(&1, start + seconds(10)), None);
        assert_eq!(cache.entries.len(), 0);

        cache.put(1, 'a', start);
        cache.put(1, 'b', start + seconds(5));
        assert_eq!(cache.get(&1, start + seconds(14)), Some('b'));
        assert_eq!(cache.get(&1, start + seconds(15)), None);
    }

    #[test]
    fn i8_a_cache_holds_no_more_than_its_bound() {
        let now = clock::now();
        for most in [0, 1, 2, 3, 100] {
            let cache = ExpiringCache::new(seconds(10), most);
            for key in 0..1_000 {
                cache.put(key, (), now);
                assert!(cache.entries.len() <= most, "{most}");
            }
            let known = (0..1_000).filter(|key| cache.get(key, now).is_some());
            assert_eq!(known.count(), most);
        }
        let off = ExpiringCache::new(Duration::ZERO, 3);
        off.put(1, (), now);
        assert!(off.entries.is_empty());
    }

    #[test]
    fn requests_that_come_once_do_not_displace_one_that_comes_again() {
        let now = clock::now();
        let cache = ExpiringCache::new(seconds(10), 10);
        cache.put(0, (), now);
        for key in 1..1_000 {
            assert!(cache.get(&0, now).is_some(), "gone after {key}");
            cache.put(key, (), now);
        }
    }
}
