//! The events and answers of Azure Web PubSub's event handlers: CloudEvents 1.0 over HTTP in binary
//! mode ("CloudEvents extension for Azure Web PubSub event handler" in its reference).

mod event;
mod preflight;
mod reply;

pub use event::{Attributes, EventType, connect_body, disconnected_body, fields, signature};
pub use preflight::{is_allowed, preflight};
pub use reply::{ConnectAnswer, connect_answer, message_answer};
