//! Sockets: listening, dialling, and the options that both want.

pub mod dial;
pub mod listener;
pub mod own;
pub mod send_queue;
pub mod socket;
