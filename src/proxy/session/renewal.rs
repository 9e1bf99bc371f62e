//! A right that is renewed inside its session: the client has brought a new credential by a
//! message, which the relay took out of the stream. It is judged as at the route's `renew` path;
//! whatever comes of it, the session goes on, as long as the old right lasts at least.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock;
use crate::config::snapshot::AuthMethod;
use crate::core::auth::{CredentialFault, Denial, Principal};
use crate::core::session::record::Facts;
use crate::live::Renewal;
use crate::proxy::context::worker::Worker;
use crate::proxy::session::Session;
use crate::proxy::stages::authenticate::{self, may_go_on};

/// Whoever brings a credential that does not count is not read for so long: there is no guessing.
const PENALTY: Duration = Duration::from_millis(250);

/// Why a right stays what it was, in one word.
type Word = &'static str;

/// Judges what the client of this session has brought.
pub(crate) fn begin(worker: &Rc<Worker>, session: &Rc<Session>) {
    let facts = session.facts();
    let credential = session.relay_mut().renewal().map(<[u8]>::to_vec);
    // A session that ends meanwhile keeps neither socket open for this.
    let (worker, session) = (Rc::clone(worker), Rc::downgrade(session));
    tokio::task::spawn_local(async move {
        let judged = judge(&worker, &facts, credential.unwrap_or_default()).await;
        if judged.is_err() {
            tokio::time::sleep(PENALTY).await;
        }
        let Some(session) = session.upgrade() else {
            return;
        };
        if session.is_here() {
            settle(&worker, &session, judged);
        }
        // Who is with another process by now is judged there.
        let answered = session.is_here();
        session.relay_mut().renewal_over(answered);
    });
}

/// Who it is now.
async fn judge(worker: &Worker, facts: &Facts, credential: Vec<u8>) -> Result<Principal, Word> {
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
    let judged = authenticate::judge(
        worker,
        authenticator,
        &generation.keys,
        (credential.trim(), ""),
    )
    .await;
    let principal = match judged {
        Ok(Ok(principal)) => principal,
        Ok(Err(Denial::Credential(fault))) => return Err(counted(fault.as_str())),
        Ok(Err(Denial::Insufficient { .. })) => return Err(counted("insufficient")),
        Err(_) => return Err(counted("not_judged")),
    };
    let renewed = principal.right(Duration::ZERO);
    let newest = worker.live().generation();
    if newest
        .revocations
        .refuse(Some(facts.id), Some(&renewed), clock::wall())
    {
        return Err(counted(CredentialFault::Revoked.as_str()));
    }
    if principal.subject != right.subject {
        return Err(counted("other_subject"));
    }
    counted("ok");
    Ok(principal)
}

/// Gives the session its new right, and tells its client what came of it.
fn settle(worker: &Worker, session: &Session, judged: Result<Principal, Word>) {
    let id = session.facts().id;
    let table = worker.live().table();
    let renewed = judged.and_then(|principal| {
        let facts = session.facts();
        let route = table.route(&facts.route).cloned();
        let rules = route.as_deref();
        if rules.is_some_and(|rules| !may_go_on(rules, &principal.claims, &facts.target)) {
            return Err("insufficient");
        }
        let renewal = Renewal::Credential {
            right: principal.right(Duration::ZERO),
            claims: Arc::new(principal.claims),
            route,
        };
        let renewed = session.renew(&renewal, worker.tick());
        renewed.then_some(()).ok_or("ending")
    });
    worker.sessions.arm(session);
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
        session.relay_mut().tell(&text);
    }
}
