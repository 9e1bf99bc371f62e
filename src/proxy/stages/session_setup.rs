//! What a session starts with: its facts, rules, times and pace, from its route and its handshake.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::header::SEC_WEBSOCKET_EXTENSIONS;

use crate::base::clock;
use crate::base::right::Right;
use crate::config::limits::Flow;
use crate::core::limits::{Meter, Pace, SharedMeter};
use crate::core::routing::affinity;
use crate::core::session::details::{Details, Placement};
use crate::core::session::record::Facts;
use crate::core::session::request::{RequestFacts, RequestTexts};
use crate::core::session::wheel::Tick;
use crate::core::wire::handshake::Granted;
use crate::core::wire::in_band::InBandMatcher;
use crate::core::wire::tracker::{Extensions, Rules};
use crate::io::relay::{Keepalive, Setup, Throttle, Times, Warning};
use crate::proxy::backend::lease::BackendLease;
use crate::proxy::clock::{TICK, ticks};
use crate::proxy::request::placed::Placed;
use crate::proxy::session::resumption::Resumption;

/// What is known of a session.
pub(crate) fn facts(
    placed: &Placed<'_>,
    lease: &BackendLease,
    granted: &Granted,
    details: Arc<Details>,
) -> Facts {
    let received = placed.received;
    let principal = placed.principal.as_ref();
    let texts = RequestTexts {
        client: &received.client_text(),
        host: received.host.as_str(),
        target: &received.target(),
        foreign_id: received.foreign_request_id(),
        subprotocol: granted.subprotocol.as_deref(),
    };
    Facts {
        id: received.id,
        listener: received.connection.listener().config.name.clone(),
        route: placed.route.config.name.clone(),
        upstream: placed.upstream.config.name.clone(),
        backend: lease.backend().clone(),
        principal: principal.map(|principal| Arc::clone(&principal.subject)),
        right: right(placed).map(Arc::new),
        request: RequestFacts::new(texts, received.started, received.elapsed()),
        order: None,
        details,
    }
}

/// How a session was placed, and the extensions in its 101, whose fields these are.
pub(crate) fn details(
    placed: &Placed<'_>,
    placement: Placement,
    fields: &HeaderMap,
) -> Arc<Details> {
    let sources = &placed.route.config.affinity;
    let source = placed.key_source.and_then(|place| sources.get(place));
    let also = placed.received.generation.table.secret_parameters();
    let hides = |source| {
        let key = placed.key.as_deref().unwrap_or_default();
        affinity::is_secret(source, key, also)
    };
    let lines = fields.get_all(SEC_WEBSOCKET_EXTENSIONS).iter();
    let lines: Vec<_> = lines.filter_map(|line| line.to_str().ok()).collect();
    let details = Details {
        placement: Placement {
            key_source: source.map(|source| source.to_string().into()),
            key_hidden: source.is_some_and(hides),
            cookie_issued: placed.set_cookie.is_some(),
            ..placement
        },
        extensions: (!lines.is_empty()).then(|| lines.join(", ").into()),
        ..Details::default()
    };
    let worker = &placed.received.connection.worker;
    worker.share_details(details)
}

/// What the session keeps of its credential.
fn right(placed: &Placed<'_>) -> Option<Right> {
    let leeway = placed.route.config.auth.expiry_leeway;
    let principal = placed.principal.as_ref();
    principal.map(|principal| principal.right(leeway))
}

/// What its relay starts with.
pub(crate) fn setup(
    placed: &Placed<'_>,
    granted: &Granted,
    resumption: Option<&Resumption>,
    early: &Bytes,
) -> Setup {
    let now = placed.received.connection.worker.tick();
    let extensions = extensions(granted);
    let route = &placed.route.config;
    Setup {
        client_rules: Rules {
            frame_bytes: route.limits.frame_bytes,
            message_bytes: route.limits.message_bytes,
            extensions,
        },
        backend_rules: Rules {
            frame_bytes: u64::MAX,
            message_bytes: u64::MAX,
            extensions,
        },
        client_early: Vec::new(),
        backend_early: early.to_vec(),
        times: times(placed, now),
        backend_lost_code: route.backend_lost_code,
        hold: resumption.map(Resumption::buffer_bytes),
        throttle: throttle(placed),
        warning: route.auth.warning.as_ref().map(|warning| {
            Box::new(Warning {
                before: ticks(warning.before),
                message: Arc::clone(&warning.message),
                tick: u32::try_from(TICK.as_millis()).unwrap_or(u32::MAX),
                sent: false,
            })
        }),
        in_band: (route.auth.renewal.as_ref())
            .map(|renewal| InBandMatcher::new(&renewal.prefix, renewal.bytes_max)),
        keepalive: route.keepalive.map(|keepalive| Keepalive {
            interval: ticks(keepalive.interval),
            timeout: ticks(keepalive.timeout),
            to_client: keepalive.to_client,
            to_backend: keepalive.to_backend,
        }),
    }
}

fn times(placed: &Placed<'_>, now: Tick) -> Times {
    let timeouts = &placed.route.config.timeouts;
    let lifetime = timeouts.lifetime;
    let left = right(placed).and_then(|right| right.left(clock::wall()));
    Times {
        idle: timeouts.idle.map(ticks),
        lifetime_at: lifetime.map(|lifetime| now.saturating_add(ticks(lifetime))),
        expires_at: left.map(|left| now.saturating_add(ticks(left))),
        close: ticks(timeouts.close),
    }
}

/// How fast the session's client may send, where the route limits that.
fn throttle(placed: &Placed<'_>) -> Option<Box<Throttle>> {
    let quotas = &placed.route.config.quotas;
    let pace =
        |per_second: f64| (per_second > 0.0).then(|| Pace::with_burst(per_second, quotas.burst));
    let paces = |flow: Flow| (pace(f64::from(flow.messages)), pace(flow.bytes as f64));
    let (messages, bytes) = paces(quotas.session);
    let own = Meter::new(messages, bytes);
    let worker = &placed.received.connection.worker;
    let holder = placed.quota_holder.clone();
    let shared = holder.filter(|_| quotas.principal.is_limited());
    let shared = shared.map(|holder| {
        let (messages, bytes) = paces(quotas.principal);
        let make = || SharedMeter::new(messages, bytes);
        worker.live().quotas.meter(holder, make)
    });
    let (began, tick) = worker.rate_clock();
    (!own.is_empty() || shared.is_some()).then(|| {
        Box::new(Throttle {
            shared,
            began,
            ..Throttle::new(own, quotas.over, tick)
        })
    })
}

/// What is needed to repeat the handshake, where the route reconnects and the extensions allow it:
/// the state that an unknown extension leaves with a backend is not known either.
pub(crate) fn resumption(
    placed: &Placed<'_>,
    granted: &Granted,
    asked: &HeaderMap,
) -> Option<Rc<Resumption>> {
    let bounds = placed.route.config.reconnect?;
    (extensions(granted) != Extensions::Unknown).then(|| {
        let addresses = placed.received.connection.addresses;
        let answer = &granted.extensions;
        let resumption = Resumption::new(&placed.target, asked, addresses, answer, bounds);
        Rc::new(resumption)
    })
}

/// Which reserved bits may be set from now on.
fn extensions(granted: &Granted) -> Extensions {
    let lines = granted
        .extensions
        .iter()
        .filter_map(|line| line.to_str().ok());
    let mut names = lines.flat_map(|line| line.split(',')).map(str::trim);
    match (
        granted.extensions.is_empty(),
        names.all(|name| name.starts_with("permessage-deflate")),
    ) {
        (true, _) => Extensions::None,
        (false, true) => Extensions::Deflate,
        (false, false) => Extensions::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::proxy::context::permits::RequestPermits;
    use crate::proxy::stages::place::place;
    use crate::proxy::tests::{Fixture, authenticated, head, websocket};

    fn granted(extensions: &[&'static str]) -> Granted {
        let lines = extensions.iter();
        Granted {
            subprotocol: None,
            compressed: false,
            extensions: lines.map(|line| HeaderValue::from_static(line)).collect(),
        }
    }

    /// Calls `look` with a request of a route with `more` in its configuration.
    fn placed<T>(more: &str, look: impl FnOnce(&Placed<'_>) -> T) -> T {
        let fixture = Fixture::new(&format!(
            "[upstreams.chat]\nbackends = [\"127.0.0.1:9101\"]\n\
             [[routes]]\nname = \"chat\"\nupstream = \"chat\"\n{more}\n"
        ));
        let head = head(websocket("/"));
        let received = fixture.receive(&head);
        let (placed, ..) = place(authenticated(&received, head), RequestPermits::default());
        look(&placed)
    }

    #[test]
    fn reserved_bits_follow_the_extensions() {
        assert_eq!(extensions(&granted(&[])), Extensions::None);
        let deflate = granted(&["permessage-deflate; server_no_context_takeover"]);
        assert_eq!(extensions(&deflate), Extensions::Deflate);
        let other = granted(&["permessage-deflate, x-other"]);
        assert_eq!(extensions(&other), Extensions::Unknown);
    }

    #[test]
    fn the_client_is_bounded_and_the_backend_is_not() {
        placed("limits = { message_bytes = \"1 KiB\" }", |placed| {
            let setup = setup(placed, &granted(&[]), None, &Bytes::from_static(b"early"));
            assert_eq!(setup.client_rules.message_bytes, 1024);
            assert_eq!(setup.backend_rules.message_bytes, u64::MAX);
            assert_eq!(setup.backend_early, b"early");
            assert!(setup.throttle.is_none() && setup.hold.is_none());
        });
    }

    #[test]
    fn a_lifetime_ends_at_a_tick() {
        placed(
            "timeouts = { lifetime = \"1m\", idle = \"off\" }",
            |placed| {
                let now = placed.received.connection.worker.tick();
                let times = times(placed, now);
                assert_eq!(times.lifetime_at, Some(now + 601));
                assert_eq!((times.idle, times.expires_at), (None, None));
            },
        );
    }

    #[test]
    fn a_pace_is_kept_where_the_route_has_one() {
        let limits = "limits = { messages_per_second = 5 }";
        assert!(placed(limits, |placed| throttle(placed).is_some()));
        // Without a principal there is nothing to share a pace with.
        let shared = "limits = { principal_messages_per_second = 5 }";
        assert!(placed(shared, |placed| throttle(placed).is_none()));
    }

    #[test]
    fn a_session_with_unknown_extensions_is_not_resumed() {
        let reconnect = "on_backend_loss = \"reconnect\"";
        let asked = HeaderMap::new();
        placed(reconnect, |placed| {
            assert!(resumption(placed, &granted(&[]), &asked).is_some());
            assert!(resumption(placed, &granted(&["x-other"]), &asked).is_none());
        });
        placed("", |placed| {
            assert!(resumption(placed, &granted(&[]), &asked).is_none());
        });
    }
}
