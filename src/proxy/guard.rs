//! The stage "guard": whether this request may go on at all, by where it comes from, before anybody
//! asks who it is from. It costs the gateway next to nothing, and comes first for that.

use http::request::Parts;

use crate::core::http::origin;
use crate::core::wire::handshake::Kind;
use crate::proxy::pipeline::{Exchange, Plan};
use crate::proxy::refusal::Refusal;

impl Exchange {
    /// # Errors
    /// What keeps the request out.
    pub(super) fn guard(&self, plan: &Plan, head: &Parts, kind: &Kind) -> Result<(), Refusal> {
        let route = &plan.route.config;
        if matches!(kind, Kind::WebSocket(_)) {
            // Answers to ordinary requests are kept from other pages by the browser itself.
            origin::check(
                &route.origins,
                &head.headers,
                &self.host,
                self.connection.tls,
            )
            .map_err(Refusal::Origin)?;
        }
        Ok(())
    }
}
