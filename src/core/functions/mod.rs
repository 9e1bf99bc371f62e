//! Events of sessions for functions over HTTP, and what their answers mean.

pub mod aws;
pub mod cloudevents;
pub mod connection;
pub mod grip;
