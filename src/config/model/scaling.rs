//! `scaling` of an upstream: what an autoscaler is told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::value::Time;

/// How many backends the upstream should have, as `/v1/scaling` and the metrics tell an autoscaler.
/// The gateway itself starts and stops none.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Scaling {
    /// Live sessions that a backend should have, of all gateways together. 0: three quarters of
    /// `sessions_per_backend` for each gateway, if that is set.
    pub sessions_target: u64,
    /// Not fewer backends than these; at least 1.
    pub backends_min: u32,
    /// Not more than these.
    pub backends_max: u32,
    /// The upstream shrinks to what was enough for all of this time; it grows at once.
    pub scale_in_after: Time,
    /// It shrinks only if the remaining backends stay below their target by this part, 0 to 0.9.
    pub scale_in_margin: f64,
}

impl Default for Scaling {
    fn default() -> Self {
        Self {
            sessions_target: 0,
            backends_min: 1,
            backends_max: 1000,
            scale_in_after: Time::seconds(10 * 60),
            scale_in_margin: 0.1,
        }
    }
}
