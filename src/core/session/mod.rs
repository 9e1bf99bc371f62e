//! A session as a decision: when it is due, how it moves, how it ended.

pub mod record;
pub mod resume;
pub mod wheel;
