//! The events and answers of AWS API Gateway's WebSocket APIs with proxy integrations ("Integrating
//! backend service" in its developer guide).

mod event;
mod reply;
mod request_time;

pub use event::{ConnectRequest, Disconnect, EventIds, connect, disconnect, message};
pub use reply::{Fault, Reply, fault, reply};

/// Largest message that AWS takes from a client.
pub const MESSAGE_MAX: u64 = 128 << 10;
