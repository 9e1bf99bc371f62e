//! The data plane: from an accepted connection to a session's record. `pipeline` is the road that
//! every request takes, a file per stage beside it; `worker` is the thread that it happens on.
//!
//! It reads the routing table and counts; it changes no configuration and knows no control plane.

mod backend;
mod context;
mod pipeline;
mod refusal;
mod request;
mod session;
mod stages;
mod streams;
mod transport;
mod verifiers;
pub mod worker;

pub use stages::authenticate::unmet;
