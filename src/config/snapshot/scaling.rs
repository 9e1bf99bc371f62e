//! `scaling` of an upstream.

use std::time::Duration;

/// How many backends it should have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// Sessions that a backend should have, of all gateways.
    pub sessions_target: Option<u64>,
    /// At least 1. Default 1.
    pub backends_min: u32,
    /// At least `backends_min`. Default 1,000.
    pub backends_max: u32,
    /// For how long fewer must have been enough. Default 10 min.
    pub scale_in_after: Duration,
    /// By which part the remaining ones stay below their target, in 0..=0.9. Default 0.1.
    pub scale_in_margin: f64,
}
