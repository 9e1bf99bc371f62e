//! `failover` of an upstream: how it goes on when backends of the first choice are not well.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::snapshot::ZonePreference;

/// Which backends sessions go to when those of the first choice are not well. Backends are levels,
/// by `priority` and, within a priority, the node's own zone before the others.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Failover {
    /// `prefer`: backends of `node.zone` come before those of other zones. `ignore`: zones do not
    /// matter.
    pub zones: ZonePreference,
    /// A level takes all of its sessions while at least this share of its backends is well, by
    /// weight, 0 to 1; those that drain do not count. Below, it passes on as many of the keys of
    /// its other backends as bring its load down in proportion; a key whose backend is well stays.
    pub healthy_share_min: f64,
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            zones: ZonePreference::Prefer,
            healthy_share_min: 0.7,
        }
    }
}
