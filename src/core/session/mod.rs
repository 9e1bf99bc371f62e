//! A session as a decision: whether it may begin, when it is due, when and whither it moves, how it
//! ended.

pub mod admission;
pub mod drain;
pub mod rebalance;
pub mod record;
pub mod resume;
pub mod stick;
pub mod wheel;
