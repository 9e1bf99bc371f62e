//! Grants a session whose backend's end is in the process: there is nothing to dial.

use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::core::http::forwarded::SESSILE_SESSION;
use crate::core::messages::index::Membership;
use crate::core::session::details::{Choice, Placement};
use crate::core::wire::handshake::{self, Granted, Upgrade};
use crate::io::carrier::Carrier;
use crate::io::ends::LocalEnd;
use crate::io::relay::{EventClient, Setup};
use crate::live::Phase;
use crate::proxy::backend::lease::BackendLease;
use crate::proxy::refusal::Refusal;
use crate::proxy::request::placed::Placed;
use crate::proxy::request::received::Received;
use crate::proxy::request::record::AnswerState;
use crate::proxy::session::begin::GrantedSession;
use crate::proxy::stages::answer::{AfterSwitch, Answer};
use crate::proxy::stages::pass_on::{add_cookie, report};
use crate::proxy::stages::session_setup::{details, facts};
use crate::proxy::streams::body::Outgoing;

/// Whether sessions may begin.
///
/// # Errors
/// When the gateway stops, or the connection of the client closes.
pub(crate) fn check_open(received: &Received) -> Result<(), Refusal> {
    let connection = &received.connection;
    let stops = connection.worker.live().phase() == Phase::Stopping;
    match connection.closing.get() || stops {
        true => Err(Refusal::Stopping),
        false => Ok(()),
    }
}

/// The fields of the 101 of a session whose backend's end is in the process. No extension is
/// accepted, so nothing is compressed.
pub(crate) fn switch_fields(
    placed: &Placed<'_>,
    offer: &Upgrade,
    subprotocol: Option<HeaderValue>,
) -> HeaderMap {
    let mut fields = HeaderMap::new();
    handshake::set_upgrade(&mut fields);
    let plain = |bytes: &[u8]| HeaderValue::from_bytes(bytes).expect("base64 stands in a header");
    let accept = handshake::accept_key(offer.key());
    fields.insert(SEC_WEBSOCKET_ACCEPT, plain(&accept));
    fields.insert(&SESSILE_SESSION, plain(&placed.received.id.encode()));
    if let Some(name) = subprotocol {
        fields.insert(SEC_WEBSOCKET_PROTOCOL, name);
    }
    add_cookie(&mut fields, placed);
    fields
}

/// What such a 101 grants.
pub(crate) fn granted(fields: &HeaderMap) -> Granted {
    let subprotocol = fields.get(SEC_WEBSOCKET_PROTOCOL);
    Granted {
        subprotocol: subprotocol.and_then(|name| name.to_str().ok().map(Into::into)),
        compressed: false,
        extensions: Vec::new(),
    }
}

/// Bounds messages of the client by what the end in the process takes.
pub(crate) fn bound_messages(setup: &mut Setup, bytes: u64) {
    let rules = &mut setup.client_rules;
    rules.message_bytes = rules.message_bytes.min(bytes);
    rules.frame_bytes = rules.frame_bytes.min(bytes);
}

/// The 101 with these fields, and the session behind it; its client gets `events`, if it is one
/// that listens.
pub(crate) fn grant_local(
    placed: Placed<'_>,
    (granted, fields): (&Granted, HeaderMap),
    (setup, end): (Setup, LocalEnd),
    events: Option<EventClient>,
) -> Answer {
    let received = placed.received;
    let lease = BackendLease::local(&received.connection.worker);
    let placement = Placement {
        choice: Choice::Gateway,
        ..Placement::default()
    };
    let details = details(&placed, placement, &fields);
    let facts = facts(&placed, &lease, granted, details);
    let mut report = report(&placed, &lease);
    report.state = AnswerState::Unanswered;
    received.progress.set_upgrading(true);
    if let Some(client) = &events {
        received.progress.set_events(client.greeting());
    }
    let session = GrantedSession {
        facts,
        backend: lease,
        key: None,
        carrier: Carrier::Local(Box::new(end)),
        resumption: None,
        memberships: Membership::all(placed.groups, placed.metadata.as_ref()),
        subscriptions: placed.subscriptions,
        since: placed.since,
        events,
        setup,
        permits: placed.permits.session,
    };
    let mut response = Response::new(Outgoing::Empty);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = fields;
    Answer {
        response,
        then: Some(AfterSwitch::Session(Box::new((session, report)))),
    }
}
