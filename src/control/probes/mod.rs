//! Asks backends whether they are well, each at its own pace. What follows from the answers (rise,
//! fall, eligibility) is decided by whoever observes.

pub mod attempt;
pub mod fault;
mod frames;
mod http;
pub mod schedule;
mod websocket;

pub use attempt::{Target, probe};
pub use fault::ProbeFault;
pub use schedule::{Next, Observe, Probes};

#[cfg(test)]
mod tests;
