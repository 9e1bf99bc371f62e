//! The affinity key of a request: the bytes that decide its backend, and where they came from. What
//! the bytes decide is the balancer's.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::base::addr::sixteen_bytes;
use crate::base::path::decoded;
use crate::config::snapshot::AffinitySource;
use crate::core::auth::Claims;
use crate::core::http::headers::cookie;
use crate::core::http::query::{is_secret_parameter, query_values, redact_target};
use crate::core::routing::request::{Parameters, Request};

/// A key and how it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// What is hashed: the value alone, so that the same value from another source is the same key.
    pub bytes: Cow<'a, [u8]>,
    /// The source that had it.
    pub source: &'a AffinitySource,
    /// A cookie that the answer must set, so that the client sends this key next time.
    pub issue: Option<Issue<'a>>,
}

/// A cookie to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue<'a> {
    /// As configured.
    pub name: &'a str,
    /// 32 hexadecimal digits.
    pub value: String,
}

impl Issue<'_> {
    /// The value of `Set-Cookie`, a session cookie. Over TLS, pages of other sites send it too,
    /// since a gateway often has a separate domain; without TLS browsers forbid that. It holds a
    /// placement and is no credential.
    pub fn set_cookie(&self, tls: bool) -> String {
        let sites = if tls { "None; Secure" } else { "Lax" };
        let Self { name, value } = self;
        format!("{name}={value}; Path=/; HttpOnly; SameSite={sites}")
    }
}

/// The key from the first of `sources` that the request has; an empty value counts as none,
/// otherwise all clients that send one would share a backend. Path parameters and query values are
/// decoded, so that equivalent URIs have one key; cookies and header values are compared byte for
/// byte (the first of several header fields). `client` is the client's address after trusted
/// proxies have been taken into account, `claims` those of its credential; `random` generates the
/// cookie, if one is issued.
pub fn key<'a>(
    sources: &'a [AffinitySource],
    request: &Request<'a>,
    parameters: &Parameters<'_, 'a>,
    client: IpAddr,
    claims: Option<&'a Claims>,
    random: u128,
) -> Option<Key<'a>> {
    sources.iter().find_map(|source| {
        let bytes = value(source, request, parameters, client, claims);
        match (bytes, source) {
            (Some(bytes), _) => Some(Key {
                bytes,
                source,
                issue: None,
            }),
            (None, AffinitySource::IssueCookie(name)) => {
                let value = format!("{random:032x}");
                Some(Key {
                    bytes: Cow::Owned(value.clone().into_bytes()),
                    source,
                    issue: Some(Issue { name, value }),
                })
            }
            (None, _) => None,
        }
    })
}

/// What a source has, if that is not empty.
pub(super) fn value<'a>(
    source: &'a AffinitySource,
    request: &Request<'a>,
    parameters: &Parameters<'_, 'a>,
    client: IpAddr,
    claims: Option<&'a Claims>,
) -> Option<Cow<'a, [u8]>> {
    let bytes = match source {
        AffinitySource::Claim(path) => claims.and_then(|claims| claims.bytes(path)),
        AffinitySource::Path(name) => parameters.get(name).map(decoded),
        AffinitySource::Query(name) => query(request, name),
        AffinitySource::Cookie(name) | AffinitySource::IssueCookie(name) => {
            cookie(request.headers, name).map(text)
        }
        AffinitySource::Header(name) => {
            let value = request.headers.get(name);
            value.map(|value| Cow::Borrowed(value.as_bytes()))
        }
        AffinitySource::ClientAddress => Some(Cow::Owned(sixteen_bytes(client).to_vec())),
    };
    bytes.filter(|bytes| !bytes.is_empty())
}

/// Whether a key from this source may be a credential, so that it is not shown (I11). `also` are
/// names of parameters that hold credentials.
pub fn is_secret(source: &AffinitySource, key: &[u8], also: &[String]) -> bool {
    let text = String::from_utf8_lossy(key);
    match source {
        // A cookie that the gateway issued holds a placement and is no credential.
        AffinitySource::Claim(_)
        | AffinitySource::IssueCookie(_)
        | AffinitySource::ClientAddress => false,
        AffinitySource::Cookie(_) => true,
        AffinitySource::Path(_) => matches!(redact_target(&text, also), Cow::Owned(_)),
        AffinitySource::Query(name) => is_secret_parameter(name, &text, also),
        AffinitySource::Header(name) => {
            *name == http::header::COOKIE || is_secret_parameter(name.as_str(), &text, also)
        }
    }
}

fn text(value: &str) -> Cow<'_, [u8]> {
    Cow::Borrowed(value.as_bytes())
}

fn query<'a>(request: &Request<'a>, name: &'a str) -> Option<Cow<'a, [u8]>> {
    match query_values(request.query?, name).next()? {
        Cow::Borrowed(value) => Some(text(value)),
        Cow::Owned(value) => Some(Cow::Owned(value.into_bytes())),
    }
}

#[cfg(test)]
mod tests;
