//! `cache` of a route.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::value::Size;

/// Keeps responses of backends in memory, as RFC 9111 has it for shared caches: what a backend
/// declares to be fresh, for all clients.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// Longest body that is kept.
    pub object_bytes: Size,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            object_bytes: Size(1 << 20),
        }
    }
}
