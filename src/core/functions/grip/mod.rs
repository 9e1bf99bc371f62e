//! GRIP: WebSocket-over-HTTP as Pushpin speaks it (its "WebSocket-Over-HTTP Protocol" and "GRIP
//! Control Messages"). Each event of a session is a request, and the answer is a list of events for
//! the client.

mod control;
mod events;
mod fields;
mod malformed;
mod session;
mod to_client;
mod unaccepted;

pub use events::{CONTENT_TYPE, ClientEnd};
pub use fields::{answered_fields, handshake_fields, request_fields, signature};
pub use malformed::Malformed;
pub use session::{Change, GripSession, Taken, Waits};
pub use to_client::ToClient;
