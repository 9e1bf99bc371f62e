//! Live counts: how many sessions or connections a holder has now. A holder is in memory only while
//! it has any, so there are never more of them than there are sessions and connections.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::RandomState;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::core::limits::holder::{Holder, hash};

const SHARDS: usize = 64;

type Shard = Mutex<HashMap<Holder, usize>>;

/// The counts of all holders.
pub struct Counts {
    hasher: RandomState,
    shards: Arc<[Shard]>,
}

/// The holder has as many as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// One of a holder's, given back when it is dropped.
pub struct Permit {
    holder: Holder,
    shard: usize,
    shards: Arc<[Shard]>,
}

impl Counts {
    /// Empty counts.
    pub fn new(hasher: RandomState) -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Self { hasher, shards }
    }

    /// One more for the holder, if it has fewer than `max`.
    ///
    /// # Errors
    /// When it has that many.
    pub fn take(&self, holder: Holder, max: usize) -> Result<Permit, Full> {
        let shard = usize::try_from(hash(&self.hasher, &holder) % SHARDS as u64).expect("small");
        let mut counts = lock(&self.shards[shard]);
        let live = counts.entry(holder.clone()).or_insert(0);
        if *live >= max {
            if max == 0 {
                counts.remove(&holder);
            }
            return Err(Full);
        }
        *live += 1;
        drop(counts);
        Ok(Permit {
            holder,
            shard,
            shards: Arc::clone(&self.shards),
        })
    }

    /// The holders with the highest counts, at most `most` of them. Walks all holders.
    pub fn largest(&self, most: usize) -> Vec<(Holder, usize)> {
        let mut all: Vec<_> = self
            .shards
            .iter()
            .flat_map(|shard| {
                let counts = lock(shard);
                let pairs = counts.iter().map(|(holder, live)| (holder.clone(), *live));
                pairs.collect::<Vec<_>>()
            })
            .collect();
        all.sort_unstable_by(|(a, most), (b, least)| least.cmp(most).then_with(|| a.cmp(b)));
        all.truncate(most);
        all
    }

    /// How many holders there are.
    pub fn holders(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }
}

impl Permit {
    /// Whose it is.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = lock(&self.shards[self.shard]);
        // The name is copied only for an absent holder, which cannot happen here.
        if let Entry::Occupied(mut live) = counts.entry(self.holder.clone()) {
            *live.get_mut() -= 1;
            if *live.get() == 0 {
                live.remove();
            }
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({})", self.holder)
    }
}

fn lock(shard: &Shard) -> MutexGuard<'_, HashMap<Holder, usize>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holder(n: u8) -> Holder {
        Holder::Route(format!("r{n}").as_str().into())
    }

    #[test]
    fn a_place_is_free_again_when_its_permit_goes() {
        let counts = Counts::new(RandomState::new());
        let first = counts.take(holder(1), 2).expect("room");
        let second = counts.take(holder(1), 2).expect("room");
        assert_eq!(counts.take(holder(1), 2).err(), Some(Full));
        let _other = counts.take(holder(2), 1).expect("another's room");
        assert_eq!(counts.largest(1), [(holder(1), 2)]);
        drop(first);
        let third = counts.take(holder(1), 2).expect("room again");
        drop((second, third));
        assert_eq!(
            (counts.holders(), counts.take(holder(3), 0).err()),
            (1, Some(Full))
        );
        assert_eq!(counts.holders(), 1);
    }

    proptest! {
        #[test]
        fn counts_are_those_of_the_permits(ops in prop::collection::vec((0_u8..4, any::<bool>()), 0..200)) {
            let counts = Counts::new(RandomState::new());
            let mut held: Vec<(u8, Permit)> = Vec::new();
            for (who, take) in ops {
                if take {
                    let live = held.iter().filter(|(other, _)| *other == who).count();
                    match counts.take(holder(who), 5) {
                        Ok(permit) => held.push((who, permit)),
                        Err(Full) => prop_assert_eq!(live, 5),
                    }
                } else if let Some(at) = held.iter().position(|(other, _)| *other == who) {
                    held.swap_remove(at);
                }
                let shown: usize = counts.largest(usize::MAX).iter().map(|(_, live)| live).sum();
                prop_assert_eq!(shown, held.len());
            }
            held.clear();
            prop_assert_eq!(counts.holders(), 0);
        }
    }
}
