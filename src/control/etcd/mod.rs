//! etcd as a source and a place: what is kept there and followed from there.

pub mod announce;
pub mod hold;
pub mod register;
