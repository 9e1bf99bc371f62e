//! etcd as a source and a place: what is kept there and followed from there.

pub mod acme;
pub mod announce;
pub mod connect;
pub mod follow;
pub mod leased_key;
mod read;
pub mod register;
pub mod snapshot;
pub mod source;
pub mod ticket_keys;
mod writer;

pub use read::FollowError;
