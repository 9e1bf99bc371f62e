//! The stage "authenticate": who the request is from, and whether that is enough for the route.
//! Nothing reaches a backend before it (I7). The first authenticator whose credential is there
//! decides; one that is there and does not count is never passed over.

use std::sync::Arc;
use std::time::Duration;

use http::header::SEC_WEBSOCKET_EXTENSIONS;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use crate::base::clock;
use crate::base::header_name::remove_alike;
use crate::base::names::AuthenticatorName;
use crate::config::expression::{Expression, Operand};
use crate::config::snapshot::{AuthMethod, Basic, CredentialSource, Forward};
use crate::core::auth::{
    Authenticator, Claims, CredentialFault, Denial, IssuerKeys, KeyRefresh, Principal, Seen,
    Values, first_unmet, header_text, user_and_password,
};
use crate::core::http::{forwarded, query};
use crate::core::routing::{self, HeaderNames, Route, credential};
use crate::core::wire::handshake::{self, Kind};
use crate::proxy::context::worker::Worker;
use crate::proxy::pipeline::{Exchange, Plan};
use crate::proxy::refusal::{Quota, Refusal};
use crate::proxy::verifiers::forward_auth::{ForwardError, Told};
use crate::proxy::verifiers::passwords::Busy;

/// For an issuer's keys to be read because a token names one that is not known. It is more than the
/// control plane rests between two such readings.
const KEYS_WAIT: Duration = Duration::from_secs(7);

/// A condition that does not hold. It is for the log and the records: clients are not shown rules.
#[derive(Debug, thiserror::Error)]
#[error("{asks} `{condition}`, which does not hold")]
pub(crate) struct Unmet {
    /// Which part of the configuration has the condition.
    asks: String,
    condition: String,
}

/// Why nobody can say who it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotJudged {
    /// The issuer has not been reached since the start.
    #[error("authenticator `{0}` has no keys yet")]
    NoKeys(String),
    /// Too many passwords wait to be verified.
    #[error("too many passwords are being verified")]
    TooMany,
    /// The service that decides does not.
    #[error("authenticator `{0}`")]
    Forward(String, #[source] ForwardError),
}

/// Who a request is from.
#[derive(Default)]
pub(crate) struct Identity {
    /// `None` where nobody has to be anybody.
    pub(crate) principal: Option<Principal>,
    /// Where the credential stood, if it stood in the request's head alone.
    judged: Option<CredentialSource>,
}

/// What an authenticator answered, and where the credential stood.
type Asked = (Option<CredentialSource>, Result<Principal, Denial>);

impl Exchange {
    /// Finds out who it is, lets them in or not, and takes what was for the gateway alone out of
    /// the head. Answers the kind anew, since subprotocols may have gone from it.
    ///
    /// # Errors
    /// What keeps the request out.
    pub(crate) async fn authenticate(
        &self,
        plan: &mut Plan,
        head: &mut Parts,
        kind: Kind,
    ) -> Result<Kind, Refusal> {
        let route = Arc::clone(&plan.route);
        if route.authenticators.is_empty() {
            return Ok(kind);
        }
        let websocket = matches!(kind, Kind::WebSocket(_));
        let identity = self
            .identify(&route.authenticators, head, websocket)
            .await?;
        plan.principal = identity.principal.map(Arc::new);
        plan.judged = identity.judged;
        authorize(&route, plan, head.uri.query())?;
        for authenticator in &route.authenticators {
            let (config, scheme) = (&authenticator.config, authenticator.scheme());
            credential::strip(config, scheme, plan.judged.as_ref(), &mut head.headers);
        }
        if route.config.auth.renewal.is_some() {
            // Nobody could tell what a message that is compressed begins with.
            head.headers.remove(SEC_WEBSOCKET_EXTENSIONS);
        }
        let markers = route.authenticators.iter().flat_map(|one| markers(one));
        plan.subprotocol = credential::take_subprotocols(&mut head.headers, markers);
        Ok(match kind {
            Kind::WebSocket(_) => handshake::classify(&head.method, head.version, &head.headers),
            kind => kind,
        })
    }

    /// Who it is, as the first of `authenticators` says whose credential is there.
    ///
    /// # Errors
    /// When that one does not let them in, or there is none.
    pub(crate) async fn identify(
        &self,
        authenticators: &[Arc<Authenticator>],
        head: &Parts,
        websocket: bool,
    ) -> Result<Identity, Refusal> {
        let request = self.request(head, websocket);
        for authenticator in authenticators {
            let counted = |outcome| self.connection.worker.authenticated(authenticator, outcome);
            if matches!(authenticator.config.method, AuthMethod::Anonymous) {
                counted("anonymous");
                return Ok(Identity::default());
            }
            let Some((source, result)) = self.ask(authenticator, &request, head).await? else {
                continue;
            };
            return match result.and_then(|principal| self.unless_revoked(principal)) {
                Ok(principal) => {
                    counted("ok");
                    self.name_subject(&principal.subject);
                    Ok(Identity {
                        principal: Some(principal),
                        judged: source,
                    })
                }
                Err(Denial::Credential(fault)) => {
                    counted(fault.as_str());
                    let by = Some(&authenticator.config.name);
                    Err(unauthenticated(authenticators, by, fault))
                }
                Err(Denial::Insufficient { subject, lacks }) => {
                    counted("insufficient");
                    self.name_subject(&subject);
                    Err(Refusal::Forbidden(Unmet {
                        asks: format!("authenticator `{}` asks for", authenticator.config.name),
                        condition: lacks,
                    }))
                }
            };
        }
        let missing = CredentialFault::Missing;
        if let Some(last) = authenticators.last() {
            let worker = &self.connection.worker;
            worker.authenticated(last, missing.as_str());
        }
        Err(unauthenticated(authenticators, None, missing))
    }

    /// What one authenticator says; nothing where its credential is not there.
    async fn ask(
        &self,
        authenticator: &Arc<Authenticator>,
        request: &routing::Request<'_>,
        head: &Parts,
    ) -> Result<Option<Asked>, Refusal> {
        match &authenticator.config.method {
            AuthMethod::Mtls(_) => {
                let certificate = self.connection.certificate.as_deref();
                let judged =
                    certificate.map(|der| authenticator.judge_certificate(der, clock::wall()));
                return Ok(judged.map(|judged| (None, judged)));
            }
            AuthMethod::Forward(forward) => {
                let mut shown = forward.request_headers.iter();
                if !shown.any(|name| head.headers.contains_key(name)) {
                    return Ok(None);
                }
                let judged = self.forward(authenticator, forward, head).await?;
                return Ok(Some((None, judged)));
            }
            _ => {}
        }
        let scheme = authenticator.scheme();
        let Some((source, found)) = credential::find(&authenticator.config, scheme, request) else {
            return Ok(None);
        };
        let judged = match (found, &authenticator.config.method) {
            (Err(fault), _) => Err(Denial::Credential(fault)),
            (Ok(text), AuthMethod::Basic(basic)) => {
                self.password(authenticator, basic, &text).await?
            }
            (Ok(text), _) => {
                let path = head.uri.path();
                let keys = &self.generation.keys;
                let judged = judge(&self.connection.worker, authenticator, keys, (&text, path));
                let judged = judged.await;
                judged.map_err(|why| Refusal::NotJudged(Box::new(why)))?
            }
        };
        Ok(Some((Some(source.clone()), judged)))
    }

    async fn password(
        &self,
        authenticator: &Authenticator,
        basic: &Basic,
        text: &str,
    ) -> Result<Result<Principal, Denial>, Refusal> {
        let (user, password) = match user_and_password(text) {
            Ok(pair) => pair,
            Err(fault) => return Ok(Err(fault.into())),
        };
        let passwords = &self.connection.worker.shared.judges.passwords;
        let lengths = self.generation.edge.address_prefix;
        let network = lengths.network(self.client.address);
        match passwords
            .verify(&basic.users, &user, password, network)
            .await
        {
            Ok(true) => Ok(Ok(authenticator.named(&user))),
            Ok(false) => Ok(Err(CredentialFault::Unknown.into())),
            Err(Busy::Network) => Err(Refusal::Quota(Quota::PasswordsPerAddress)),
            Err(Busy::All) => Err(Refusal::NotJudged(Box::new(NotJudged::TooMany))),
        }
    }

    async fn forward(
        &self,
        authenticator: &Authenticator,
        forward: &Forward,
        head: &Parts,
    ) -> Result<Result<Principal, Denial>, Refusal> {
        let told = Told {
            method: head.method.as_str(),
            scheme: self.client.scheme(),
            host: &self.host,
            target: head
                .uri
                .path_and_query()
                .map_or("/", |target| target.as_str()),
            client: self.client.address.to_string(),
            request_id: &self.request_id,
            headers: &head.headers,
            untrusted: self.connection.untrusted_headers(),
        };
        let services = &self.connection.worker.shared.judges.services;
        let name = || authenticator.config.name.to_string();
        let asked = services
            .ask(authenticator, forward, &told, self.connection.worker.live())
            .await;
        asked.map_err(|error| Refusal::NotJudged(Box::new(NotJudged::Forward(name(), error))))
    }

    fn unless_revoked(&self, principal: Principal) -> Result<Principal, Denial> {
        let right = principal.right(Duration::ZERO);
        // Not of the request's generation: a credential may be revoked while a service, a password
        // or an issuer's keys are waited for.
        let newest = self.connection.worker.live().generation();
        if newest.revocations.refuse(None, Some(&right), clock::wall()) {
            self.name_subject(&principal.subject);
            return Err(CredentialFault::Revoked.into());
        }
        Ok(principal)
    }
}

/// Judges a credential that needs nothing but its text, brought to this path.
///
/// # Errors
/// When nobody can say yet.
pub(crate) async fn judge(
    worker: &Worker,
    authenticator: &Authenticator,
    keys: &IssuerKeys,
    (text, path): (&str, &str),
) -> Result<Result<Principal, Denial>, NotJudged> {
    let judged = authenticator.judge(text, path, keys, clock::wall());
    let Some(refresh) = authenticator.refresh().filter(|_| is_unknown_key(&judged)) else {
        return Ok(judged);
    };
    match wait_for_keys(worker, authenticator, refresh, text).await {
        None if authenticator
            .keys(&worker.live().generation().keys)
            .is_none() =>
        {
            Err(NotJudged::NoKeys(authenticator.config.name.to_string()))
        }
        None => Ok(judged),
        Some(again) => Ok(again),
    }
}

/// Judges again once the keys have been read anew: an issuer that has changed its keys signs with
/// new ones at once. Few may wait, and no longer than until a reading that began after this has
/// ended: strangers can name any key.
async fn wait_for_keys(
    worker: &Worker,
    authenticator: &Authenticator,
    refresh: &KeyRefresh,
    text: &str,
) -> Option<Result<Principal, Denial>> {
    let live = worker.live();
    let mut read = live.keys_read();
    let number = refresh.want();
    live.want_keys();
    let _seat = worker.wait_for_keys()?;
    let waited = tokio::time::timeout(KEYS_WAIT, async {
        loop {
            // They may have come since they were looked at.
            let last = refresh.has_ended(number);
            let keys = live.generation().keys.clone();
            let judged = authenticator.judge(text, "", &keys, clock::wall());
            if !is_unknown_key(&judged) {
                return Some(judged);
            }
            if last {
                return None;
            }
            read.changed().await.ok()?;
        }
    });
    waited.await.ok().flatten()
}

fn is_unknown_key(judged: &Result<Principal, Denial>) -> bool {
    let unknown = Denial::Credential(CredentialFault::UnknownKey);
    judged.as_ref().err() == Some(&unknown)
}

/// The refusal of a request to all of these authenticators, one of which may have judged it.
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
        // RFC 9110, section 15.5.2: a 401 says at least one.
        challenges.push(HeaderValue::from_static("Sessile"));
    }
    Refusal::Unauthenticated {
        fault,
        by: by.cloned(),
        challenges,
    }
}

fn authorize(route: &Route, plan: &Plan, raw_query: Option<&str>) -> Result<(), Refusal> {
    let parameter = |name: &str| {
        let mut names = route.config.path.parameters();
        let place = names.position(|known| known == name)?;
        plan.parameters.get(place).map(String::as_str)
    };
    let nobody = Claims::default();
    let claims = plan.principal.as_ref().map_or(&nobody, |one| &one.claims);
    match unmet(route, claims, &parameter, raw_query) {
        Some(rule) => Err(Refusal::Forbidden(Unmet {
            asks: "the route asks for".to_owned(),
            condition: rule.to_string(),
        })),
        None => Ok(()),
    }
}

/// Whether somebody with these claims may have a session of this route with this target, as its
/// conditions are now. Parameters of the query that are cut out of targets do not count.
pub(crate) fn may_go_on(route: &Route, claims: &Claims, target: &str) -> bool {
    let (path, raw_query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let parameter = |name: &str| route.config.path.value(path, name);
    unmet(route, claims, &parameter, raw_query).is_none()
}

/// The route's first condition that does not hold. `parameter` gives values of the path as they
/// stand there.
pub fn unmet<'r, 'p>(
    route: &'r Route,
    claims: &Claims,
    parameter: &dyn Fn(&str) -> Option<&'p str>,
    raw_query: Option<&str>,
) -> Option<&'r Expression> {
    let rules = &route.config.auth.authorize;
    if rules.is_empty() {
        return None;
    }
    let request = |operand: &Operand| match operand {
        Operand::Path(name) => match parameter(name) {
            Some(value) => query::decode_path(value).map_or(Seen::Ambiguous, Seen::Text),
            None => Seen::Absent,
        },
        Operand::Query(name) => seen_in_query(raw_query.unwrap_or_default(), name),
        Operand::Claim(_) | Operand::Text(_) => Seen::Absent,
    };
    first_unmet(rules, &Values::with(claims, &request))
}

/// What stands there twice is read differently by different readers, as is what is not UTF-8, and
/// what only some of them take for the parameter.
fn seen_in_query(raw: &str, name: &str) -> Seen {
    if query::holds_lookalike(raw, name) {
        return Seen::Ambiguous;
    }
    let mut values = query::query_values(raw, name);
    match (values.next(), values.next()) {
        (None, _) => Seen::Absent,
        (Some(value), None) if !value.contains('\u{fffd}') => Seen::Text(value.into_owned()),
        _ => Seen::Ambiguous,
    }
}

fn markers(authenticator: &Authenticator) -> impl Iterator<Item = &str> + Clone {
    authenticator
        .config
        .from
        .iter()
        .filter_map(|source| match source {
            CredentialSource::Subprotocol(marker) => Some(marker.as_str()),
            _ => None,
        })
}

/// The query without what the backend is not to see, if there is such a thing in it; the inner
/// `None` is no query. See [`credential::strip`].
pub(crate) fn stripped_query(plan: &Plan, raw: Option<&str>) -> Option<Option<String>> {
    let sources = plan.route.authenticators.iter().flat_map(|one| {
        let sources = one.config.from.iter();
        sources.filter(|source| one.config.strip || plan.judged.as_ref() != Some(*source))
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

/// Who it is, for the backend, in place of whatever a client says under those names. Backends serve
/// more than one route, so names of all routes are removed.
pub(crate) fn tell_backend(names: &HeaderNames, plan: &Plan, fields: &mut HeaderMap) {
    names.remove_identity(fields);
    let told = &plan.route.config.auth.claim_headers;
    for (name, _) in told {
        remove_alike(fields, name.as_str());
    }
    for authenticator in &plan.route.authenticators {
        if let AuthMethod::Forward(forward) = &authenticator.config.method {
            for name in &forward.response_headers {
                remove_alike(fields, name.as_str());
            }
        }
    }
    let Some(principal) = &plan.principal else {
        return;
    };
    if let Some(subject) = header_text(&principal.subject) {
        fields.insert(&forwarded::SESSILE_SUBJECT, subject);
    }
    for (name, claim) in told {
        if let Some(value) = principal.claims.header(claim) {
            fields.insert(name, value);
        }
    }
    for (name, value) in &principal.headers {
        fields.append(name, value.clone());
    }
}
