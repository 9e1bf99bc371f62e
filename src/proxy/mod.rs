//! The data plane: from an accepted connection to a session's record. `pipeline` is the road that
//! every request takes, a file per stage beside it; `worker` is the thread that it happens on.
//!
//! It reads the routing table and counts; it changes no configuration and knows no control plane.

mod accept;
mod authenticate;
mod backend_headers;
mod body;
mod connection;
mod context;
mod deadlines;
mod endpoints;
mod farewell;
mod forward;
mod guard;
mod interim;
mod judges;
mod parting;
mod passwords;
mod peers;
mod pipeline;
mod place;
mod plain;
mod pool;
mod recent;
mod reconnect;
mod refusal;
mod renewal;
mod report;
mod rights;
mod sessions;
mod stream;
mod target;
mod upgrade;
pub mod worker;

pub use authenticate::unmet;
