//! Kubernetes as a source: the pods of the Services that upstreams name, by lists and watches of
//! their EndpointSlices.

mod access;
mod credentials;
mod follow;
mod gateway;
mod lines;
mod query;
mod repeat;
pub mod source;
mod stream;
