//! What all users of a Redis server share.

pub(in crate::io) mod hello;
pub(in crate::io) mod resp;
