//! The stage "route": the route of a request and the upstream behind it, or the redirect that the
//! route answers with.

use std::sync::Arc;

use http::header::LOCATION;
use http::{Response, StatusCode};

use crate::config::snapshot::RejectWith;
use crate::core::http::event_stream;
use crate::core::routing::{self, Action, rewrite};
use crate::proxy::refusal::Refusal;
use crate::proxy::refusal::over_websocket::Acceptance;
use crate::proxy::request::admitted::Admitted;
use crate::proxy::request::routed::Routed;
use crate::proxy::stages::answer::Reply;
use crate::proxy::streams::body::Outgoing;

/// Where a request goes.
pub(crate) enum Destination<'r> {
    /// To an upstream.
    Upstream(Routed<'r>),
    /// The gateway itself answers it.
    Gateway(Reply),
}

/// Finds the route of a request. From here on its times are those of the route.
///
/// # Errors
/// When there is none, or the route does not take this spelling of the path.
pub(crate) fn route(admitted: Admitted<'_>) -> Result<Destination<'_>, Refusal> {
    let received = admitted.received;
    let table = &received.generation.table;
    let request = admitted.request();
    let matched = table.choose(&request, admitted.path);
    let matched = matched.map_err(|fault| Refusal::BadTarget(fault.as_str()))?;
    let matched = matched.ok_or(Refusal::NoRoute)?;
    let route = matched.route;
    let forwarded = admitted.path.forwarded(route.config.paths);
    let upstream = match table.action(route) {
        Action::Forward(upstream) | Action::Static(_, upstream) | Action::Function(_, upstream) => {
            upstream
        }
        Action::Redirect(redirect) => {
            let request = routing::Request {
                path: forwarded,
                host: &received.host,
                ..request
            };
            let secure = received.client.secure;
            let location = rewrite::location(redirect, &request, secure, &matched.parameters);
            let location = location.ok_or(Refusal::BadTarget("the request names no host"))?;
            let mut response = Response::new(Outgoing::Empty);
            *response.status_mut() =
                StatusCode::from_u16(redirect.status).expect("a checked status");
            response.headers_mut().insert(LOCATION, location);
            let mut report = received.report(Some(route.name().clone()), None, None);
            report.status = redirect.status;
            report.finish();
            return Ok(Destination::Gateway(response));
        }
    };
    let parameters = matched.parameters.iter();
    let parameters = parameters.map(|(_, value)| value.to_owned()).collect();
    let (route, upstream) = (Arc::clone(route), Arc::clone(upstream));
    drop(matched);
    let Admitted {
        received,
        mut head,
        offer,
        ..
    } = admitted;
    received.set_path(&mut head, forwarded)?;
    received.set_route(&route.config.name, &upstream.config.name);
    received.progress.use_times(&route.config.timeouts);
    if let (Some(offer), RejectWith::Close) = (&offer, route.config.auth.reject_with) {
        received.set_acceptance(Acceptance::of(offer, &route));
    }
    let takes_events = offer.is_none()
        && route.config.messages.sse.is_some()
        && received.http_11
        && event_stream::is_asked_for(&head.method, &head.headers);
    Ok(Destination::Upstream(Routed {
        received,
        head,
        offer,
        takes_events,
        route,
        upstream,
        parameters,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::tests::{Fixture, admitted, get, head, routed, try_route, websocket};

    const ROUTES: &str = r#"
        [upstreams.chat]
        backends = ["127.0.0.1:9101"]
        [upstreams.pages]
        backends = ["127.0.0.1:9102"]
        [[routes]]
        name = "room"
        hosts = ["chat.example.com"]
        path = "/ws/{room}/{user}"
        upstream = "chat"
        reject_with = "close"
        timeouts = { progress = "1s" }
        [[routes]]
        name = "moved"
        path = "/old/{*rest}"
        redirect = { path = "/new/{rest}" }
        [[routes]]
        name = "pages"
        path = "/pages/{*rest}"
        upstream = "pages"
    "#;

    #[test]
    fn the_route_brings_upstream_parameters_and_times() {
        let fixture = Fixture::new(ROUTES);
        let head = head(get("/ws/lobby/ann"));
        let received = fixture.receive(&head);
        let before = received.progress.limit();
        let routed = routed(&received, head);
        assert_eq!(routed.route.name().as_str(), "room");
        assert_eq!(routed.upstream.name().as_str(), "chat");
        assert_eq!(routed.parameters, ["lobby", "ann"]);
        assert_eq!(routed.parameter("user"), Some("ann"));
        assert_eq!(routed.parameter("other"), None);
        assert!(received.progress.limit() < before);
        let route = received.route().map(|(route, _)| route);
        assert_eq!(route.as_deref(), Some("room"), "for the record");
    }

    #[test]
    fn a_request_that_no_route_takes_is_refused() {
        let fixture = Fixture::new(ROUTES);
        let head = head(get("/nowhere"));
        let received = fixture.receive(&head);
        let refusal = try_route(&received, head).err().expect("a refusal");
        assert_eq!(refusal.reason(), "no_route");
        assert_eq!(received.route(), None);
    }

    #[test]
    fn only_a_websocket_can_be_refused_over_an_accepted_upgrade() {
        let fixture = Fixture::new(ROUTES);
        for (request, accepted) in [
            (websocket("/ws/a/b"), true),
            (get("/ws/a/b"), false),
            (websocket("/pages/a"), false),
        ] {
            let head = head(request);
            let received = fixture.receive(&head);
            routed(&received, head);
            assert_eq!(received.take_acceptance().is_some(), accepted);
        }
    }

    #[test]
    fn a_redirect_is_answered_and_recorded_here() {
        let fixture = Fixture::new(ROUTES);
        let head = head(get("/old/a?b=1"));
        let received = fixture.receive(&head);
        let Ok(Destination::Gateway(response)) = route(admitted(&received, head)) else {
            panic!("no redirect");
        };
        assert_eq!(response.status(), 308);
        let location = response.headers()[LOCATION].to_str().expect("text");
        assert!(location.contains("/new/a"), "{location}");
        drop((response, received));
        let records = fixture.records();
        assert_eq!(records.len(), 1, "{records:?}");
        assert_eq!(records[0]["route"], "moved");
        assert_eq!(records[0]["status"], 308);
    }
}
