//! `failover` of an upstream.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How it goes on when backends of the first choice are not well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Failover {
    /// Whether the node's own zone comes first. Default: it does.
    pub zones: ZonePreference,
    /// While at least this share of the weight of a level is well, it takes everything; in 0..=1.
    /// Default 0.7.
    pub healthy_share_min: f64,
}

/// What zones mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ZonePreference {
    /// Backends of the node's own zone come first.
    Prefer,
    /// Nothing.
    Ignore,
}
