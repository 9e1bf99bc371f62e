//! A request that is well-formed, whatever the routes are.

use http::request::Parts;

use crate::base::path::CanonicalPath;
use crate::core::routing;
use crate::core::wire::handshake::Upgrade;
use crate::proxy::request::received::Received;

/// A request that is well-formed.
pub(crate) struct Admitted<'r> {
    pub(crate) received: &'r Received,
    /// Its path is canonical.
    pub(crate) head: Parts,
    pub(crate) path: &'r CanonicalPath,
    /// Set if it asks for a WebSocket.
    pub(crate) offer: Option<Upgrade>,
}

impl Admitted<'_> {
    /// The request as routing reads it.
    pub(crate) fn request(&self) -> routing::Request<'_> {
        self.received.request(&self.head, self.offer.is_some())
    }
}
