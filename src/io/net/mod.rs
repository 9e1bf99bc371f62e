//! Sockets: listening, dialling, and the options that both want.

pub mod descriptors;
pub mod dial;
pub mod listener;
pub mod names;
pub mod own;
pub mod send_queue;
pub mod socket;
