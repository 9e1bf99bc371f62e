//! Ends of a session that are more than a socket, for another process.

use serde::{Deserialize, Serialize};

use crate::io::carrier::Carrier;
use crate::io::ends::{EndServices, EventState, EventStream, LocalEnd, LocalState};

/// What the ends of a session are beside their sockets.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ends {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    events: Option<EventState>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    local: Option<LocalState>,
}

impl Ends {
    /// `None` if both ends are sockets.
    pub(super) fn of(client: &Carrier, backend: Option<&Carrier>) -> Option<Self> {
        let events = match client {
            Carrier::Events(events) => Some(events.state()),
            _ => None,
        };
        let local = match backend {
            Some(Carrier::Local(local)) => Some(local.state()),
            _ => None,
        };
        (events.is_some() || local.is_some()).then_some(Self { events, local })
    }

    /// The ends on these sockets.
    pub(super) fn put_on(
        self,
        mut client: Carrier,
        backend: Option<Carrier>,
        services: &EndServices<'_>,
    ) -> (Carrier, Option<Carrier>) {
        if let Some(events) = self.events {
            client = Carrier::Events(Box::new(EventStream::from_state(client, events)));
        }
        let local = self
            .local
            .map(|local| LocalEnd::from_state(local, services));
        let local = local.map(|local| Carrier::Local(Box::new(local)));
        (client, backend.or(local))
    }
}
