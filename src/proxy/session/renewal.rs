//! Renewal inside a session: the client sent a new credential in a message, which the relay took
//! out of the stream. It is verified as at the route's `renew` path. A failed renewal does not end
//! the session; it ends with its old right.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock;
use crate::config::snapshot::AuthMethod;
use crate::core::auth::{CredentialFault, Denial, Principal};
use crate::core::session::record::Facts;
use crate::live::Renewal;
use crate::proxy::context::worker::Worker;
use crate::proxy::session::live_session::Session;
use crate::proxy::session::registry::Sessions;
use crate::proxy::session::rights;
use crate::proxy::verifiers::conditions::may_keep;
use crate::proxy::verifiers::text;

/// After an invalid credential the client is not read for this time, which makes guessing slow.
const PENALTY: Duration = Duration::from_millis(250);

/// Why a renewal failed, in one word.
type Word = &'static str;

/// Verifies the credential that the client of this session sent.
pub(crate) fn begin(sessions: &Rc<Sessions>, session: &Rc<Session>) {
    let facts = session.facts();
    let credential = session.relay_mut().renewal().map(<[u8]>::to_vec);
    // Weak: a session that ends meanwhile must not keep its sockets open for this.
    let (sessions, session) = (Rc::clone(sessions), Rc::downgrade(session));
    tokio::task::spawn_local(async move {
        let verified = verify(sessions.worker(), &facts, credential.unwrap_or_default()).await;
        if verified.is_err() {
            tokio::time::sleep(PENALTY).await;
        }
        let Some(session) = session.upgrade() else {
            return;
        };
        if session.is_here() {
            settle(&sessions, &session, verified);
        }
        // A session that another process has by now is renewed there.
        let answered = session.is_here();
        session.relay_mut().renewal_over(answered);
    });
}

/// The principal of the new credential.
async fn verify(worker: &Worker, facts: &Facts, credential: Vec<u8>) -> Result<Principal, Word> {
    let right = facts.right.as_deref().ok_or("no_right")?;
    let generation = worker.live().generation_arc();
    let table = &generation.table;
    let authenticator = table.authenticator(&right.authenticator);
    let authenticator = authenticator.ok_or("no_authenticator")?;
    let counted = |word: Word| {
        worker.authenticated(authenticator, word);
        word
    };
    let method = &authenticator.config.method;
    let by_text = matches!(
        method,
        AuthMethod::Jwt(_) | AuthMethod::ApiKey(_) | AuthMethod::SignedUrl(_)
    );
    let credential = String::from_utf8(credential).ok().filter(|_| by_text);
    let credential = credential.ok_or_else(|| counted("not_renewable"))?;
    let credential = (credential.trim(), "");
    let verified = text::verify(
        (worker.live(), &worker.key_waiters),
        authenticator,
        &generation.keys,
        credential,
    )
    .await;
    let principal = match verified {
        Ok(Ok(principal)) => principal,
        Ok(Err(Denial::Credential(fault))) => return Err(counted(fault.as_str())),
        Ok(Err(Denial::Insufficient { .. })) => return Err(counted("insufficient")),
        Err(_) => return Err(counted("not_verified")),
    };
    let renewed = principal.right(Duration::ZERO);
    let newest = worker.live().generation();
    let revocations = &newest.revocations;
    if revocations.refuse(Some(facts.id), Some(&renewed), clock::wall()) {
        return Err(counted(CredentialFault::Revoked.as_str()));
    }
    if principal.subject != right.subject {
        return Err(counted("other_subject"));
    }
    counted("ok");
    Ok(principal)
}

/// Sets the new right and sends the outcome to the client.
fn settle(sessions: &Sessions, session: &Session, verified: Result<Principal, Word>) {
    let worker = sessions.worker();
    let id = session.facts().id;
    let table = worker.live().table();
    let renewed = verified.and_then(|principal| {
        let facts = session.facts();
        let route = table.route(&facts.route).cloned();
        let rules = route.as_deref();
        if rules.is_some_and(|rules| !may_keep(rules, &principal.claims, facts.request.target())) {
            return Err("insufficient");
        }
        let renewal = Renewal::Credential {
            right: principal.right(Duration::ZERO),
            claims: Arc::new(principal.claims),
            route,
        };
        let renewed = rights::renew(session, &renewal, worker.tick());
        renewed.then_some(()).ok_or("ending")
    });
    sessions.arm(session);
    let outcome = renewed.err().unwrap_or("renewed");
    tracing::debug!(session = %id, outcome, "renewal inside the session");
    let facts = session.facts();
    let route = table.route(&facts.route);
    let Some(route) = route.and_then(|route| route.config.auth.renewal.as_ref()) else {
        return;
    };
    let text = match renewed {
        Ok(()) => {
            let right = facts.right.as_deref();
            let left = right.and_then(|right| right.left(clock::wall()));
            let seconds = left.map_or_else(|| "null".to_owned(), |left| left.as_secs().to_string());
            let text = route.renewed.as_ref();
            text.map(|text| text.replace("{seconds}", &seconds))
        }
        Err(word) => {
            let text = route.refused.as_ref();
            text.map(|text| text.replace("{reason}", word))
        }
    };
    if let Some(text) = text {
        session.relay_mut().send_text(&text);
    }
}

#[cfg(test)]
mod tests;
