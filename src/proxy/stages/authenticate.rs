//! The stage "authenticate": the principal of a request, and whether that is enough for the route.
//! Nothing reaches a backend before it (I7).

use std::sync::Arc;

use http::header::SEC_WEBSOCKET_EXTENSIONS;

use crate::config::snapshot::CredentialSource;
use crate::core::auth::{Authenticator, Claims, Principal};
use crate::core::routing::credential;
use crate::core::wire::handshake::{self, Kind};
use crate::proxy::refusal::Refusal;
use crate::proxy::request::authenticated::Authenticated;
use crate::proxy::request::routed::Routed;
use crate::proxy::stages::identify::identify;
use crate::proxy::verifiers::conditions::{Unmet, unmet};

/// Identifies the principal, checks the route's conditions, and strips credentials from the head
/// that the backend does not get.
///
/// # Errors
/// What keeps the request out.
pub(crate) async fn authenticate(routed: Routed<'_>) -> Result<Authenticated<'_>, Refusal> {
    if routed.route.authenticators.is_empty() {
        return Ok(Authenticated {
            routed,
            principal: None,
            source: None,
            subprotocol: None,
        });
    }
    // Boxed, since it is large and open routes do without it.
    Box::pin(by_authenticators(routed)).await
}

/// Identifies the principal by the route's authenticators, of which there are some.
async fn by_authenticators(mut routed: Routed<'_>) -> Result<Authenticated<'_>, Refusal> {
    let route = Arc::clone(&routed.route);
    let websocket = routed.offer.is_some();
    let identity = identify(
        routed.received,
        &route.authenticators,
        &routed.head,
        websocket,
    );
    let identity = identity.await?;
    authorize(&routed, identity.principal.as_ref())?;
    let head = &mut routed.head;
    for authenticator in &route.authenticators {
        let (config, scheme) = (&authenticator.config, authenticator.scheme());
        credential::strip(config, scheme, identity.source.as_ref(), &mut head.headers);
    }
    if route.config.auth.renewal.is_some() {
        // The prefix of a renewal message cannot be recognised in compressed data.
        head.headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    }
    let markers = route.authenticators.iter().flat_map(|one| markers(one));
    let subprotocol = credential::take_subprotocols(&mut head.headers, markers);
    if websocket {
        // Anew, since subprotocols and extensions may have been removed.
        routed.offer = match handshake::classify(&head.method, head.version, &head.headers) {
            Kind::WebSocket(offer) => Some(offer),
            Kind::Plain | Kind::Refused(_) => None,
        };
    }
    Ok(Authenticated {
        routed,
        principal: identity.principal.map(Arc::new),
        source: identity.source,
        subprotocol,
    })
}

/// Whether the route's conditions hold.
fn authorize(routed: &Routed<'_>, principal: Option<&Principal>) -> Result<(), Refusal> {
    let parameter = |name: &str| routed.parameter(name);
    let none = Claims::default();
    let claims = principal.map_or(&none, |principal| &principal.claims);
    match unmet(&routed.route, claims, &parameter, routed.head.uri.query()) {
        Some(rule) => Err(Refusal::Forbidden(Unmet {
            asks: "the route asks for".to_owned(),
            condition: rule.to_string(),
        })),
        None => Ok(()),
    }
}

/// The subprotocols that mark a credential.
fn markers(authenticator: &Authenticator) -> impl Iterator<Item = &str> + Clone {
    let sources = authenticator.config.from.iter();
    sources.filter_map(|source| match source {
        CredentialSource::Subprotocol(marker) => Some(marker.as_str()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use http::request::Builder;

    use super::*;
    use crate::proxy::tests::{
        Fixture, authenticated, get, head, routed, try_authenticate, websocket,
    };

    const ROUTES: &str = r#"
        [upstreams.chat]
        backends = ["127.0.0.1:9101"]
        [authenticators.guests]
        type = "anonymous"
        [[routes]]
        name = "open"
        path = "/open"
        upstream = "chat"
        [[routes]]
        name = "strict"
        path = "/strict"
        upstream = "chat"
        authenticate = ["programs"]
        [[routes]]
        name = "guests"
        path = "/guests"
        upstream = "chat"
        authenticate = ["programs", "guests"]
        [[routes]]
        name = "room"
        path = "/room/{room}"
        upstream = "chat"
        authenticate = ["programs"]
        authorize = ["path:room == claim:room"]
        [[routes]]
        name = "renewal"
        path = "/renewal"
        upstream = "chat"
        authenticate = ["programs"]
        expiry = { renewal = "renew " }
    "#;

    /// The subject that a request is let in as, or the label of its refusal.
    fn subject(request: Builder) -> Result<Option<String>, &'static str> {
        let fixture = Fixture::new(ROUTES);
        let head = head(request);
        let received = fixture.receive(&head);
        match try_authenticate(routed(&received, head)) {
            Ok(one) => Ok(one.principal.map(|principal| principal.subject.to_string())),
            Err(refusal) => Err(refusal.reason()),
        }
    }

    fn with_key(request: Builder, key: &str) -> Builder {
        request.header("x-api-key", key)
    }

    #[test]
    fn a_route_without_authenticators_asks_nothing() {
        assert_eq!(subject(with_key(get("/open"), "anything")), Ok(None));
    }

    #[test]
    fn i7_a_credential_has_to_be_there_and_valid() {
        assert_eq!(subject(get("/strict")), Err("credential_missing"));
        let wrong = with_key(get("/strict"), "wrong");
        assert_eq!(subject(wrong), Err("credential_invalid"));
        let right = with_key(get("/strict"), "key-of-a-bot");
        assert_eq!(subject(right), Ok(Some("bot".to_owned())));
    }

    #[test]
    fn an_invalid_credential_does_not_become_a_guest() {
        assert_eq!(subject(get("/guests")), Ok(None));
        let wrong = with_key(get("/guests"), "wrong");
        assert_eq!(subject(wrong), Err("credential_invalid"));
    }

    #[test]
    fn the_conditions_of_the_route_are_asked() {
        let lobby = with_key(get("/room/lobby"), "key-of-a-bot");
        assert_eq!(subject(lobby), Ok(Some("bot".to_owned())));
        let cellar = with_key(get("/room/cellar"), "key-of-a-bot");
        assert_eq!(subject(cellar), Err("forbidden"));
    }

    #[test]
    fn a_revoked_principal_is_refused() {
        let revoked = "[revocations.gone]\nsubject = \"bot\"\n";
        let fixture = Fixture::new(&format!("{ROUTES}{revoked}"));
        let head = head(with_key(get("/strict"), "key-of-a-bot"));
        let received = fixture.receive(&head);
        let refusal = try_authenticate(routed(&received, head)).err();
        assert_eq!(refusal.expect("a refusal").reason(), "credential_revoked");
    }

    #[test]
    fn i11_a_stripped_credential_is_gone_from_the_head() {
        let fixture = Fixture::new(ROUTES);
        let request =
            websocket("/strict").header("sec-websocket-protocol", "key, key-of-a-bot, chat");
        let head = head(request);
        let received = fixture.receive(&head);
        let authenticated = authenticated(&received, head);
        let fields = &authenticated.routed.head.headers;
        assert_eq!(fields["sec-websocket-protocol"], "chat");
        let offer = authenticated.routed.offer.expect("a websocket still");
        assert_eq!(offer.subprotocols().collect::<Vec<_>>(), ["chat"]);
    }

    #[test]
    fn renewal_messages_are_not_compressed() {
        let fixture = Fixture::new(ROUTES);
        for (path, kept) in [("/strict", true), ("/renewal", false)] {
            let request = with_key(websocket(path), "key-of-a-bot");
            let head = head(request.header("sec-websocket-extensions", "permessage-deflate"));
            let received = fixture.receive(&head);
            let one = authenticated(&received, head);
            let fields = &one.routed.head.headers;
            assert_eq!(fields.contains_key(SEC_WEBSOCKET_EXTENSIONS), kept);
        }
    }
}
