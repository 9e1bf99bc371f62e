//! Whether there is still room: token buckets and live counts, for routes, networks and principals.
//! Time is an argument, and nothing here waits. What is counted is the node's: all workers share
//! one set, which is touched at handshakes and never by a message.

mod bucket;
mod buckets;
mod counts;
mod load;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::base::names::{ListenerName, RouteName};
use crate::config::limits::{PrefixLengths, Rate};

pub use bucket::Pace;
pub use buckets::Buckets;
pub use counts::{Counts, Full, Permit};
pub use load::{Load, LoadPermit, Scarce};

/// Who a count or a rate is kept for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// All of a route.
    Route(RouteName),
    /// A client's network on a route.
    Network(RouteName, IpNet),
    /// A client's network on a listener.
    Peer(ListenerName, IpNet),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route(route) => write!(f, "route `{route}`"),
            Self::Network(route, network) => write!(f, "{network} on route `{route}`"),
            Self::Peer(listener, network) => write!(f, "{network} on listener `{listener}`"),
        }
    }
}

/// Networks whose rates are remembered. With more of them the ones that have the most tokens are
/// forgotten first.
const NETWORKS_MAX: usize = 1 << 16;

/// The node's counts and rates.
pub struct Quotas {
    began: Instant,
    networks: Buckets<RandomState>,
    /// Live sessions and connections.
    pub counts: Counts,
}

impl Quotas {
    /// Nothing counted; `now` is when time begins for the rates.
    pub fn new(now: Instant) -> Self {
        Self::with_hashers(now, RandomState::new(), RandomState::new())
    }

    fn with_hashers(now: Instant, networks: RandomState, counts: RandomState) -> Self {
        Self {
            began: now,
            networks: Buckets::new(NETWORKS_MAX, networks),
            counts: Counts::new(counts),
        }
    }

    /// Takes one of what `rate` allows `holder`.
    ///
    /// # Errors
    /// How long until there is one again.
    pub fn take(&self, holder: &Holder, rate: Rate, now: Instant) -> Result<(), Duration> {
        let now = now.saturating_duration_since(self.began).as_nanos();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        self.networks.take(holder, Pace::new(rate), now)
    }

    /// Buckets that were forgotten before they were full again, because too many others came.
    pub fn forgotten(&self) -> u64 {
        self.networks.forgotten()
    }
}

impl fmt::Debug for Quotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quotas").finish_non_exhaustive()
    }
}

/// The network that an address counts for on a route.
pub fn network_of(route: &RouteName, lengths: PrefixLengths, address: IpAddr) -> Holder {
    Holder::Network(route.clone(), lengths.network(address))
}

/// A hash under a key of its own, so that nobody outside can choose what meets.
fn hash<S: BuildHasher>(hasher: &S, holder: &Holder) -> u64 {
    hasher.hash_one(holder)
}
