//! What is asked of clients before a route is known: limits of the node, addresses of listeners;
//! and the zone of the node.

use std::net::IpAddr;
use std::sync::Arc;

use crate::base::addr::Networks;
use crate::base::names::ListenerName;
use crate::config::limits::{AddressRules, PrefixLengths, Priority};
use crate::config::snapshot::{Discovery, Snapshot};
use crate::core::limits::LoadLimits;

/// What is asked of clients before a route is known. It is part of a generation.
#[derive(Debug, Default)]
pub struct Edge {
    /// The failure zone of the node.
    pub zone: Option<Arc<str>>,
    /// The gateways that clients find by themselves.
    pub discovery: Discovery,
    /// How many bits of an address name the client's network.
    pub address_prefix: PrefixLengths,
    /// What the node may take on.
    pub load: LoadLimits,
    /// Memory that the system gives the node, 0 if that is not known; the limit where the operator
    /// sets none.
    pub memory_allowance: u64,
    /// Bytes that responses in memory may take.
    pub cache_memory: u64,
    listeners: Vec<ListenerEdge>,
}

/// What is asked of clients of one listener.
#[derive(Debug)]
struct ListenerEdge {
    name: ListenerName,
    addresses: AddressRules,
    trusted_proxies: Networks,
}

static NO_NETWORKS: Networks = Networks::none();

impl Edge {
    /// What `snapshot` asks.
    pub fn of(snapshot: &Snapshot, memory_allowance: u64) -> Self {
        let listeners = snapshot.listeners.iter();
        let listeners = listeners.map(|one| ListenerEdge {
            name: one.name.clone(),
            addresses: one.addresses.clone(),
            trusted_proxies: one.trusted_proxies.clone(),
        });
        let mut routes = snapshot.routes.iter();
        let limits = snapshot.limits;
        Self {
            zone: snapshot.zone.clone(),
            discovery: snapshot.discovery.clone(),
            address_prefix: limits.address_prefix,
            load: LoadLimits {
                sessions_max: limits.sessions_max,
                handshakes_max: limits.handshakes_max,
                memory_max: limits.memory_max.unwrap_or(memory_allowance),
                reserve: routes.any(|route| route.priority == Priority::High),
            },
            memory_allowance,
            cache_memory: limits.cache_memory,
            listeners: listeners.collect(),
        }
    }

    /// Whether a client of this address may connect to a listener.
    pub fn admits(&self, listener: &ListenerName, address: IpAddr) -> bool {
        let mut known = self.listeners.iter().filter(|one| one.name == *listener);
        known.all(|one| one.addresses.admits(address))
    }

    /// The peers of a listener whose forwarding headers are trusted.
    pub fn trusted_proxies(&self, listener: &ListenerName) -> &Networks {
        let known = self.listeners.iter().find(|one| one.name == *listener);
        known.map_or(&NO_NETWORKS, |one| &one.trusted_proxies)
    }
}
