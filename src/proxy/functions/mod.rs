//! Functions over HTTP in the place of backends: what all workers share of them (`registry`), the
//! requests of one worker (`requests`), the form of events in each dialect (`aws`, `cloudevents`),
//! and what sessions call (`calls`).

mod aws;
pub(crate) mod calls;
mod cloudevents;
pub(crate) mod connecting;
pub(crate) mod error;
mod grip;
pub(crate) mod registry;
mod requests;
mod sign;
