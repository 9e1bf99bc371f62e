//! Decisions. No room of this floor does I/O, reads a clock or draws a random number: bytes, times
//! and randomness come in as arguments. Rooms do not import one another; only `relay` and `routing`
//! may.

pub mod auth;
pub mod balance;
pub mod consul;
pub mod discovery;
pub mod functions;
pub mod health;
pub mod http;
pub mod kubernetes;
pub mod limits;
pub mod membership;
pub mod messages;
pub mod relay;
pub mod renewal;
pub mod routing;
pub mod scaling;
pub mod services;
pub mod session;
pub mod state;
pub mod ticket_keys;
pub mod tls;
pub mod wire;
