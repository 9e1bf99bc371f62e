//! Whether there is still room: token buckets and live counts, for routes, networks and principals.
//! Time is an argument, and nothing here waits. What is counted is the node's: all workers share
//! one set, which is touched at handshakes and never by a message.

mod bucket;
mod buckets;
mod counts;
mod holder;
mod load;
mod meter;

use std::collections::HashMap;
use std::fmt;
use std::hash::RandomState;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::config::limits::Rate;

pub use bucket::Pace;
pub use buckets::Buckets;
pub use counts::{Counts, Full, Permit};
pub use holder::{Holder, network_of};
pub use load::{Load, LoadLimits, LoadPermit, Scarce};
pub use meter::{Meter, SharedMeter};

/// Networks whose rates are kept. Beyond that number, buckets with the most tokens are evicted
/// first.
const NETWORKS_MAX: usize = 1 << 16;

/// Principals whose rates are kept.
const PRINCIPALS_MAX: usize = 1 << 14;
/// Meters of principals that are gone, which are not worth a look.
const DEAD_METERS: usize = 64;

/// The node's counts and rates.
pub struct Quotas {
    began: Instant,
    networks: Buckets<RandomState>,
    /// Separate from those of networks, so that strangers cannot evict authenticated principals.
    principals: Buckets<RandomState>,
    /// What the live sessions of a principal share.
    meters: Mutex<Meters>,
    /// Live sessions and connections.
    pub counts: Counts,
}

impl Quotas {
    /// Nothing counted; `now` is when time begins for the rates.
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            networks: Buckets::new(NETWORKS_MAX, RandomState::new()),
            principals: Buckets::new(PRINCIPALS_MAX, RandomState::new()),
            meters: Mutex::default(),
            counts: Counts::new(RandomState::new()),
        }
    }

    /// Takes one of what `rate` allows `holder`.
    ///
    /// # Errors
    /// How long until there is one again.
    pub fn take(&self, holder: &Holder, rate: Rate, now: Instant) -> Result<(), Duration> {
        let buckets = match holder {
            Holder::Principal(..) => &self.principals,
            _ => &self.networks,
        };
        buckets.take(holder, Pace::new(rate), self.nanos(now))
    }

    /// Nanoseconds since time began for the rates.
    pub fn nanos(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.began).as_nanos();
        u64::try_from(passed).unwrap_or(u64::MAX)
    }

    /// The meter of a holder, shared by all its live users. Once the last user is gone, the next
    /// one gets a full meter. `make` creates it.
    pub fn meter(&self, holder: Holder, make: impl FnOnce() -> SharedMeter) -> Arc<SharedMeter> {
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = meters.of.get(&holder).and_then(Weak::upgrade) {
            return meter;
        }
        if meters.of.len() >= meters.tidy_at {
            meters.of.retain(|_, meter| meter.strong_count() > 0);
            meters.tidy_at = 2 * meters.of.len() + DEAD_METERS;
        }
        let meter = Arc::new(make());
        meters.of.insert(holder, Arc::downgrade(&meter));
        meter
    }

    /// Buckets that were forgotten before they were full again, because too many others came.
    pub fn forgotten(&self) -> u64 {
        self.networks.forgotten() + self.principals.forgotten()
    }
}

/// There are never more than twice as many of them as live holders, and a few.
#[derive(Default)]
struct Meters {
    of: HashMap<Holder, Weak<SharedMeter>>,
    tidy_at: usize,
}

impl fmt::Debug for Quotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quotas").finish_non_exhaustive()
    }
}
