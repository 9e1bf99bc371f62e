//! The stage "admit": whether a request is well-formed, whatever the routes are.

use http::Method;
use http::request::Parts;

use crate::base::path::{CanonicalPath, PathFault};
use crate::core::http::loops;
use crate::core::routing;
use crate::core::wire::handshake::{self, Kind};
use crate::core::wire::request_guard::Smuggling;
use crate::live::Phase;
use crate::proxy::refusal::Refusal;
use crate::proxy::request::admitted::Admitted;
use crate::proxy::request::received::Received;

/// Admits a request that is well-formed, and brings its path to the canonical form.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn admit(received: &Received, mut head: Parts) -> Result<Admitted<'_>, Refusal> {
    check(received, &head)?;
    let path = path(received)?;
    received.set_path(&mut head, path.as_str())?;
    let offer = match handshake::classify(&head.method, head.version, &head.headers) {
        Kind::Refused(fault) => return Err(Refusal::Upgrade(fault)),
        Kind::WebSocket(offer) => Some(offer),
        Kind::Plain => None,
    };
    Ok(Admitted {
        received,
        head,
        path,
        offer,
    })
}

fn check(received: &Received, head: &Parts) -> Result<(), Refusal> {
    received.framing.map_err(|fault| match fault {
        Smuggling::Target => Refusal::BadTarget("the target holds `#`, `\"`, `<` or `>`"),
        fault => Refusal::Smuggling(fault),
    })?;
    let live = received.connection.worker.live();
    if live.phase() == Phase::Stopping {
        return Err(Refusal::Stopping);
    }
    if received.unreadable.is_some() {
        return Err(Refusal::BadTarget("`forwarded` is malformed"));
    }
    if loops::is_loop(&head.headers, live.instance()) {
        return Err(Refusal::Loop);
    }
    if head.method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    if !routing::has_one_reading(&head.method) {
        return Err(Refusal::BadTarget("the method has lower-case letters"));
    }
    // RFC 3986 allows them nowhere, and a page or a log that quotes the target could be misread.
    let target = head
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    if target.contains(['"', '<', '>']) {
        return Err(Refusal::BadTarget("the target holds `\"`, `<` or `>`"));
    }
    Ok(())
}

fn path(received: &Received) -> Result<&CanonicalPath, Refusal> {
    received.path.as_ref().map_err(|fault| match fault {
        // `OPTIONS *` is a valid request, for which there is no route.
        PathFault::NotAbsolute => Refusal::NoRoute,
        fault => Refusal::BadTarget(fault.as_str()),
    })
}

#[cfg(test)]
mod tests {
    use http::request::Builder;

    use super::*;
    use crate::proxy::tests::{Fixture, STRANGER, admitted, get, head, websocket};

    const ROUTES: &str = r#"
        [upstreams.chat]
        backends = ["127.0.0.1:9101"]
        [[routes]]
        name = "chat"
        upstream = "chat"
    "#;

    #[track_caller]
    fn refused(peer: &str, request: Builder, reason: &str) {
        let fixture = Fixture::new(ROUTES);
        let head = head(request);
        let received = fixture.receive_from(peer, Ok(()), &head);
        let refusal = admit(&received, head).err().expect("a refusal");
        assert_eq!(refusal.reason(), reason);
    }

    #[test]
    fn ambiguous_framing_is_refused_before_anything_else() {
        let fixture = Fixture::new(ROUTES);
        let head = head(get("/"));
        for (fault, reason) in [
            (Smuggling::BareLf, "smuggling"),
            (Smuggling::Target, "bad_target"),
        ] {
            let received = fixture.receive_from(STRANGER, Err(fault), &head);
            let refusal = admit(&received, head.clone()).err().expect("a refusal");
            assert_eq!(refusal.reason(), reason);
        }
    }

    #[test]
    fn a_stopping_gateway_admits_nothing() {
        let fixture = Fixture::new(ROUTES);
        fixture.worker.live().enter(Phase::Stopping);
        let head = head(get("/"));
        let received = fixture.receive(&head);
        assert!(matches!(admit(&received, head), Err(Refusal::Stopping)));
    }

    #[test]
    fn tunnels_are_refused() {
        refused(STRANGER, get("/").method("CONNECT"), "connect");
    }

    #[test]
    fn i13_a_method_has_one_reading() {
        refused(STRANGER, get("/").method("Get"), "bad_target");
    }

    #[test]
    fn a_request_that_came_through_this_gateway_is_a_loop() {
        let fixture = Fixture::new(ROUTES);
        let first = head(get("/"));
        let mut again = first.clone();
        let live = fixture.worker.live();
        loops::mark(&mut again.headers, &first.headers, live.instance());
        let received = fixture.receive(&again);
        assert!(matches!(admit(&received, again), Err(Refusal::Loop)));
    }

    #[test]
    fn malformed_forwarding_counts_only_from_a_trusted_peer() {
        let request = || get("/").header("forwarded", "for=\"unclosed");
        refused("10.1.2.3:1", request(), "bad_target");
        let fixture = Fixture::new(ROUTES);
        let head = head(request());
        let received = fixture.receive(&head);
        admitted(&received, head);
    }

    #[test]
    fn an_improper_upgrade_is_refused_and_a_proper_one_has_an_offer() {
        let old = get("/")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "8");
        refused(STRANGER, old, "bad_upgrade");
        let fixture = Fixture::new(ROUTES);
        let websocket = head(websocket("/"));
        let received = fixture.receive(&websocket);
        assert!(admitted(&received, websocket).offer.is_some());
        let plain = head(get("/"));
        let received = fixture.receive(&plain);
        assert!(admitted(&received, plain).offer.is_none());
    }

    #[test]
    fn i13_the_path_is_canonical_from_here_on() {
        let fixture = Fixture::new(ROUTES);
        let head = head(get("/%62%2fc/d?x=%61"));
        let received = fixture.receive(&head);
        let admitted = admitted(&received, head);
        assert_eq!(admitted.head.uri.path(), admitted.path.as_str());
        assert_eq!(admitted.head.uri, "/b%2Fc/d?x=%61");
        assert_eq!(&*received.target(), "/b%2Fc/d?x=%61");
    }

    #[test]
    fn a_path_without_a_canonical_form_is_refused() {
        refused(STRANGER, get("/%zz"), "bad_target");
        refused(STRANGER, get("/../../%00"), "bad_target");
    }

    #[test]
    fn the_options_of_the_whole_server_have_no_route() {
        refused(STRANGER, get("*").method("OPTIONS"), "no_route");
    }
}
