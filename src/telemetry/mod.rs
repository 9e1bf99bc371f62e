//! What the gateway says about itself: numbers for Prometheus, a line for every session and
//! request, and the log of what happens. Nothing here decides anything.

pub mod log;
pub mod metrics;
pub mod records;
