//! A request that has a route.

use std::sync::Arc;

use http::request::Parts;

use crate::core::routing::{self, Route, Upstream};
use crate::core::wire::handshake::Upgrade;
use crate::proxy::request::received::Received;

/// A request that has a route.
pub(crate) struct Routed<'r> {
    pub(crate) received: &'r Received,
    /// Its path is in the form that the route passes on.
    pub(crate) head: Parts,
    /// Set if it asks for a WebSocket.
    pub(crate) offer: Option<Upgrade>,
    /// The client takes server-sent events, and its route has them.
    pub(crate) takes_events: bool,
    pub(crate) route: Arc<Route>,
    pub(crate) upstream: Arc<Upstream>,
    /// Values of the route's path parameters, in its order.
    pub(crate) parameters: Vec<String>,
}

impl Routed<'_> {
    /// Whether it may become a session.
    pub(crate) fn asks_for_session(&self) -> bool {
        self.offer.is_some() || self.takes_events
    }

    /// The request as routing reads it.
    pub(crate) fn request(&self) -> routing::Request<'_> {
        self.received.request(&self.head, self.offer.is_some())
    }

    /// The value of a path parameter, as it stands in the path.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let mut names = self.route.config.path.parameters();
        let index = names.position(|known| known == name)?;
        self.parameters.get(index).map(String::as_str)
    }
}
