//! A session as a decision: when it is due, how it ended.

pub mod record;
pub mod wheel;
