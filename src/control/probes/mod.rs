//! Probes backends, each at its own interval. The observer decides what follows from the results
//! (rise, fall, eligibility).

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
