//! The data plane: from an accepted connection to a session's record. `pipeline` shows the path of
//! a request. The modules are listed in layer order: each imports only from itself and from the
//! modules before it, and no two files import each other.
//!
//! - `clock`: a worker's coarse time.
//! - `streams`: byte streams below HTTP, bodies, and pooled backend connections.
//! - `verifiers`: verification of credentials.
//! - `functions`: functions over HTTP in the place of backends.
//! - `context`: the state of one worker, and the guards that count open resources.
//! - `backend`: candidates, dialling, the upgrade handshake.
//! - `refusal`: the table of responses that the gateway itself generates.
//! - `session`: live sessions, from their begin to their record.
//! - `client`: the properties of a client connection that requests use, and the progress of a
//!   request.
//! - `request`: a type for each stage, made from the one before.
//! - `stages`: a file for each stage.
//! - `pipeline`: the stages in order, on one screen.
//! - `transport`: a client's connection; HTTP/1 today.
//! - `worker`: a thread, accept, commands, shutdown.
//!
//! The data plane reads the routing table and updates counters. It changes no configuration and
//! does not import the control plane.

mod clock;

mod streams;

mod verifiers;

mod functions;

mod context;

mod backend;

mod refusal;

mod session;

mod client;

mod request;

mod stages;

mod pipeline;

mod transport;

pub mod worker;

pub use functions::registry::FunctionRegistry;
pub use verifiers::conditions::unmet;

#[cfg(test)]
mod tests;
