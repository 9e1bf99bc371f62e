//! etcd as a source and a place: what is kept there and followed from there.

pub mod announce;
pub mod connect;
pub mod follow;
pub mod hold;
pub mod look;
pub mod pen;
mod read;
pub mod register;
mod store;

pub use read::FollowError;
