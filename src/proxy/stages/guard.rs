//! The stage "guard": whether a request may go on, by its origin and by the quotas in use. It costs
//! next to nothing, so most of it comes before authentication.

use http::request::Parts;

use crate::core::http::origin;
use crate::core::limits::{Holder, network_of};
use crate::proxy::context::permits::{RequestPermits, SessionPermits};
use crate::proxy::refusal::{Quota, Refusal};
use crate::proxy::request::authenticated::Authenticated;
use crate::proxy::request::routed::Routed;
use crate::proxy::stages::wanted_permits::WantedPermits;

/// Checks address and origin, and takes the permits of a session.
///
/// # Errors
/// What keeps the request out.
pub(crate) async fn by_address(routed: &Routed<'_>) -> Result<RequestPermits, Refusal> {
    let (received, route) = (routed.received, &routed.route.config);
    if !route.addresses.admits(received.client.address) {
        return Err(Refusal::Address);
    }
    if !routed.asks_for_session() {
        return Ok(RequestPermits::default());
    }
    // Browsers themselves keep answers to ordinary requests from pages of other origins.
    let Parts { headers, .. } = &routed.head;
    let secure = received.client.secure;
    origin::check(&route.origins, headers, &received.host, secure).map_err(Refusal::Origin)?;
    permits(routed).await
}

/// Permits for a session, the cheapest to check first.
async fn permits(routed: &Routed<'_>) -> Result<RequestPermits, Refusal> {
    let (received, route) = (routed.received, &routed.route.config);
    let live = received.connection.worker.live();
    let edge = &received.generation.edge;
    let session = live.load.session(&edge.load, route.priority);
    let session = session.map_err(Refusal::Overloaded)?;
    let handshake = live.load.handshake(&edge.load, route.priority);
    let handshake = handshake.map_err(Refusal::Overloaded)?;
    let quotas = &route.quotas;
    let lengths = edge.address_prefix;
    let network = network_of(&route.name, lengths, received.client.address);
    let mut wanted = WantedPermits::new(live, route.fleet);
    if let Some(rate) = quotas.handshakes_per_address {
        wanted.handshake(&network, rate, Quota::HandshakesPerAddress)?;
    }
    if quotas.sessions_per_address > 0 {
        let most = quotas.sessions_per_address;
        wanted.session(network, most, Quota::SessionsPerAddress)?;
    }
    if quotas.sessions_max > 0 {
        let holder = Holder::Route(route.name.clone());
        wanted.session(holder, quotas.sessions_max, Quota::SessionsOfRoute)?;
    }
    Ok(RequestPermits {
        _handshake: Some(handshake),
        session: SessionPermits::of(session, wanted.of_fleet().await?),
    })
}

/// Takes the permits of a session's principal, and admits the session by the ramp of a gateway that
/// has just started. The ramp comes last: a request that is refused otherwise takes no place in it.
///
/// # Errors
/// What the principal has too much of, or the ramp.
pub(crate) async fn by_principal(
    authenticated: &Authenticated<'_>,
    permits: &mut RequestPermits,
) -> Result<(), Refusal> {
    let routed = &authenticated.routed;
    if !routed.asks_for_session() {
        return Ok(());
    }
    let live = routed.received.connection.worker.live();
    let route = &routed.route.config;
    if let Some(holder) = authenticated.quota_holder() {
        let mut wanted = WantedPermits::new(live, route.fleet);
        if let Some(rate) = route.quotas.handshakes_per_principal {
            wanted.handshake(&holder, rate, Quota::HandshakesPerPrincipal)?;
        }
        if route.quotas.sessions_per_principal > 0 {
            let most = route.quotas.sessions_per_principal;
            wanted.session(holder, most, Quota::SessionsPerPrincipal)?;
        }
        permits.session.add(wanted.of_fleet().await?);
    }
    live.admit_session().map_err(Refusal::Ramp)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::proxy::tests::{Fixture, authenticated, get, head, routed, websocket};

    const ROUTES: &str = r#"
        [upstreams.chat]
        backends = ["127.0.0.1:9101"]
        [[routes]]
        name = "denied"
        path = "/denied"
        upstream = "chat"
        deny = ["192.0.2.0/24"]
        [[routes]]
        name = "origins"
        path = "/origins"
        upstream = "chat"
        origins = ["https://chat.example.com"]
        [[routes]]
        name = "few"
        path = "/few"
        upstream = "chat"
        limits = { sessions_max = 1 }
        [[routes]]
        name = "each"
        path = "/each"
        upstream = "chat"
        limits = { sessions_per_address = 1 }
        [[routes]]
        name = "pace"
        path = "/pace"
        upstream = "chat"
        limits = { handshakes_per_address = "1/h" }
        [[routes]]
        name = "own"
        path = "/own"
        upstream = "chat"
        authenticate = ["programs"]
        limits = { sessions_per_principal = 1 }
    "#;

    /// Without a store, nothing is waited for.
    fn now<T>(stage: impl Future<Output = T>) -> T {
        stage.now_or_never().expect("no store is asked")
    }

    /// The outcome of the guard by address, as the label of a refusal.
    fn guarded(fixture: &Fixture, request: http::request::Builder) -> Result<RequestPermits, &str> {
        let head = head(request);
        let received = fixture.receive(&head);
        let routed = routed(&received, head);
        now(by_address(&routed)).map_err(|refusal| refusal.reason())
    }

    #[test]
    fn a_denied_address_is_refused_whatever_it_asks_for() {
        let fixture = Fixture::new(ROUTES);
        for request in [get("/denied"), websocket("/denied")] {
            assert_eq!(guarded(&fixture, request).err(), Some("address"));
        }
    }

    #[test]
    fn a_foreign_page_opens_no_session() {
        let fixture = Fixture::new(ROUTES);
        let from = |origin| websocket("/origins").header("origin", origin);
        let foreign = from("https://evil.example");
        assert_eq!(guarded(&fixture, foreign).err(), Some("origin"));
        assert!(guarded(&fixture, from("https://chat.example.com")).is_ok());
        let plain = get("/origins").header("origin", "https://evil.example");
        assert!(guarded(&fixture, plain).is_ok(), "browsers guard those");
    }

    #[test]
    fn permits_are_counted_until_they_are_dropped() {
        let fixture = Fixture::new(ROUTES);
        for (path, reason) in [
            ("/few", "route_sessions_max"),
            ("/each", "sessions_per_address"),
        ] {
            let held = guarded(&fixture, websocket(path)).expect("room for one");
            assert_eq!(guarded(&fixture, websocket(path)).err(), Some(reason));
            assert!(guarded(&fixture, get(path)).is_ok(), "no session");
            drop(held);
            assert!(guarded(&fixture, websocket(path)).is_ok());
        }
    }

    #[test]
    fn handshakes_have_a_pace() {
        let fixture = Fixture::new(ROUTES);
        assert!(guarded(&fixture, websocket("/pace")).is_ok());
        let second = guarded(&fixture, websocket("/pace"));
        assert_eq!(second.err(), Some("handshakes_per_address"));
    }

    #[test]
    fn a_full_node_takes_no_session() {
        let fixture = Fixture::new(&format!("[node]\nsessions_max = 1\n{ROUTES}"));
        let held = guarded(&fixture, websocket("/few")).expect("room for one");
        assert_eq!(
            guarded(&fixture, websocket("/each")).err(),
            Some("sessions_max")
        );
        drop(held);
    }

    #[test]
    fn a_principal_has_its_own_count() {
        let fixture = Fixture::new(ROUTES);
        let admit = || {
            let head = head(websocket("/own").header("x-api-key", "key-of-a-bot"));
            let received = fixture.receive(&head);
            let authenticated = authenticated(&received, head);
            let mut permits = RequestPermits::default();
            now(by_principal(&authenticated, &mut permits))
                .map(|()| permits)
                .map_err(|refusal| refusal.reason())
        };
        let held = admit().expect("room for one");
        assert_eq!(held.session.holders().len(), 1);
        assert_eq!(admit().err(), Some("sessions_per_principal"));
        drop(held);
        assert!(admit().is_ok());
    }
}
