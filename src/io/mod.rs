//! Bytes in and out: sockets, TLS, and the one type that both sides of a session are made of. What
//! the bytes mean is decided elsewhere.

pub mod carrier;
pub mod net;
pub mod tls;
