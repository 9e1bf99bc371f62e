//! Who a count or a rate is kept for.

use std::fmt;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::base::names::{ListenerName, RouteName};
use crate::config::limits::PrefixLengths;

/// Who a count or a rate is kept for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// All of a route.
    Route(RouteName),
    /// A client's network on a route.
    Network(RouteName, IpNet),
    /// A principal on a route, as authenticator and subject.
    Principal(RouteName, Arc<str>),
    /// A client's network on a listener.
    Peer(ListenerName, IpNet),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route(route) => write!(f, "route `{route}`"),
            Self::Network(route, network) => write!(f, "{network} on route `{route}`"),
            Self::Principal(route, who) => write!(f, "{who} on route `{route}`"),
            Self::Peer(listener, network) => write!(f, "{network} on listener `{listener}`"),
        }
    }
}

/// The network that an address counts for on a route.
pub fn network_of(route: &RouteName, lengths: PrefixLengths, address: IpAddr) -> Holder {
    Holder::Network(route.clone(), lengths.network(address))
}

/// A keyed hash, so that clients cannot choose collisions.
pub(super) fn hash<S: BuildHasher>(hasher: &S, holder: &Holder) -> u64 {
    hasher.hash_one(holder)
}
