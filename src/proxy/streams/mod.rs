//! Streams and bodies under HTTP: what moves on a connection, and kept connections to backends.

pub(crate) mod activity;
pub(crate) mod backend;
pub(crate) mod body;
pub(crate) mod file;
pub(crate) mod interim;
pub(crate) mod pool;
pub(crate) mod upload;
pub(crate) mod watch;
