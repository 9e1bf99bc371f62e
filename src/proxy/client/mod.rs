//! A client's connection as its requests see it, whatever its transport is, and the progress of
//! each request, as the transport's deadlines need it.

pub(crate) mod connection;
pub(crate) mod patience;
pub(crate) mod progress;
