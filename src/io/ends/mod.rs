//! Ends of a session that speak no WebSocket on a socket: a client that takes server-sent events,
//! and the gateway itself at a backend's place. The relay writes frames to them as to any stream.

mod answers;
mod calling;
mod due;
mod event_stream;
mod local;
mod publishing;

pub use calling::{Called, Caller, Functions, Kept, SessionEnd};
pub use event_stream::{EventState, EventStream};
pub use local::{EndServices, LocalEnd, LocalState};
