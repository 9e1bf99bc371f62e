//! A request that is ready for a backend: its affinity key and its target are known.

use std::sync::Arc;

use http::HeaderValue;

use crate::base::group::GroupName;
use crate::base::history_id::HistoryId;
use crate::base::metadata::Metadata;
use crate::config::broker_name::FillFault;
use crate::core::auth::Principal;
use crate::core::health::Witness;
use crate::core::limits::Holder;
use crate::core::messages::index::Subscription;
use crate::core::routing::{Route, Upstream};
use crate::proxy::backend::candidates::{Stickiness, Wanted};
use crate::proxy::backend::sticking::StickRule;
use crate::proxy::context::permits::RequestPermits;
use crate::proxy::request::received::Received;

/// A request that is ready for a backend.
pub(crate) struct Placed<'r> {
    pub(crate) received: &'r Received,
    pub(crate) route: Arc<Route>,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) principal: Option<Arc<Principal>>,
    /// What quotas per principal are counted for.
    pub(crate) quota_holder: Option<Holder>,
    /// The subprotocol for the client if the backend chooses none.
    pub(crate) subprotocol: Option<HeaderValue>,
    pub(crate) permits: RequestPermits,
    /// The affinity key.
    pub(crate) key: Option<Vec<u8>>,
    /// Which of the route's sources has it.
    pub(crate) key_source: Option<usize>,
    /// `Set-Cookie` for a client that had no affinity cookie.
    pub(crate) set_cookie: Option<HeaderValue>,
    /// Groups that its session joins by the route.
    pub(crate) groups: Vec<GroupName>,
    /// The last message that the client has, where it asks for what it has missed.
    pub(crate) since: Option<HistoryId>,
    /// What it is described by in groups.
    pub(crate) metadata: Option<Metadata>,
    /// Names at the broker that its session is subscribed to.
    pub(crate) subscriptions: Vec<Subscription>,
    /// The name at the broker under which messages of its client are published.
    pub(crate) publish_name: Option<Result<Arc<str>, FillFault>>,
    /// Why others of its route are not among them.
    pub(crate) not_subscribed: Vec<FillFault>,
    /// Path and query for the backend.
    pub(crate) target: String,
}

impl Placed<'_> {
    /// The client for passive health, which counts failures by client.
    pub(crate) fn witness(&self) -> Witness {
        let subject = self.principal.as_ref().map(|principal| &*principal.subject);
        Witness::new(self.received.client.address, subject)
    }

    /// The backend that it needs.
    pub(crate) fn wanted(&self, session: bool, until: tokio::time::Instant) -> Wanted<'_> {
        Wanted {
            upstream: &self.upstream,
            key: self.key.as_deref(),
            route: &self.route.config.name,
            session,
            stickiness: match self.route.config.stick {
                true => Stickiness::Follows,
                false => Stickiness::None,
            },
            stick: StickRule::of(&self.route.config),
            witness: self.witness(),
            until,
        }
    }
}
