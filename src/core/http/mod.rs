//! What a gateway does to HTTP messages that it passes on: fields it takes away, adds or reads, and
//! the answers it gives itself.

pub mod cache_control;
pub mod cache_status;
pub mod cors;
pub mod event_stream;
pub mod forwarded;
pub mod framing;
pub mod freshness;
pub mod headers;
pub mod loops;
pub mod origin;
pub mod problem;
pub mod query;
pub mod representation;
pub mod trace_context;
pub mod vary;
