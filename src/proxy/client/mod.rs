//! What requests know of the client's connection that they came on, whatever its transport is, and
//! how far each of them is, as the transport's deadlines need it.

pub(crate) mod connection;
pub(crate) mod patience;
pub(crate) mod progress;
