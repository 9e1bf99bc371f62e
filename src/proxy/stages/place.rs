//! The stage "place": what decides the backend of a request, and the target that it is asked for.

use std::sync::Arc;

use http::HeaderValue;
use http::request::Parts;

use crate::base::clock;
use crate::base::group::GroupName;
use crate::base::history_id::HistoryId;
use crate::base::metadata::Metadata;
use crate::config::broker_name::FillFault;
use crate::config::snapshot::CredentialSource;
use crate::core::http::{event_stream, query};
use crate::core::messages::index::Subscription;
use crate::core::routing::groups::{groups_of_request, metadata_of_request};
use crate::core::routing::subscriptions::NameValues;
use crate::core::routing::{affinity, rewrite};
use crate::core::wire::handshake::Upgrade;
use crate::proxy::context::permits::RequestPermits;
use crate::proxy::request::authenticated::Authenticated;
use crate::proxy::request::placed::Placed;
use crate::proxy::request::routed::Routed;
use crate::proxy::request::target;

/// Milliseconds by which the clocks of gateways and of their broker may differ.
const FUTURE_MAX: u64 = 60_000;

/// The result of the stage.
struct Placement {
    key: Option<Vec<u8>>,
    key_source: Option<usize>,
    set_cookie: Option<HeaderValue>,
    groups: Vec<GroupName>,
    since: Option<HistoryId>,
    metadata: Option<Metadata>,
    subscriptions: (Vec<Subscription>, Vec<FillFault>),
    publish_name: Option<Result<Arc<str>, FillFault>>,
    target: String,
}

/// Computes affinity key and target. Returns the head beside the request, since it goes on to the
/// backend, and what the client offered if it asks for a WebSocket.
pub(crate) fn place(
    authenticated: Authenticated<'_>,
    permits: RequestPermits,
) -> (Placed<'_>, Parts, Option<Upgrade>) {
    let quota_holder = authenticated.quota_holder();
    let Placement {
        key,
        key_source,
        set_cookie,
        groups,
        since,
        metadata,
        subscriptions: (subscriptions, not_subscribed),
        publish_name,
        target,
    } = placement(&authenticated);
    let Authenticated {
        routed,
        principal,
        subprotocol,
        ..
    } = authenticated;
    let Routed {
        received,
        head,
        offer,
        route,
        upstream,
        ..
    } = routed;
    let placed = Placed {
        received,
        route,
        upstream,
        principal,
        quota_holder,
        subprotocol,
        permits,
        key,
        key_source,
        set_cookie,
        groups,
        since,
        metadata,
        subscriptions,
        publish_name,
        not_subscribed,
        target,
    };
    (placed, head, offer)
}

fn placement(authenticated: &Authenticated<'_>) -> Placement {
    let routed = &authenticated.routed;
    let (received, route) = (routed.received, &routed.route);
    let stripped = stripped_query(authenticated, routed.head.uri.query());
    let mut request = routed.request();
    let names = route.config.path.parameters();
    let values = routed.parameters.iter().map(String::as_str);
    let parameters = names.zip(values).collect();
    let principal = authenticated.principal.as_ref();
    let key = affinity::key(
        &route.config.affinity,
        &request,
        &parameters,
        received.client.address,
        principal.map(|principal| &principal.claims),
        fastrand::u128(..),
    );
    let cookie = key.as_ref().and_then(|key| key.issue.as_ref());
    let set_cookie = cookie.map(|issue| {
        HeaderValue::try_from(issue.set_cookie(received.client.secure))
            .expect("a checked name, a number")
    });
    let sources = &route.config.affinity;
    let place = |source| sources.iter().position(|one| one == source);
    let key_source = key.as_ref().and_then(|key| place(key.source));
    let key = key.map(|key| key.bytes.into_owned());
    let messages = &route.config.messages;
    let claims = principal.map(|principal| &principal.claims);
    let address = received.client.address;
    let groups = groups_of_request(&messages.groups, &request, &parameters, address, claims);
    let described = &messages.metadata;
    let metadata = metadata_of_request(described, &request, &parameters, address, claims);
    let values = NameValues {
        request: &request,
        parameters: &parameters,
        client: address,
        claims,
        prefix: received.connection.worker.broker_prefix(),
    };
    let subscriptions = values.subscriptions(&messages.subscribe);
    let publish = messages.publish.as_ref();
    let publish_name = publish.map(|publish| values.name(&publish.to));
    if let Some(query) = &stripped {
        request.query = query.as_deref();
    }
    let own = || target::with_query(request.path, request.query);
    let target = rewrite::target(&route.config.rewrite, &request, &parameters).unwrap_or_else(own);
    Placement {
        key,
        key_source,
        set_cookie,
        groups,
        since: since(routed),
        metadata,
        subscriptions,
        publish_name,
        target,
    }
}

/// The last message that the client has: `Last-Event-ID` of one that takes events, or `since` of
/// the query. What is no id of a message asks for nothing.
fn since(routed: &Routed<'_>) -> Option<HistoryId> {
    let worker = &routed.received.connection.worker;
    worker.live().messages()?.replays.as_ref()?;
    if !routed.asks_for_session() {
        return None;
    }
    let head = &routed.head;
    let last = event_stream::last_event_id(&head.headers).filter(|_| routed.takes_events);
    let since = match last {
        Some(last) => HistoryId::parse_since(last),
        None => {
            let values = query::query_values(head.uri.query()?, "since");
            HistoryId::parse_since(&values.last()?)
        }
    };
    // No message has an id of the future, but for clocks that differ.
    let latest = clock::unix_millis(clock::wall()).saturating_add(FUTURE_MAX);
    since.ok().filter(|since| since.millis <= latest)
}

/// The query without the credentials that the backend does not get, if any is in it; the inner
/// `None` is no query. See [`crate::core::routing::credential::strip`].
fn stripped_query(authenticated: &Authenticated<'_>, raw: Option<&str>) -> Option<Option<String>> {
    let authenticators = authenticated.routed.route.authenticators.iter();
    let sources = authenticators.flat_map(|one| {
        let sources = one.config.from.iter();
        let used = authenticated.source.as_ref();
        sources.filter(move |source| one.config.strip || used != Some(*source))
    });
    let names: Vec<_> = sources
        .filter_map(|source| match source {
            CredentialSource::Query(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        return None;
    }
    Some(query::without(raw?, |found| {
        names.iter().any(|name| query::is_alike(found, name))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::tests::{Fixture, authenticated, get, head, websocket};

    const ROUTES: &str = r#"
        [upstreams.chat]
        backends = ["127.0.0.1:9101"]
        [[routes]]
        name = "room"
        path = "/ws/{room}"
        upstream = "chat"
        affinity = ["query:k", "path:room"]
        [[routes]]
        name = "own"
        path = "/own/{rest}"
        upstream = "chat"
        authenticate = ["programs"]
        affinity = ["claim:sub"]
        stick = "live"
        [[routes]]
        name = "cookie"
        path = "/cookie"
        upstream = "chat"
        affinity = [{ issue_cookie = "sid" }]
        [[routes]]
        name = "rewrite"
        path = "/rewrite/{name}"
        upstream = "chat"
        rewrite = { path = "/inner/{name}" }
    "#;

    fn placed<T>(request: http::request::Builder, look: impl FnOnce(&Placed<'_>) -> T) -> T {
        let fixture = Fixture::new(ROUTES);
        let head = head(request);
        let received = fixture.receive(&head);
        let (placed, ..) = place(authenticated(&received, head), RequestPermits::default());
        look(&placed)
    }

    #[track_caller]
    fn check(request: http::request::Builder, key: Option<&str>, target: &str) {
        placed(request, |placed| {
            let found = placed.key.as_deref().map(String::from_utf8_lossy);
            assert_eq!(found.as_deref(), key);
            assert_eq!(placed.target, target);
            assert_eq!(placed.key_source.is_some(), key.is_some());
        });
    }

    #[test]
    fn the_first_present_source_is_the_key() {
        check(get("/ws/lobby"), Some("lobby"), "/ws/lobby");
        check(get("/ws/lobby?k=ann"), Some("ann"), "/ws/lobby?k=ann");
    }

    #[test]
    fn i11_a_stripped_credential_does_not_reach_the_target() {
        check(get("/own/a?key=key-of-a-bot"), Some("bot"), "/own/a");
        let target = "/own/a?a=1&key=key-of-a-bot&b=2";
        check(get(target), Some("bot"), "/own/a?a=1&b=2");
    }

    #[test]
    fn a_rewrite_replaces_the_path_and_keeps_the_query() {
        check(get("/rewrite/x?a=1"), None, "/inner/x?a=1");
    }

    #[test]
    fn a_client_without_an_affinity_cookie_is_issued_one() {
        let issued = |request| placed(request, |one| (one.key.clone(), one.set_cookie.clone()));
        let (key, cookie) = issued(get("/cookie"));
        let cookie = cookie.expect("a cookie");
        assert!(key.is_some() && cookie.to_str().expect("text").starts_with("sid="));
        let (key, cookie) = issued(get("/cookie").header("cookie", "sid=mine"));
        assert!(key.is_some() && cookie.is_none());
    }

    #[test]
    fn only_sticky_routes_follow_live_sessions() {
        let stickiness = |request| {
            placed(request, |placed| {
                let wanted = placed.wanted(true, tokio::time::Instant::now());
                wanted.stickiness
            })
        };
        use crate::proxy::backend::candidates::Stickiness;
        assert_eq!(stickiness(websocket("/ws/a")), Stickiness::None);
        let sticky = websocket("/own/a?key=key-of-a-bot");
        assert_eq!(stickiness(sticky), Stickiness::Follows);
    }
}
