//! `[events]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::value::{Size, Time};

/// What is kept of the past: sessions that began, moved and ended, refusals, and changes. The three
/// classes have bounds of their own, so that many sessions or refusals displace no change.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// Events of sessions in memory; the oldest are evicted first.
    pub sessions: usize,
    /// Refused requests in memory.
    pub refusals: usize,
    /// Changes in memory: of the configuration, of backends, orders of operators.
    pub changes: usize,
    /// Memory for all of them together. Sessions have half of it, the others a quarter each.
    pub memory: Size,
    /// Whether events are also written to the folder `events` of `node.state_dir`, from where the
    /// next process reads them. A change takes effect at the next start.
    pub persist: bool,
    /// Room on the disk for all files together, shared out as `memory` is; the oldest are removed
    /// first.
    pub disk: Size,
    /// Older events are removed from the files, after another eighth of this time at the latest.
    pub age: Time,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sessions: 50_000,
            refusals: 10_000,
            changes: 10_000,
            memory: Size(64 << 20),
            persist: false,
            disk: Size(256 << 20),
            age: Time::seconds(7 * 24 * 60 * 60),
        }
    }
}
