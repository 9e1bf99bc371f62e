//! Who may connect at all, judged by the address alone and before anything is spent: at accept for
//! peers that speak for themselves, behind the PROXY header for those who speak for others. Nothing
//! is said to who is cut off: there is no protocol to say it in yet.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use crate::base::clock;
use crate::config::limits::Priority;
use crate::core::limits::{Holder, LoadPermit, Permit, Scarce};
use crate::proxy::context::worker::Worker;

/// Why a connection is cut off; the label in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CutOff(pub(crate) &'static str);

impl Worker {
    /// Whether the node and the listener have room for one more connection, whoever it is from.
    ///
    /// # Errors
    /// What there is too little of.
    pub(crate) fn admit_connection(&self, listener: usize) -> Result<Option<LoadPermit>, CutOff> {
        let context = &self.shared.listeners[listener];
        let (load, limits) = (&self.live().load, self.live().generation().edge.load);
        if load.short_of_memory(&limits, Priority::High) {
            return Err(CutOff(Scarce::Memory.as_str()));
        }
        let most = context.config.limits.connections_max;
        if most > 0 && context.open.load(Ordering::Relaxed) >= most {
            return Err(CutOff("connections_max"));
        }
        if context.tls.is_none() {
            return Ok(None);
        }
        let handshake = load.handshake(&limits, Priority::High);
        handshake
            .map(Some)
            .map_err(|scarce| CutOff(scarce.as_str()))
    }

    /// Whether this client may connect: by the listener's lists, and by what others of its network
    /// have and did. Whoever reaches a unix socket is on this machine, and is not counted.
    ///
    /// # Errors
    /// What keeps it out.
    pub(crate) fn admit_peer(
        &self,
        listener: usize,
        peer: Option<SocketAddr>,
    ) -> Result<Option<Permit>, CutOff> {
        let config = &self.shared.listeners[listener].config;
        let live = self.live();
        let generation = live.generation();
        let edge = &generation.edge;
        let address = crate::proxy::transport::connection::address_or_loopback(peer);
        if !edge.admits(&config.name, address) {
            return Err(CutOff("address"));
        }
        let limits = &config.limits;
        if peer.is_none()
            || (limits.connections_per_address, limits.connects_per_address) == (0, None)
        {
            return Ok(None);
        }
        let network = edge.address_prefix.network(address);
        let holder = Holder::Peer(config.name.clone(), network);
        if let Some(rate) = limits.connects_per_address {
            let taken = live.quotas.take(&holder, rate, clock::now());
            taken.map_err(|_| CutOff("connects_per_address"))?;
        }
        match limits.connections_per_address {
            0 => Ok(None),
            most => live
                .quotas
                .counts
                .take(holder, most)
                .map(Some)
                .map_err(|_| CutOff("connections_per_address")),
        }
    }

    /// Counts a connection that is cut off.
    pub(crate) fn cut_off(&self, cut_off: CutOff) {
        self.no_route_metrics().refused(cut_off.0);
    }
}
