//! Requests that are signed as AWS asks for (Signature Version 4,
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>):
//! the access key id is the name of a token of `[publish]`, and the secret key is the token. Region
//! and service are taken as the client has them.

use std::time::{Duration, SystemTime};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use crate::base::sigv4::{ALGORITHM, Key, SignedParts};
use crate::config::snapshot::PublishToken;

/// How far the client's clock may be away.
const SKEW: Duration = Duration::from_secs(15 * 60);
/// Most headers that are signed.
const HEADERS_MAX: usize = 64;

/// Why a signature is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SignatureError {
    /// The header is missing or another scheme's.
    #[error("the request has no AWS4-HMAC-SHA256 signature")]
    Missing,
    /// The header cannot be read.
    #[error("the Authorization header is malformed")]
    Malformed,
    /// No token has this name.
    #[error("no publisher has this access key id")]
    Key,
    /// `x-amz-date` is missing or too far away.
    #[error("x-amz-date is missing, or more than 15 minutes away")]
    Date,
    /// It does not fit the request.
    #[error("the signature does not match the request")]
    Signature,
}

/// The parts of the `Authorization` header.
struct Authorization<'a> {
    key: &'a str,
    /// Date, region, service and `aws4_request`.
    scope: [&'a str; 4],
    headers: &'a str,
    signature: &'a str,
}

/// Whether a request is signed at all.
pub(super) fn is_signed(head: &Parts) -> bool {
    let value = head
        .headers
        .get(AUTHORIZATION)
        .map(|value| value.as_bytes());
    value.is_some_and(|value| value.starts_with(ALGORITHM.as_bytes()))
}

/// The place of the token that a request is signed with.
///
/// # Errors
/// Why there is none.
pub(super) fn verify(
    tokens: &[PublishToken],
    head: &Parts,
    body: &[u8],
    now: SystemTime,
) -> Result<usize, SignatureError> {
    let value = head
        .headers
        .get(AUTHORIZATION)
        .ok_or(SignatureError::Missing)?;
    let value = value.to_str().map_err(|_| SignatureError::Malformed)?;
    let given = parse(value)?;
    let place = tokens.iter().position(|token| *token.name == *given.key);
    let place = place.ok_or(SignatureError::Key)?;
    let date = header(head, "x-amz-date").ok_or(SignatureError::Date)?;
    let at = time(&date).ok_or(SignatureError::Date)?;
    let away = now.duration_since(at).or_else(|_| at.duration_since(now));
    if away.is_ok_and(|away| away > SKEW) || !date.starts_with(given.scope[0]) {
        return Err(SignatureError::Date);
    }
    let headers = signed_headers(head, &given)?;
    let parts = SignedParts {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &headers,
        body,
    };
    let key = Key {
        secret: tokens[place].token.reveal(),
        scope: given.scope,
    };
    let signature = parts.signature(key, &date);
    verify_slices_are_equal(signature.as_bytes(), given.signature.as_bytes())
        .map(|()| place)
        .map_err(|_| SignatureError::Signature)
}

fn parse(value: &str) -> Result<Authorization<'_>, SignatureError> {
    let rest = value
        .strip_prefix(ALGORITHM)
        .ok_or(SignatureError::Missing)?;
    let mut given = [None; 3];
    for part in rest.split(',') {
        let (name, value) = part
            .trim()
            .split_once('=')
            .ok_or(SignatureError::Malformed)?;
        let names = ["Credential", "SignedHeaders", "Signature"];
        let place = names.iter().position(|one| *one == name);
        given[place.ok_or(SignatureError::Malformed)?] = Some(value);
    }
    let [Some(credential), Some(headers), Some(signature)] = given else {
        return Err(SignatureError::Malformed);
    };
    // The name of a token may hold slashes, the scope has four parts.
    let mut parts: Vec<_> = credential.rsplitn(5, '/').collect();
    parts.reverse();
    let [key, date, region, service, end] = parts[..] else {
        return Err(SignatureError::Malformed);
    };
    if end != "aws4_request" || headers.split(';').count() > HEADERS_MAX {
        return Err(SignatureError::Malformed);
    }
    Ok(Authorization {
        key,
        scope: [date, region, service, end],
        headers,
        signature,
    })
}

fn signed_headers<'a>(
    head: &Parts,
    given: &Authorization<'a>,
) -> Result<Vec<(&'a str, String)>, SignatureError> {
    let names: Vec<_> = given.headers.split(';').collect();
    // What is not signed could be changed: the host binds the request to this gateway.
    if !names.contains(&"host") || !names.contains(&"x-amz-date") {
        return Err(SignatureError::Signature);
    }
    let values = names.into_iter().map(|name| {
        let value = header(head, name).ok_or(SignatureError::Signature)?;
        Ok((name, value))
    });
    values.collect()
}

/// The value of a header, its spaces folded; of several fields the list.
fn header(head: &Parts, name: &str) -> Option<String> {
    let values = head.headers.get_all(name).iter();
    let values: Option<Vec<_>> = values
        .map(|value| {
            let words = value.to_str().ok()?.split_ascii_whitespace();
            Some(words.collect::<Vec<_>>().join(" "))
        })
        .collect();
    values
        .filter(|values| !values.is_empty())
        .map(|values| values.join(","))
}

/// `20261127T170000Z`
fn time(text: &str) -> Option<SystemTime> {
    let plain = text.len() == 16 && text.is_ascii();
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u32>().ok();
    if !plain || text.get(8..9)? != "T" || text.get(15..)? != "Z" {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    let (hour, minute, second) = (number(9..11)?, number(11..13)?, number(13..15)?);
    let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z");
    humantime::parse_rfc3339(&text).ok()
}

#[cfg(test)]
mod tests;
