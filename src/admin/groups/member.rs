//! A member of a group, as both APIs show it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::metadata::Metadata;
use crate::core::messages::member::Member;

/// A member of a group.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct GroupMember {
    /// The id of the session.
    pub session: String,
    /// The subject of its principal.
    pub principal: Option<String>,
    /// Its route.
    pub route: String,
    /// Seconds until the membership ends; not there if it ends with the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<f64>,
    /// What it is described by; not there if it is not described.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
}

impl From<&Member> for GroupMember {
    fn from(member: &Member) -> Self {
        let seconds = |millis| Duration::from_millis(millis).as_secs_f64();
        Self {
            session: member.id.to_string(),
            principal: member.principal.as_ref().map(ToString::to_string),
            route: member.route.to_string(),
            ttl_seconds: member.ttl_ms.map(seconds),
            metadata: member.metadata.as_ref().map(Metadata::to_value),
        }
    }
}
