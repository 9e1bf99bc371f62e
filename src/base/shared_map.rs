//! A map that is cheap to clone: clones share their entries in shards, and a change copies only the
//! shard that it touches.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// With 100,000 entries, a change copies about 1,600 of them.
const SHARDS: usize = 64;

/// A hash map of which many versions can exist at once.
#[derive(Clone, Debug)]
pub struct SharedMap<K, V> {
    shards: Box<[Arc<HashMap<K, V>>]>,
    len: usize,
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        let empty = Arc::new(HashMap::new());
        Self {
            shards: (0..SHARDS).map(|_| Arc::clone(&empty)).collect(),
            len: 0,
        }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> SharedMap<K, V> {
    /// The value under `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.shards[shard_of(key)].get(key)
    }

    /// Stores a value; returns the one that it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let replaced = self.shard_mut(&key).insert(key, value);
        self.len += usize::from(replaced.is_none());
        replaced
    }

    /// Removes a value; a key that is absent copies nothing.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.get(key)?;
        self.len -= 1;
        self.shard_mut(key).remove(key)
    }

    /// Changes the value under `key`, which starts as the default; `keep` decides whether the value
    /// stays afterwards.
    pub fn update(&mut self, key: &K, change: impl FnOnce(&mut V), keep: impl FnOnce(&V) -> bool)
    where
        V: Default,
    {
        let shard = self.shard_mut(key);
        let before = shard.len();
        let value = shard.entry(key.clone()).or_default();
        change(value);
        if !keep(value) {
            shard.remove(key);
        }
        let after = shard.len();
        self.len = self.len - before + after;
    }

    /// All values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flat_map(|shard| shard.values())
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn shard_mut(&mut self, key: &K) -> &mut HashMap<K, V> {
        Arc::make_mut(&mut self.shards[shard_of(key)])
    }
}

/// The hash is unkeyed. Keys that were chosen to meet in one shard cost copies of that shard, as
/// one map of all entries would; inside a shard, hashes are keyed.
fn shard_of(key: &impl Hash) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    (hasher.finish() % SHARDS as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8, u8),
        Remove(u8),
        Add(u8, u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            any::<(u8, u8)>().prop_map(|(key, value)| Step::Insert(key, value)),
            any::<u8>().prop_map(Step::Remove),
            any::<(u8, u8)>().prop_map(|(key, more)| Step::Add(key, more)),
        ]
    }

    fn contents(map: &SharedMap<u8, u8>) -> BTreeMap<u8, u8> {
        let keys = 0..=u8::MAX;
        keys.filter_map(|key| Some((key, *map.get(&key)?)))
            .collect()
    }

    proptest! {
        /// It behaves as an ordinary map does, and clones keep what they had.
        #[test]
        fn clones_are_versions(steps in prop::collection::vec(step(), 0..200)) {
            let (mut map, mut twin) = (SharedMap::default(), BTreeMap::new());
            let mut versions = Vec::new();
            for step in steps {
                versions.push((map.clone(), twin.clone()));
                match step {
                    Step::Insert(key, value) => {
                        prop_assert_eq!(map.insert(key, value), twin.insert(key, value));
                    }
                    Step::Remove(key) => prop_assert_eq!(map.remove(&key), twin.remove(&key)),
                    Step::Add(key, more) => {
                        let sum = |value: &mut u8| *value = value.wrapping_add(more);
                        map.update(&key, sum, |value| *value > 9);
                        sum(twin.entry(key).or_default());
                        twin.retain(|one, value| *one != key || *value > 9);
                    }
                }
                prop_assert_eq!(map.len(), twin.len());
                prop_assert_eq!(map.is_empty(), twin.is_empty());
                prop_assert_eq!(map.values().count(), twin.len());
            }
            versions.push((map, twin));
            for (map, twin) in versions {
                prop_assert_eq!(contents(&map), twin);
            }
        }
    }
}
