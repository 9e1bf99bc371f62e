//! Admission of a connection by its peer's address, before anything is spent on it: at accept, or
//! after the PROXY header where the peer sends one. Rejected connections are closed silently, since
//! no protocol has begun yet.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use crate::base::clock;
use crate::config::limits::Priority;
use crate::core::limits::{Holder, LoadPermit, Permit, Scarce};
use crate::proxy::context::shared::ip_or_loopback;
use crate::proxy::context::worker::Worker;

/// Why a connection is rejected; the label in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConnectionRejected(pub(crate) &'static str);

/// Admits a connection if the node and the listener have room for one more.
///
/// # Errors
/// What there is too little of.
pub(crate) fn admit_connection(
    worker: &Worker,
    listener: usize,
) -> Result<Option<LoadPermit>, ConnectionRejected> {
    let context = &worker.shared.listeners[listener];
    let (load, limits) = (&worker.live().load, worker.live().generation().edge.load);
    if load.short_of_memory(&limits, Priority::High) {
        return Err(ConnectionRejected(Scarce::Memory.as_str()));
    }
    let most = context.config.limits.connections_max;
    if most > 0 && context.open.load(Ordering::Relaxed) >= most {
        return Err(ConnectionRejected("connections_max"));
    }
    if context.tls.is_none() {
        return Ok(None);
    }
    let handshake = load.handshake(&limits, Priority::High);
    handshake
        .map(Some)
        .map_err(|scarce| ConnectionRejected(scarce.as_str()))
}

/// Admits a client by the listener's address lists and by the quotas of its network. Peers on unix
/// sockets are on this machine and are not counted.
///
/// # Errors
/// Which rule rejects it.
pub(crate) fn admit_peer(
    worker: &Worker,
    listener: usize,
    peer: Option<SocketAddr>,
) -> Result<Option<Permit>, ConnectionRejected> {
    let config = &worker.shared.listeners[listener].config;
    let live = worker.live();
    let generation = live.generation();
    let edge = &generation.edge;
    let address = ip_or_loopback(peer);
    if !edge.admits(&config.name, address) {
        return Err(ConnectionRejected("address"));
    }
    let limits = &config.limits;
    if peer.is_none() || (limits.connections_per_address, limits.connects_per_address) == (0, None)
    {
        return Ok(None);
    }
    let network = edge.address_prefix.network(address);
    let holder = Holder::Peer(config.name.clone(), network);
    if let Some(rate) = limits.connects_per_address {
        let taken = live.quotas.take(&holder, rate, clock::now());
        taken.map_err(|_| ConnectionRejected("connects_per_address"))?;
    }
    match limits.connections_per_address {
        0 => Ok(None),
        most => live
            .quotas
            .counts
            .take(holder, most)
            .map(Some)
            .map_err(|_| ConnectionRejected("connections_per_address")),
    }
}

/// Counts a rejected connection.
pub(crate) fn count_rejected(worker: &Worker, rejected: ConnectionRejected) {
    worker.no_route_metrics().refused(rejected.0);
}
