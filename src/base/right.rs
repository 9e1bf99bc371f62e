//! The part of a principal that a live session keeps.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::base::names::AuthenticatorName;

/// The part of its principal that a live session keeps: subject and expiry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Right {
    /// Which authenticator found it.
    pub authenticator: AuthenticatorName,
    /// Who it is.
    pub subject: Arc<str>,
    /// The credential's own name.
    pub token_id: Option<Arc<str>>,
    /// The name of the credential that this one was made from, as a ticket is from a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin_id: Option<Arc<str>>,
    /// When the credential was made, or the one that it was made from.
    pub issued: Option<SystemTime>,
    /// When the right ends.
    pub expires: Option<SystemTime>,
    /// How long the session may outlive it.
    pub leeway: Duration,
}

impl Right {
    /// How long from `now` the session may live; `None` for ever.
    pub fn left(&self, now: SystemTime) -> Option<Duration> {
        let until = self.expires?.checked_add(self.leeway)?;
        Some(until.duration_since(now).unwrap_or_default())
    }
}
