//! Whether a request to explain would reach a backend: by the address of its client, its origin,
//! its credential and the route's conditions. It runs the code of the data plane. Checks with side
//! effects or remote calls are skipped and listed.

use std::time::{Duration, SystemTime};

use http::Method;

use crate::admin::resolve::credentials::Credentials;
use crate::admin::resolve::request::Parts;
use crate::admin::resolve::view::RefusalView;
use crate::base::clock;
use crate::config::snapshot::AuthMethod;
use crate::core::auth::{Authenticator, Claims, CredentialFault, Denial, IssuerKeys, Principal};
use crate::core::http::origin;
use crate::core::routing::{Matched, Route, credential, has_one_reading};
use crate::core::wire::handshake::UpgradeFault;
use crate::proxy::unmet;

/// The outcome of the checks.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) refusal: Option<RefusalView>,
    /// The claims of the credential, or those given with the request.
    pub(super) claims: Claims,
    pub(super) principal: Option<String>,
    /// Checks that were skipped, a sentence each.
    pub(super) not_checked: Vec<String>,
}

impl Checked {
    fn refuse(mut self, status: u16, reason: &str, detail: impl ToString) -> Self {
        self.refusal = Some(RefusalView {
            status,
            reason: reason.to_owned(),
            detail: detail.to_string(),
        });
        self
    }
}

/// The verdict of one authenticator.
enum Said {
    /// The request has no credential for it.
    Absent,
    /// The check would have side effects or take a remote call.
    Unknown(String),
    Anonymous,
    Verified(Box<Result<Principal, Denial>>),
}

/// Runs the checks in the order of the data plane.
pub(super) fn check(
    (parts, path): (&Parts, &str),
    matched: &Matched<'_, '_>,
    credentials: Credentials<'_>,
) -> Checked {
    let route = &**matched.route;
    let connect = parts.method == Method::CONNECT;
    let mut checked = Checked {
        claims: parts.claims.clone(),
        ..Checked::default()
    };
    if connect {
        return checked.refuse(405, "connect", "this gateway opens no tunnels");
    }
    if !has_one_reading(&parts.method) {
        return checked.refuse(400, "bad_target", "the method has lower-case letters");
    }
    if parts.websocket && parts.method != Method::GET {
        let fault = UpgradeFault::Method;
        return checked.refuse(fault.status().as_u16(), "bad_upgrade", fault);
    }
    if !route.config.addresses.admits(parts.client) {
        let detail = "clients of this address may not use this route";
        return checked.refuse(403, "address", detail);
    }
    if parts.remembered {
        let what = "origin, credential, and conditions on claims: headers and claims of a session \
                    are not kept";
        checked.not_checked.push(what.to_owned());
        return checked;
    }
    if parts.websocket {
        let rule = &route.config.origins;
        if let Err(fault) = origin::check(rule, &parts.headers, &parts.host, parts.tls) {
            return checked.refuse(403, "origin", fault);
        }
    }
    let assumed = !parts.claims.0.is_empty();
    if !route.authenticators.is_empty() && !assumed {
        match identify(&route.authenticators, (parts, path), credentials) {
            Ok(Some(principal)) => {
                checked.principal = Some(principal.subject.to_string());
                checked.claims = principal.claims;
            }
            Ok(None) => {}
            Err(Stop::Unknown(why)) => {
                checked.not_checked.push(why);
                return checked;
            }
            Err(Stop::Denied(Denial::Credential(fault))) => {
                return checked.refuse(401, fault.reason(), fault);
            }
            Err(Stop::Denied(fault @ Denial::Insufficient { .. })) => {
                return checked.refuse(403, "forbidden", fault);
            }
        }
    }
    let parameter = |name: &str| {
        let mut parameters = matched.parameters.iter();
        parameters
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    };
    let rule = unmet(route, &checked.claims, &parameter, parts.query.as_deref());
    if let Some(rule) = rule {
        let detail = format!("`{rule}` does not hold");
        return checked.refuse(403, "forbidden", detail);
    }
    match unfit(route, parts) {
        Some((status, reason, detail)) => checked.refuse(status, reason, detail),
        None => checked,
    }
}

/// Why the route itself does not take the request: status, reason, and the reason in words.
fn unfit(route: &Route, parts: &Parts) -> Option<(u16, &'static str, &'static str)> {
    if route.takes_sessions_only() && !parts.websocket && route.config.messages.sse.is_none() {
        return Some((426, "only_sessions", "this route takes WebSockets only"));
    }
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    let by_others = route.files().is_some() && !reads;
    by_others.then_some((405, "not_get", "this route serves files, by GET and HEAD"))
}

/// Why the principal is unknown.
enum Stop {
    Denied(Denial),
    Unknown(String),
}

fn identify(
    authenticators: &[std::sync::Arc<Authenticator>],
    (parts, path): (&Parts, &str),
    credentials: Credentials<'_>,
) -> Result<Option<Principal>, Stop> {
    let now = clock::wall();
    for authenticator in authenticators {
        match ask(authenticator, (parts, path), credentials.keys, now) {
            Said::Absent => {}
            Said::Unknown(why) => {
                let name = &authenticator.config.name;
                return Err(Stop::Unknown(format!("authenticator `{name}`: {why}")));
            }
            Said::Anonymous => return Ok(None),
            Said::Verified(verified) => {
                let principal = verified.map_err(Stop::Denied)?;
                let right = principal.right(Duration::ZERO);
                if credentials.revocations.refuse(None, Some(&right), now) {
                    return Err(Stop::Denied(CredentialFault::Revoked.into()));
                }
                return Ok(Some(principal));
            }
        }
    }
    Err(Stop::Denied(CredentialFault::Missing.into()))
}

fn ask(
    authenticator: &Authenticator,
    (parts, path): (&Parts, &str),
    keys: &IssuerKeys,
    now: SystemTime,
) -> Said {
    let unknown = |why: &str| Said::Unknown(why.to_owned());
    match &authenticator.config.method {
        AuthMethod::Anonymous => return Said::Anonymous,
        // A request to explain has no TLS connection.
        AuthMethod::Mtls(_) => return Said::Absent,
        AuthMethod::Forward(forward) => {
            let mut shown = forward.request_headers.iter();
            return match shown.any(|name| parts.headers.contains_key(name)) {
                true => unknown("its service was not asked"),
                false => Said::Absent,
            };
        }
        _ => {}
    }
    let request = parts.request(path);
    let found = credential::find(&authenticator.config, authenticator.scheme(), &request);
    let text = match found {
        None => return Said::Absent,
        Some((_, Err(fault))) => return Said::Verified(Box::new(Err(fault.into()))),
        Some((_, Ok(text))) => text,
    };
    match &authenticator.config.method {
        AuthMethod::SignedUrl(_) => return unknown("its tickets can be used once only"),
        AuthMethod::Basic(_) => return unknown("passwords are not compared here"),
        _ => {}
    }
    let verified = authenticator.verify(&text, path, keys, now);
    let unknown_key = Denial::Credential(CredentialFault::UnknownKey);
    if authenticator.refresh().is_some() && verified.as_ref().err() == Some(&unknown_key) {
        return unknown("the gateway would ask the issuer for its keys again");
    }
    Said::Verified(Box::new(verified))
}
