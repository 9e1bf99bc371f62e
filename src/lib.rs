//! Sessile, a WebSocket-aware edge gateway. The modules stand in the order of their floors: each
//! imports only from its own floor and the floors above this line's; `tests/tidy.rs` holds that.

pub mod base;

pub mod config;

pub mod io;

pub mod control;
