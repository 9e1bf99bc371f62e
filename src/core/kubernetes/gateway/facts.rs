//! What a translation knows of the gateway itself.

use std::sync::Arc;

/// What a gateway is.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The `controllerName` of its classes.
    pub controller: Arc<str>,
    /// It has a listener without TLS.
    pub plain: bool,
    /// It has a listener with TLS.
    pub tls: bool,
    /// Routes of several namespaces may have a host in common.
    pub shared_hosts: bool,
}
