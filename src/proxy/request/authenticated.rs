//! A request whose principal is known, as far as its route asks for one.

use std::sync::Arc;

use http::HeaderValue;

use crate::config::snapshot::CredentialSource;
use crate::core::auth::Principal;
use crate::core::limits::Holder;
use crate::proxy::request::routed::Routed;

/// A request whose principal is known. Its head holds no credential that the route strips.
pub(crate) struct Authenticated<'r> {
    pub(crate) routed: Routed<'r>,
    /// `None` if the route needs none.
    pub(crate) principal: Option<Arc<Principal>>,
    /// Where the credential was, if it was in the head alone.
    pub(crate) source: Option<CredentialSource>,
    /// The subprotocol for the client if the backend chooses none: browsers want one of their
    /// offer.
    pub(crate) subprotocol: Option<HeaderValue>,
}

impl Authenticated<'_> {
    /// What quotas per principal are counted for.
    pub(crate) fn quota_holder(&self) -> Option<Holder> {
        let principal = self.principal.as_ref()?;
        let who = format!("{}/{}", principal.authenticator, principal.subject);
        let route = self.routed.route.config.name.clone();
        Some(Holder::Principal(route, who.into()))
    }
}
