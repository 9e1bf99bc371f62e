//! Sockets: listening, dialling, and their options.

mod connect;
pub mod descriptors;
pub mod dial;
pub mod listener;
pub mod names;
pub mod own;
pub mod send_queue;
pub mod socket;
