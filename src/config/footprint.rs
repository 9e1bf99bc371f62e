//! Memory of the balancer tables of a configuration. A few bytes of text with weights and policies
//! can require up to 64 MiB, so the sum is bounded before any table is built.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::snapshot::{Policy, Upstream, ZonePreference};

/// Points of a ring for each unit of weight.
pub const RING_POINTS: u64 = 160;
/// Points of a ring, but for members that would have none.
pub const RING_POINTS_MAX: u64 = 1 << 22;
/// Places of a table of `maglev`.
pub const MAGLEV_PLACES: u64 = 65_537;

const RING_POINT_BYTES: u64 = 16;
const MAGLEV_PLACE_BYTES: u64 = 4;
/// Limit for all upstreams of a configuration.
pub const TABLE_BYTES_MAX: u64 = 256 << 20;
/// Limit for the upstreams that a previewed candidate changes.
pub const TRIAL_BYTES_MAX: u64 = 64 << 20;

/// Bytes of an upstream's table.
pub fn table_bytes(upstream: &Upstream) -> u64 {
    let members = upstream.backends.len() as u64;
    match upstream.policy {
        Policy::ConsistentHash => {
            let weights = upstream.backends.iter().map(|one| u64::from(one.weight));
            let points = RING_POINTS.saturating_mul(weights.sum());
            let most = levels(upstream).saturating_mul(RING_POINTS_MAX);
            points.min(most.saturating_add(members)) * RING_POINT_BYTES
        }
        Policy::Maglev => levels(upstream) * MAGLEV_PLACES * MAGLEV_PLACE_BYTES,
        Policy::Rendezvous | Policy::LeastSessions | Policy::RoundRobin | Policy::RandomTwo => 0,
    }
}

/// How many tables there are at most, whatever zone the node is in.
fn levels(upstream: &Upstream) -> u64 {
    let backends = upstream.backends.iter();
    let priorities: BTreeSet<_> = backends.clone().map(|one| one.priority).collect();
    let zones = upstream.failover.zones == ZonePreference::Prefer;
    let zones = zones && backends.clone().any(|one| one.zone.is_some());
    let each = if zones { 2 } else { 1 };
    each * (priorities.len() as u64).max(1)
}

/// Bytes of the tables of all these upstreams.
pub fn tables_bytes<'u>(upstreams: impl IntoIterator<Item = &'u Arc<Upstream>>) -> u64 {
    upstreams.into_iter().map(|one| table_bytes(one)).sum()
}
