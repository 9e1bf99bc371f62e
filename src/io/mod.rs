//! Bytes in and out: sockets, TLS, and the relay of a session between two streams.

pub mod below;
pub mod broker;
pub mod carrier;
pub mod client;
pub mod core_dumps;
pub mod cpus;
mod delegate;
#[cfg(feature = "dns")]
pub mod dns;
pub mod ends;
pub mod file;
pub mod handover;
pub mod net;
#[cfg(feature = "redis")]
mod redis;
pub mod relay;
#[cfg_attr(
    not(any(
        feature = "kafka",
        feature = "memcached",
        feature = "nats",
        feature = "rabbitmq",
        feature = "redis"
    )),
    allow(dead_code, reason = "only drivers connect")
)]
mod service;
pub mod state;
pub mod system_limits;
pub mod tls;
