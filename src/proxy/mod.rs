//! The data plane: from an accepted connection to a session's record. `pipeline` is the road of a
//! request. The modules stand in the order of their floors: each imports only from itself and from
//! those before it in this list, and no two files import one another.
//!
//! - `clock`: a worker's coarse time.
//! - `streams`: streams and bodies under HTTP, kept connections to backends.
//! - `verifiers`: what verifies credentials.
//! - `context`: what one worker holds, and the guards that count what is open.
//! - `backend`: candidates, dialling, the upgrade handshake.
//! - `refusal`: the table of what the gateway itself answers.
//! - `session`: live sessions, from their begin to their record.
//! - `client`: a client's connection as its requests see it, and the progress of a request.
//! - `request`: a type for each stage, made from the one before.
//! - `stages`: a file for each stage.
//! - `pipeline`: the stages in order, on one screen.
//! - `transport`: a client's connection; HTTP/1 today.
//! - `worker`: a thread, accept, commands, shutdown.
//!
//! It reads the routing table and counts; it changes no configuration and imports no control plane.

mod clock;

mod streams;

mod verifiers;

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

pub use verifiers::conditions::unmet;

#[cfg(test)]
mod tests;
