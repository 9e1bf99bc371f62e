//! `[discovery]`.

use std::sync::Arc;

use crate::config::pattern::HostPattern;
use crate::config::public_url::PublicUrl;

/// Gateways that clients find by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Where clients reach this gateway.
    pub url: Option<Arc<PublicUrl>>,
    /// Hosts of other gateways that are listed.
    pub hosts: Vec<HostPattern>,
}
