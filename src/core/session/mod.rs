//! Decisions about sessions, without I/O: admission, timers, orders to close or to move, and the
//! session record.

pub mod admission;
pub mod best;
pub mod details;
pub mod drain;
pub mod orders;
pub mod rebalance;
pub mod record;
pub mod request;
pub mod resume;
pub mod skew;
pub mod staying;
pub mod stick;
pub mod transfer;
pub mod wheel;
