//! The stage "connect" of a client that only listens: there is no backend, so the session is
//! granted at once. Its client gets server-sent events.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::config::snapshot::Sse;
use crate::core::http::forwarded::SESSILE_SESSION;
use crate::core::http::{cors, event_stream};
use crate::core::messages::index::Membership;
use crate::core::session::details::{Choice, Placement};
use crate::core::wire::handshake::Granted;
use crate::io::carrier::Carrier;
use crate::io::relay::{EventClient, Keepalive};
use crate::live::Phase;
use crate::proxy::backend::lease::BackendLease;
use crate::proxy::clock::ticks;
use crate::proxy::refusal::Refusal;
use crate::proxy::request::placed::Placed;
use crate::proxy::request::record::AnswerState;
use crate::proxy::session::begin::GrantedSession;
use crate::proxy::stages::answer::{AfterSwitch, Answer};
use crate::proxy::stages::pass_on::{add_cookie, report};
use crate::proxy::stages::session_setup::{details, facts, setup};
use crate::proxy::stages::upgrade::note_not_subscribed;
use crate::proxy::streams::body::Outgoing;

/// Grants the session of a client that takes events. hyper sends its response as a 101, because
/// only then it gives up the connection; the transport writes the line of a 200 instead.
///
/// # Errors
/// When the gateway stops.
pub(crate) fn listen(placed: Placed<'_>, head: &Parts, sse: Sse) -> Result<Answer, Refusal> {
    let received = placed.received;
    let worker = &received.connection.worker;
    if received.connection.closing.get() || worker.live().phase() == Phase::Stopping {
        return Err(Refusal::Stopping);
    }
    let mut fields = HeaderMap::new();
    event_stream::set_fields(&mut fields);
    let id = HeaderValue::from_bytes(&received.id.encode());
    fields.insert(
        &SESSILE_SESSION,
        id.expect("its letters may stand in a header"),
    );
    add_cookie(&mut fields, &placed);
    let origins = &placed.route.config.origins;
    let secure = received.client.secure;
    let readers = cors::readers(origins, &head.headers, &received.host, secure);
    cors::add_readers(&mut fields, readers.as_ref().ok());
    let lease = BackendLease::local(worker);
    let granted = Granted {
        subprotocol: None,
        compressed: false,
        extensions: Vec::new(),
    };
    note_not_subscribed(&placed);
    let mut setup = setup(&placed, &granted, None, &Bytes::new());
    setup.keepalive.get_or_insert_with(|| Keepalive {
        interval: ticks(sse.heartbeat),
        timeout: ticks(sse.heartbeat),
        to_client: true,
        to_backend: false,
    });
    // What the gateway itself sends is no activity, and there is nothing else.
    setup.times.idle = None;
    let placement = Placement {
        choice: Choice::Gateway,
        ..Placement::default()
    };
    let details = details(&placed, placement, &fields);
    let facts = facts(&placed, &lease, &granted, details);
    let mut report = report(&placed, &lease);
    report.state = AnswerState::Unanswered;
    received.progress.set_upgrading(true);
    let client = EventClient::new(retry(sse));
    received.progress.set_events(client.greeting());
    let granted = GrantedSession {
        facts,
        backend: lease,
        key: None,
        carrier: Carrier::Local(Box::default()),
        resumption: None,
        memberships: Membership::all(placed.groups, placed.metadata.as_ref()),
        subscriptions: placed.subscriptions,
        since: placed.since,
        events: Some(client),
        setup,
        permits: placed.permits.session,
    };
    let mut response = Response::new(Outgoing::Empty);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = fields;
    Ok(Answer {
        response,
        then: Some(AfterSwitch::Session(Box::new((granted, report)))),
    })
}

/// Milliseconds after which this client comes back: between one half and three halves of the
/// route's time, so that clients do not come back all at once.
fn retry(sse: Sse) -> u32 {
    let millis = sse.retry.as_millis() as f64 * (0.5 + fastrand::f64());
    millis as u32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proxy::context::permits::RequestPermits;
    use crate::proxy::stages::place::place;
    use crate::proxy::tests::{Fixture, authenticated, get, head};

    const ROUTES: &str = r#"
        [publish]
        listen = "127.0.0.1:9901"
        tokens = [{ name = "app", token = "one", targets = ["*"] }]
        [upstreams.chat]
        backends = ["127.0.0.1:9101"]
        [[routes]]
        name = "room"
        path = "/rooms/{room}"
        upstream = "chat"
        groups = ["path:room"]
        sse = {}
        timeouts = { idle = "1m" }
    "#;

    /// Looks at what a client of events gets whose connection is closing, or not.
    fn listened(closing: bool, look: impl FnOnce(Result<Answer, Refusal>)) {
        let fixture = Fixture::new(ROUTES);
        let head = head(get("/rooms/a").header("accept", "text/event-stream"));
        let received = fixture.receive(&head);
        received.connection.closing.set(closing);
        let (placed, head, _) = place(authenticated(&received, head), RequestPermits::default());
        let sse = placed.route.config.messages.sse.expect("it is configured");
        look(listen(placed, &head, sse));
    }

    #[test]
    fn a_connection_that_is_closing_gets_no_events() {
        listened(true, |answer| {
            assert!(matches!(answer.err(), Some(Refusal::Stopping)));
        });
    }

    #[test]
    fn silence_does_not_end_a_session_of_events() {
        listened(false, |answer| {
            let Some(AfterSwitch::Session(granted)) = answer.expect("it is granted").then else {
                panic!("no session");
            };
            let setup = &granted.0.setup;
            assert_eq!(setup.times.idle, None, "the client sends nothing");
            let keepalive = setup.keepalive.as_ref().expect("comments");
            assert!(keepalive.to_client && !keepalive.to_backend);
        });
    }

    #[test]
    fn clients_come_back_at_different_times_around_the_routes() {
        let sse = Sse {
            retry: Duration::from_secs(4),
            heartbeat: Duration::from_secs(15),
        };
        let times: Vec<_> = (0..100).map(|_| retry(sse)).collect();
        assert!(times.iter().all(|time| (2000..=6000).contains(time)));
        assert!(times.iter().any(|time| *time < 3500) && times.iter().any(|time| *time > 4500));
    }
}
