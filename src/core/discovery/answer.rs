//! What DNS servers answered.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// A service of an answer (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    /// The lower is preferred.
    pub priority: u16,
    /// Its share among those of the same priority.
    pub weight: u16,
    /// In lower case, without a dot at its end.
    pub target: String,
    /// Where it listens.
    pub port: u16,
    /// The addresses of the target; none if they could not be looked up.
    pub addresses: BTreeSet<IpAddr>,
}

/// What a name has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// Of a host. A family that could not be looked up is `None`.
    Addresses {
        /// A records.
        v4: Option<BTreeSet<IpAddr>>,
        /// AAAA records.
        v6: Option<BTreeSet<IpAddr>>,
    },
    /// Of a service.
    Services(Vec<Service>),
}

/// A good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it has; at least one record.
    pub records: Records,
    /// How long it holds.
    pub ttl: Duration,
}
