//! The stage "connect" of a client that only listens: there is no backend, so the session is
//! granted at once. Its client gets server-sent events.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use crate::config::snapshot::Sse;
use crate::core::http::forwarded::SESSILE_SESSION;
use crate::core::http::{cors, event_stream};
use crate::io::ends::LocalEnd;
use crate::io::relay::{EventClient, Keepalive};
use crate::proxy::clock::ticks;
use crate::proxy::refusal::Refusal;
use crate::proxy::request::placed::Placed;
use crate::proxy::stages::answer::Answer;
use crate::proxy::stages::local_grant::{check_open, grant_local, granted};
use crate::proxy::stages::pass_on::add_cookie;
use crate::proxy::stages::session_setup::setup;
use crate::proxy::stages::upgrade::note_not_subscribed;

/// Grants the session of a client that takes events. hyper sends its response as a 101, because
/// only then it gives up the connection; the transport writes the line of a 200 instead.
///
/// # Errors
/// When the gateway stops.
pub(crate) fn listen(placed: Placed<'_>, head: &Parts, sse: Sse) -> Result<Answer, Refusal> {
    let received = placed.received;
    check_open(received)?;
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
    let granted = granted(&fields);
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
    let events = EventClient::new(retry(sse));
    let end = (setup, LocalEnd::default());
    Ok(grant_local(placed, (&granted, fields), end, Some(events)))
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
    use crate::proxy::stages::answer::AfterSwitch;
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
