//! The headers that a backend gets: the client's, without what a client must not send and without
//! credentials that are stripped, and with what the gateway adds.

use http::header::HOST;
use http::{HeaderMap, HeaderValue};

use crate::base::header_name::remove_alike;
use crate::base::host;
use crate::config::snapshot::AuthMethod;
use crate::core::auth::header_text;
use crate::core::http::forwarded::{self, Forwarding};
use crate::core::http::{headers, loops};
use crate::core::routing::HeaderNames;
use crate::proxy::request::placed::Placed;

/// Makes them from the client's; `session` where a session may come of the request.
pub(crate) fn backend_headers(placed: &Placed<'_>, client: HeaderMap, session: bool) -> HeaderMap {
    let received = placed.received;
    let connection = &received.connection;
    let live = connection.worker.live();
    let mut fields = client;
    let gateways = loops::gateways(&fields, live.instance());
    let names = received.generation.table.header_names();
    headers::strip_hop_by_hop_but(&mut fields, |name| names.contains(name));
    let untrusted = &connection.listener().config.untrusted_headers;
    headers::restrict_trailers(&mut fields, |name| {
        names.contains(name) || untrusted.contains(name)
    });
    // The gateway itself answers the expectation once it reads the body.
    fields.remove("expect");
    let hop = Forwarding {
        peer: connection.addresses.client.map(|peer| peer.ip()),
        trusted: connection.peer_trusted(&received.generation.edge),
        scheme: received.client.scheme(),
        tls: connection.tls,
        untrusted,
        host: &received.host,
        request_id: &received.request_id,
        session: session.then_some(received.id),
        rfc7239: placed.upstream.config.forwarded_header,
    };
    forwarded::forward(&mut fields, &hop);
    fields.insert(&loops::SESSILE_GATEWAY, gateways);
    if let Some(trace) = &received.trace {
        trace.pass_on(&mut fields);
    }
    set_identity(names, placed, &mut fields);
    let rewrite = &placed.route.config.rewrite;
    let host = rewrite.host.as_deref().unwrap_or(&received.host);
    let host = host::or_default(host);
    // Most often it is what the client sent: one line, the same.
    if !fields.get_all(HOST).iter().eq([host])
        && let Ok(host) = HeaderValue::from_str(host)
    {
        fields.insert(HOST, host);
    }
    headers::apply_edits(&mut fields, &placed.route.config.request_headers);
    fields
}

/// The principal, in place of whatever the client sent under those names. A backend may serve more
/// than one route, so the names of all routes are removed.
fn set_identity(names: &HeaderNames, placed: &Placed<'_>, fields: &mut HeaderMap) {
    names.remove_identity(fields);
    let claim_headers = &placed.route.config.auth.claim_headers;
    for (name, _) in claim_headers {
        remove_alike(fields, name.as_str());
    }
    for authenticator in &placed.route.authenticators {
        if let AuthMethod::Forward(forward) = &authenticator.config.method {
            for name in &forward.response_headers {
                remove_alike(fields, name.as_str());
            }
        }
    }
    let Some(principal) = &placed.principal else {
        return;
    };
    if let Some(subject) = header_text(&principal.subject) {
        fields.insert(&forwarded::SESSILE_SUBJECT, subject);
    }
    for (name, claim) in claim_headers {
        if let Some(value) = principal.claims.header(claim) {
            fields.insert(name, value);
        }
    }
    for (name, value) in &principal.headers {
        fields.append(name, value.clone());
    }
}

#[cfg(test)]
mod tests {
    use http::request::Builder;

    use super::*;
    use crate::proxy::context::permits::RequestPermits;
    use crate::proxy::stages::place::place;
    use crate::proxy::tests::{Fixture, authenticated, get, head};

    const ROUTES: &str = r#"
        [upstreams.chat]
        backends = ["127.0.0.1:9101"]
        [[routes]]
        name = "own"
        path = "/own"
        upstream = "chat"
        authenticate = ["programs"]
        claim_headers = { x-role = "claim:role" }
        [[routes]]
        name = "rewrite"
        path = "/rewrite"
        upstream = "chat"
        rewrite = { host = "inner.example" }
        [[routes]]
        name = "open"
        upstream = "chat"
    "#;

    fn headers_of(request: Builder, session: bool) -> HeaderMap {
        let fixture = Fixture::new(ROUTES);
        let head = head(request);
        let received = fixture.receive(&head);
        let authenticated = authenticated(&received, head);
        let (placed, head, _) = place(authenticated, RequestPermits::default());
        backend_headers(&placed, head.headers, session)
    }

    #[test]
    fn a_client_cannot_claim_an_identity() {
        let request = get("/")
            .header("sessile-subject", "root")
            .header("sessile_subject", "root")
            .header("x-role", "admin");
        let fields = headers_of(request, false);
        let claimed = ["sessile-subject", "sessile_subject", "x-role"];
        assert!(
            claimed.iter().all(|name| !fields.contains_key(*name)),
            "{fields:?}"
        );
    }

    #[test]
    fn the_principal_and_its_claims_are_sent() {
        let request = get("/own").header("x-api-key", "key-of-a-bot");
        let fields = headers_of(request.header("x-role", "admin"), false);
        assert_eq!(fields["sessile-subject"], "bot");
        let roles: Vec<_> = fields.get_all("x-role").iter().collect();
        assert_eq!(roles, ["robot"]);
    }

    #[test]
    fn hop_by_hop_fields_stay_and_the_hop_is_described() {
        let request = get("/")
            .header("connection", "x-hop")
            .header("x-hop", "1")
            .header("expect", "100-continue")
            .header("x-forwarded-for", "203.0.113.9");
        let fields = headers_of(request, false);
        assert!(!fields.contains_key("x-hop") && !fields.contains_key("expect"));
        assert_eq!(
            fields["x-forwarded-for"], "192.0.2.7",
            "a stranger's is dropped"
        );
        assert_eq!(fields["host"], "chat.example.com");
    }

    #[test]
    fn only_a_session_has_an_id_and_a_route_may_change_the_host() {
        assert!(!headers_of(get("/"), false).contains_key("sessile-session"));
        assert!(headers_of(get("/"), true).contains_key("sessile-session"));
        assert_eq!(headers_of(get("/rewrite"), false)["host"], "inner.example");
    }
}
