//! Where a gateway itself listens.

use crate::base::addr::OwnAddresses;

/// Where a gateway itself listens, as bound.
#[derive(Debug, Default)]
pub struct GatewayAddresses {
    /// Everywhere; no backend is there.
    pub all: OwnAddresses,
    /// For operators and for the process that takes over; nothing that a configuration names is
    /// there.
    pub admin: OwnAddresses,
}
