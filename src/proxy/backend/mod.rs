//! Backends as the data plane reaches them: which one, a connection to it, and the upgrade
//! handshake over that.

pub(crate) mod candidates;
pub(crate) mod dial;
pub(crate) mod handshake;
pub(crate) mod lease;
pub(crate) mod sticking;
