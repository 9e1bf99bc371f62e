//! Who may use a route: its authenticators, what they must find, and when rights end.

use std::collections::BTreeMap;

use crate::config::expression::{ClaimPath, Operand};
use crate::config::model;
use crate::config::pattern::PathPattern;
use crate::config::snapshot::{RejectWith, RouteAuth};
use crate::config::validate::edits::{self, free_header};
use crate::config::validate::expiry::expiry;
use crate::config::validate::scope::{Scope, all};
use crate::config::validate::values::{chain, expressions, own_path};

/// Who a route lets in.
pub(super) fn route(
    at: &Scope<'_>,
    model: &model::Route,
    known: &BTreeMap<String, model::Authenticator>,
    path: Option<&PathPattern>,
) -> Option<RouteAuth> {
    let authenticate = chain(at, "authenticate", &model.authenticate, known);
    let guarded = !model.authenticate.is_empty() || at.key("authenticate").is_explained();
    let needs = |key: &str, given: bool| {
        if given && !guarded {
            at.key(key).fault_with(
                "the route authenticates no client, so there are no claims",
                "add `authenticate = [\"NAME\"]`",
            );
            return None;
        }
        Some(())
    };
    let claims_asked = needs("authorize", !model.authorize.is_empty());
    let claims_told = needs("claim_headers", !model.claim_headers.is_empty());
    let authorize = expressions(
        &at.key("authorize"),
        &model.authorize,
        |at, operand| match (operand, path) {
            (Operand::Path(name), Some(path)) => edits::knows_parameter(at, path, name),
            _ => Some(()),
        },
    );
    let headers: Vec<_> = model
        .claim_headers
        .iter()
        .map(|(name, claim)| {
            let at = at.key("claim_headers").key(name);
            let (name, claim) = (free_header(&at, name), at.parse::<ClaimPath>(claim));
            Some((name?, claim?))
        })
        .collect();
    let expiry = expiry(
        &at.key("expiry"),
        &model.expiry,
        (&model.authenticate, guarded),
        known,
    );
    let renew = own_path(&at.key("renew"), model.renew.as_deref());
    claims_asked
        .and(claims_told)
        .and_then(|()| needs("renew", model.renew.is_some()))?;
    let expiry = expiry?;
    Some(RouteAuth {
        authenticate: authenticate?,
        authorize: authorize?,
        claim_headers: all(headers)?,
        reject_with: match model.reject_with {
            model::RejectWith::Status => RejectWith::Status,
            model::RejectWith::Close => RejectWith::Close,
        },
        renew: renew?,
        expiry_leeway: expiry.leeway,
        warning: expiry.warning,
        renewal: expiry.renewal,
    })
}
