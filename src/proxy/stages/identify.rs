//! Who sent a request. The first authenticator whose credential is present decides; a credential
//! that is present and invalid is never passed over.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::request::Parts;

use crate::base::clock;
use crate::base::names::AuthenticatorName;
use crate::config::snapshot::{AuthMethod, Basic, CredentialSource, Forward};
use crate::core::auth::{Authenticator, CredentialFault, Denial, Principal, user_and_password};
use crate::core::routing::{self, credential};
use crate::proxy::refusal::{Quota, Refusal};
use crate::proxy::request::received::Received;
use crate::proxy::verifiers::conditions::Unmet;
use crate::proxy::verifiers::forward_auth::ForwardedRequest;
use crate::proxy::verifiers::passwords::Busy;
use crate::proxy::verifiers::{NotVerified, text};

/// Who sent a request.
#[derive(Default)]
pub(crate) struct Identity {
    /// `None` for `anonymous`.
    pub(crate) principal: Option<Principal>,
    /// Where the credential was, if it was in the head alone.
    pub(crate) source: Option<CredentialSource>,
}

/// The outcome of one authenticator, and where the credential was.
type Verified = (Option<CredentialSource>, Result<Principal, Denial>);

/// Identifies the sender by the first of `authenticators` whose credential is present.
///
/// # Errors
/// When that one rejects it, or no credential is present.
pub(crate) async fn identify(
    received: &Received,
    authenticators: &[Arc<Authenticator>],
    head: &Parts,
    websocket: bool,
) -> Result<Identity, Refusal> {
    let worker = &received.connection.worker;
    let request = received.request(head, websocket);
    for authenticator in authenticators {
        let counted = |outcome| worker.authenticated(authenticator, outcome);
        if matches!(authenticator.config.method, AuthMethod::Anonymous) {
            counted("anonymous");
            return Ok(Identity::default());
        }
        let Some((source, result)) = verify(received, authenticator, &request, head).await? else {
            continue;
        };
        return match result.and_then(|principal| unless_revoked(received, principal)) {
            Ok(principal) => {
                counted("ok");
                received.set_subject(&principal.subject);
                Ok(Identity {
                    principal: Some(principal),
                    source,
                })
            }
            Err(Denial::Credential(fault)) => {
                counted(fault.as_str());
                let by = Some(&authenticator.config.name);
                Err(unauthenticated(authenticators, by, fault))
            }
            Err(Denial::Insufficient { subject, lacks }) => {
                counted("insufficient");
                received.set_subject(&subject);
                Err(Refusal::Forbidden(Unmet {
                    asks: format!("authenticator `{}` asks for", authenticator.config.name),
                    condition: lacks,
                }))
            }
        };
    }
    let missing = CredentialFault::Missing;
    if let Some(last) = authenticators.last() {
        worker.authenticated(last, missing.as_str());
    }
    Err(unauthenticated(authenticators, None, missing))
}

/// The refusal of a request that none of these authenticators accepts; `by` rejected a credential.
pub(crate) fn unauthenticated(
    authenticators: &[Arc<Authenticator>],
    by: Option<&AuthenticatorName>,
    fault: CredentialFault,
) -> Refusal {
    let challenges = authenticators
        .iter()
        .filter_map(|one| one.challenge(Some(fault)));
    let mut challenges: Vec<_> = challenges
        .filter_map(|text| HeaderValue::from_str(&text).ok())
        .collect();
    challenges.dedup();
    if challenges.is_empty() {
        // RFC 9110, section 15.5.2: a 401 has at least one.
        challenges.push(HeaderValue::from_static("Sessile"));
    }
    Refusal::Unauthenticated {
        fault,
        by: by.cloned(),
        challenges,
    }
}

/// The outcome of one authenticator; `None` if its credential is absent.
async fn verify(
    received: &Received,
    authenticator: &Arc<Authenticator>,
    request: &routing::Request<'_>,
    head: &Parts,
) -> Result<Option<Verified>, Refusal> {
    match &authenticator.config.method {
        AuthMethod::Mtls(_) => {
            let certificate = received.connection.certificate.as_deref();
            let verified =
                certificate.map(|der| authenticator.judge_certificate(der, clock::wall()));
            return Ok(verified.map(|verified| (None, verified)));
        }
        AuthMethod::Forward(forward) => {
            let mut names = forward.request_headers.iter();
            if !names.any(|name| head.headers.contains_key(name)) {
                return Ok(None);
            }
            // Boxed, as what waits for another service is large, and other requests do without it.
            let verified = Box::pin(forward_auth(received, authenticator, forward, head)).await?;
            return Ok(Some((None, verified)));
        }
        _ => {}
    }
    let scheme = authenticator.scheme();
    let Some((source, found)) = credential::find(&authenticator.config, scheme, request) else {
        return Ok(None);
    };
    let verified = match (found, &authenticator.config.method) {
        (Err(fault), _) => Err(Denial::Credential(fault)),
        (Ok(text), AuthMethod::Basic(basic)) => {
            Box::pin(password(received, authenticator, basic, &text)).await?
        }
        (Ok(text), _) => {
            let worker = &received.connection.worker;
            let credential = (&*text, head.uri.path());
            text::verify(
                (worker.live(), &worker.key_waiters),
                authenticator,
                &received.generation.keys,
                credential,
            )
            .await
            .map_err(|why| Refusal::NotVerified(Box::new(why)))?
        }
    };
    Ok(Some((Some(source.clone()), verified)))
}

async fn password(
    received: &Received,
    authenticator: &Authenticator,
    basic: &Basic,
    text: &str,
) -> Result<Result<Principal, Denial>, Refusal> {
    let (user, password) = match user_and_password(text) {
        Ok(pair) => pair,
        Err(fault) => return Ok(Err(fault.into())),
    };
    let worker = &received.connection.worker;
    let passwords = &worker.shared.verifiers.passwords;
    let lengths = received.generation.edge.address_prefix;
    let network = lengths.network(received.client.address);
    match passwords
        .verify(&basic.users, &user, password, network)
        .await
    {
        Ok(true) => Ok(Ok(authenticator.named(&user))),
        Ok(false) => Ok(Err(CredentialFault::Unknown.into())),
        Err(Busy::Network) => Err(Refusal::Quota(Quota::PasswordsPerAddress)),
        Err(Busy::All) => Err(Refusal::NotVerified(Box::new(NotVerified::TooMany))),
    }
}

async fn forward_auth(
    received: &Received,
    authenticator: &Authenticator,
    forward: &Forward,
    head: &Parts,
) -> Result<Result<Principal, Denial>, Refusal> {
    let request = ForwardedRequest {
        method: head.method.as_str(),
        scheme: received.client.scheme(),
        host: &received.host,
        target: head
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str()),
        client: received.client.address.to_string(),
        request_id: &received.request_id,
        headers: &head.headers,
        untrusted: received
            .connection
            .untrusted_headers(&received.generation.edge),
    };
    let worker = &received.connection.worker;
    let services = &worker.shared.verifiers.services;
    let clients = (worker.live(), &worker.service_clients);
    let asked = services
        .ask(authenticator, forward, &request, clients)
        .await;
    asked.map_err(|error| {
        let name = authenticator.config.name.to_string();
        Refusal::NotVerified(Box::new(NotVerified::Forward(name, error)))
    })
}

fn unless_revoked(received: &Received, principal: Principal) -> Result<Principal, Denial> {
    let right = principal.right(Duration::ZERO);
    // The newest generation, not that of the request: the credential may have been revoked during a
    // wait for a service, a password or an issuer's keys.
    let newest = received.connection.worker.live().generation();
    if newest.revocations.refuse(None, Some(&right), clock::wall()) {
        received.set_subject(&principal.subject);
        return Err(CredentialFault::Revoked.into());
    }
    Ok(principal)
}
