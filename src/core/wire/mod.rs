//! Bytes to values and back: what stands on the wire before and beside HTTP's own parser.

pub mod handshake;
pub mod proxy_protocol;
pub mod request_guard;
