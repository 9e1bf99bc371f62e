//! What a token is worth: signature first, then what it claims.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::base::names::AuthenticatorName;
use crate::config::key_set::KeySet;
use crate::config::snapshot::Jwt;
use crate::core::auth::rules::{Values, first_unmet};
use crate::core::auth::token::{self, Token};
use crate::core::auth::{Claims, CredentialFault, Denial, Principal, SUBJECT_MAX};

/// Keys tried for a token that names none.
const KEYS_TRIED: usize = 16;
/// The end of the year 9999; what expires later never does.
const NEVER: u64 = 253_402_300_799;

/// Verifies a token at `now`.
///
/// # Errors
/// Why it does not let its bearer in.
pub(super) fn verify(
    name: &AuthenticatorName,
    jwt: &Jwt,
    keys: &KeySet,
    text: &str,
    now: SystemTime,
) -> Result<Principal, Denial> {
    let token = token::parse(text, jwt.bytes_max)?;
    verify_signature(jwt, keys, &token)?;
    let claims = Claims(token.claims()?);
    let (expires, issued) = times(jwt, &claims, now)?;
    issuer_and_audience(jwt, &claims)?;
    let subject = match claims.get(&jwt.subject) {
        Some(Value::String(subject)) => subject.as_str(),
        _ => return Err(CredentialFault::NoSubject.into()),
    };
    if subject.is_empty() || subject.len() > SUBJECT_MAX {
        return Err(CredentialFault::NoSubject.into());
    }
    if let Some(missing) = jwt.scopes.iter().find(|scope| !has_scope(&claims, scope)) {
        return Err(insufficient(subject, format!("scope {missing}")));
    }
    if let Some(unmet) = first_unmet(&jwt.require, &Values::of(&claims)) {
        return Err(insufficient(subject, unmet.to_string()));
    }
    let token_id = match claims.0.get("jti") {
        Some(Value::String(id)) if id.len() <= SUBJECT_MAX => Some(Arc::from(id.as_str())),
        _ => None,
    };
    Ok(Principal {
        authenticator: name.clone(),
        subject: subject.into(),
        expires,
        issued,
        token_id,
        origin_id: None,
        claims,
        headers: Vec::new(),
    })
}

fn insufficient(subject: &str, lacks: String) -> Denial {
    let subject = subject.into();
    Denial::Insufficient { subject, lacks }
}

fn verify_signature(jwt: &Jwt, keys: &KeySet, token: &Token<'_>) -> Result<(), CredentialFault> {
    let accepted = jwt.algorithms.is_empty() || jwt.algorithms.contains(&token.algorithm);
    if !accepted {
        return Err(CredentialFault::Algorithm);
    }
    let kid = token.kid.as_deref();
    if keys.is_empty() || !keys.knows(kid) {
        return Err(CredentialFault::UnknownKey);
    }
    let mut candidates = keys.candidates(kid, token.algorithm).peekable();
    if candidates.peek().is_none() {
        return Err(CredentialFault::Algorithm);
    }
    let verified = candidates
        .take(KEYS_TRIED)
        .any(|key| key.verifies(token.algorithm, token.signed, token.signature));
    if verified {
        Ok(())
    } else {
        Err(CredentialFault::Signature)
    }
}

/// `exp` and `iat`, after `exp` and `nbf` have been looked at.
fn times(
    jwt: &Jwt,
    claims: &Claims,
    now: SystemTime,
) -> Result<(Option<SystemTime>, Option<SystemTime>), CredentialFault> {
    let expires = time(claims, "exp")?;
    let not_before = time(claims, "nbf")?;
    let issued = time(claims, "iat")?;
    match expires {
        None if jwt.expiry_required => return Err(CredentialFault::NoExpiry),
        Some(expires) if now >= expires + jwt.leeway => {
            return Err(CredentialFault::expired(expires, now));
        }
        _ => {}
    }
    if not_before.is_some_and(|from| now + jwt.leeway < from) {
        return Err(CredentialFault::NotYetValid);
    }
    Ok((expires, issued))
}

/// A `NumericDate`: seconds since 1970, which may have a fraction.
fn time(claims: &Claims, name: &str) -> Result<Option<SystemTime>, CredentialFault> {
    let seconds = match claims.0.get(name) {
        None => return Ok(None),
        Some(Value::Number(number)) => number.as_f64().ok_or(CredentialFault::Malformed)?,
        Some(_) => return Err(CredentialFault::Malformed),
    };
    if !seconds.is_finite() || seconds < 0.0 {
        return Err(CredentialFault::Malformed);
    }
    let seconds = seconds.min(NEVER as f64);
    Ok(Some(UNIX_EPOCH + Duration::from_secs_f64(seconds)))
}

fn issuer_and_audience(jwt: &Jwt, claims: &Claims) -> Result<(), CredentialFault> {
    if let Some(issuer) = &jwt.issuer {
        let is = claims.0.get("iss").and_then(Value::as_str);
        if is != Some(issuer) {
            return Err(CredentialFault::Issuer);
        }
    }
    if jwt.audience.is_empty() {
        return Ok(());
    }
    let ours = |value: &Value| {
        let text = value.as_str();
        text.is_some_and(|text| jwt.audience.iter().any(|wanted| wanted == text))
    };
    let fits = match claims.0.get("aud") {
        Some(Value::Array(list)) => list.iter().any(ours),
        Some(value) => ours(value),
        None => false,
    };
    if fits {
        Ok(())
    } else {
        Err(CredentialFault::Audience)
    }
}

/// `scope` is a list of words (RFC 8693, section 4.2); some issuers write `scp`, or a JSON list.
fn has_scope(claims: &Claims, wanted: &str) -> bool {
    ["scope", "scp"]
        .iter()
        .filter_map(|name| claims.0.get(*name))
        .any(|value| match value {
            Value::String(words) => words.split(' ').any(|word| word == wanted),
            Value::Array(list) => list.iter().any(|item| item.as_str() == Some(wanted)),
            _ => false,
        })
}

#[cfg(test)]
mod tests;
