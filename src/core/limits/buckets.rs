//! A large number of token buckets in a fixed amount of memory. They are kept in sets of eight by
//! the hash of their holder. In a full set the fullest bucket is evicted, so that a flood of
//! addresses first evicts buckets that carry no information. Evicted buckets restart full (fail
//! open).

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::core::limits::bucket::Pace;
use crate::core::limits::holder::{Holder, hash};

/// Buckets that share a set.
const WAYS: usize = 8;
/// Sets under one lock.
const SETS_PER_SHARD: usize = 64;

/// A bucket; a hash of zero marks a free slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bucket {
    hash: u64,
    full_at: u64,
}

type Set = [Bucket; WAYS];

/// The buckets of all holders.
pub struct Buckets<S> {
    hasher: S,
    shards: Box<[Mutex<Box<[Set]>>]>,
    forgotten: AtomicU64,
}

impl<S: BuildHasher> Buckets<S> {
    /// For so many holders, rounded up to a whole number of shards; 16 bytes each, for good.
    pub fn new(holders: usize, hasher: S) -> Self {
        let shards = holders.div_ceil(WAYS * SETS_PER_SHARD).next_power_of_two();
        let shard = || Mutex::new(vec![Set::default(); SETS_PER_SHARD].into_boxed_slice());
        Self {
            hasher,
            shards: (0..shards).map(|_| shard()).collect(),
            forgotten: AtomicU64::new(0),
        }
    }

    /// Takes one unit of `pace` from the holder's bucket; an unknown holder starts with a full one.
    ///
    /// # Errors
    /// The time until a unit is available.
    pub fn take(&self, holder: &Holder, pace: Pace, now: u64) -> Result<(), Duration> {
        let hash = hash(&self.hasher, holder) | 1;
        // The upper half selects the set: it is independent of the lowest bit.
        let place = usize::try_from(hash >> 32).expect("four bytes");
        let shard = &self.shards[place % self.shards.len()];
        let mut sets = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let set = &mut sets[place / self.shards.len() % SETS_PER_SHARD];
        let bucket = match set.iter().position(|bucket| bucket.hash == hash) {
            Some(known) => &mut set[known],
            None => {
                let fullest = set.iter_mut().min_by_key(|bucket| bucket.full_at);
                let bucket = fullest.expect("a set has ways");
                if bucket.full_at > now {
                    self.forgotten.fetch_add(1, Ordering::Relaxed);
                }
                *bucket = Bucket { hash, full_at: 0 };
                bucket
            }
        };
        pace.take(&mut bucket.full_at, now)
    }

    /// Buckets that were thrown out before they were full again.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    /// Bytes in total, however many holders there are.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.shards.len() * SETS_PER_SHARD * size_of::<Set>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::hash::{BuildHasherDefault, DefaultHasher};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::config::limits::{PrefixLengths, Rate};
    use crate::core::limits::network_of;

    type Fixed = BuildHasherDefault<DefaultHasher>;

    fn holder(address: impl Into<IpAddr>) -> Holder {
        network_of(&"chat".into(), PrefixLengths::default(), address.into())
    }

    fn rate(text: &str) -> Rate {
        text.parse().expect("a rate")
    }

    #[test]
    fn i8_a_flood_of_addresses_takes_no_more_memory_and_passes_no_quota_of_its_own() {
        let buckets = Buckets::new(1 << 16, Fixed::default());
        let before = buckets.bytes();
        assert_eq!(before, 1 << 20);
        let pace = Pace::new(rate("10/m"));
        let mut passed = 0_u32;
        // One prefix of /48 has 65,536 networks of /64, here each is used from many addresses.
        for n in 0..200_000_u128 {
            let address = Ipv6Addr::from(0x2001_0db8_0000_0000_0000_0000_0000_0000 | n);
            passed += u32::from(buckets.take(&holder(address), pace, n as u64).is_ok());
        }
        assert_eq!(passed, 10, "all of them are one network");
        for n in 0..1_000_000_u32 {
            let _ = buckets.take(&holder(Ipv4Addr::from(n)), pace, 1_000_000 + u64::from(n));
        }
        assert_eq!(buckets.bytes(), before);
        assert!(buckets.forgotten() > 0);
    }

    #[test]
    fn holders_over_their_quota_are_kept_while_there_is_room() {
        let buckets = Buckets::new(1 << 12, Fixed::default());
        let pace = Pace::new(rate("5/m"));
        let culprit = holder(Ipv4Addr::new(192, 0, 2, 1));
        for _ in 0..5 {
            assert!(buckets.take(&culprit, pace, 0).is_ok());
        }
        // Other holders appear once each, so their buckets are fuller than the flooding one's.
        for n in 0..100_000_u32 {
            let _ = buckets.take(&holder(Ipv4Addr::from(n)), pace, u64::from(n));
            assert!(
                buckets.take(&culprit, pace, u64::from(n)).is_err(),
                "forgotten at {n}"
            );
        }
    }

    proptest! {
        /// With enough slots, each holder gets what a separate bucket would grant.
        #[test]
        fn holders_do_not_touch_each_other(
            calls in prop::collection::vec((0_u8..8, 0_u64..400_000_000), 1..200),
        ) {
            let buckets = Buckets::new(1 << 12, Fixed::default());
            let pace = Pace::new(rate("5/s"));
            let mut alone: HashMap<u8, u64> = HashMap::new();
            let mut now = 1_000_000_000;
            for (who, wait) in calls {
                now += wait;
                let twin = pace.take(alone.entry(who).or_default(), now);
                let address = Ipv4Addr::new(10, 0, 0, who);
                prop_assert_eq!(buckets.take(&holder(address), pace, now), twin);
            }
        }
    }
}
