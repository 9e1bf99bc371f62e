//! Connections to services that the gateway itself uses: brokers and the store of the fleet's
//! state.

pub(in crate::io) mod fault;
pub(in crate::io) mod wire;
