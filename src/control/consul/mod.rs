//! Consul as a source: instances of the services that upstreams name, and documents in its keys.
//! Each service, and the keys below the prefix, is a blocking query that is asked again and again.

mod ask;
mod follow;
mod keys;
mod query;
mod repeat;
pub mod source;
