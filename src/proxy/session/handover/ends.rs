//! Ends of a session that are more than a socket, for another process.

use serde::{Deserialize, Serialize};

use crate::core::session::staying::StayReason;
use crate::io::carrier::Carrier;
use crate::io::ends::{EndServices, EventState, EventStream, LocalEnd, LocalState};
use crate::io::handover::{STATE_ENDS, STATE_FUNCTIONS, STATE_TLS};
use crate::io::relay::Relay;

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

/// Whether another process can go on with both ends. Where a function has not answered, its client
/// sends no further message before that.
pub(super) fn check_carriers(relay: &mut Relay<Carrier>, reads: u32) -> Result<(), StayReason> {
    let checked = {
        let (client, backend) = relay.streams();
        let mut carriers = [Some(client), backend].into_iter().flatten();
        carriers.try_for_each(|carrier| check_carrier(carrier, reads))
    };
    if checked == Err(StayReason::FunctionAnswers) {
        set_paused(relay, true);
    }
    checked
}

/// Whether a process that reads states of this version can go on with a stream.
fn check_carrier(carrier: &Carrier, reads: u32) -> Result<(), StayReason> {
    match carrier {
        Carrier::Plain(_) => Ok(()),
        Carrier::Tls(_) if reads >= STATE_TLS => Ok(()),
        Carrier::Tls(_) => Err(StayReason::TlsNotUnderstood),
        Carrier::TlsServer(_) | Carrier::TlsClient(_) => Err(StayReason::TlsOfRustls),
        Carrier::Local(_) | Carrier::Events(_) if reads < STATE_ENDS => Err(StayReason::Refused),
        Carrier::Local(end) if end.calls_function() && reads < STATE_FUNCTIONS => {
            Err(StayReason::Refused)
        }
        // Its answer would come to this process.
        Carrier::Local(end) if end.is_calling() => Err(StayReason::FunctionAnswers),
        Carrier::Local(_) => Ok(()),
        Carrier::Events(events) => check_carrier(events.inner(), reads),
    }
}

/// Whether further messages for a function wait; returns whether there is a function.
pub(super) fn set_paused(relay: &mut Relay<Carrier>, paused: bool) -> bool {
    let (_, backend) = relay.streams_mut();
    match backend {
        Some(Carrier::Local(end)) if end.calls_function() => {
            end.set_paused(paused);
            true
        }
        _ => false,
    }
}
