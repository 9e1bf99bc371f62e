//! How many backends an upstream should have: its load over time, the decision, and which backends
//! go first when it shrinks.

mod demand;
mod load;
mod scale_in;

pub use demand::{Demand, Desired, Targets, Why};
pub use load::{LoadHistory, Seen};
pub use scale_in::{Leaving, choose};
