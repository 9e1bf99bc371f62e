//! URLs of the servers of a service that the gateway itself follows, and the bounds of waiting for
//! them.

use std::time::Duration;

use http::Uri;

use crate::config::validate::scope::Scope;
use crate::config::validate::values::text_without_secrets;

/// For an answer.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60 * 60);
/// For backends that left together.
pub(super) const GRACE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Whose endpoints these are.
pub(super) struct Endpoints {
    /// Its name.
    pub(super) of: &'static str,
    /// One of them.
    pub(super) example: &'static str,
    /// One without and one with TLS, for the remedy.
    pub(super) examples: &'static str,
    /// Whether there is a `tls` table.
    pub(super) has_tls: bool,
    /// What is secret in its requests, if anything is.
    pub(super) secret: Option<&'static str>,
}

/// The endpoints, without a slash at their ends; at least one.
pub(super) fn endpoints(
    at: &Scope<'_>,
    written: &[String],
    asked: &Endpoints,
) -> Option<Vec<String>> {
    if written.is_empty() {
        if !at.is_explained() {
            at.fault_with(
                "there is no endpoint",
                format!("add `endpoints = [\"{}\"]`", asked.example),
            );
        }
        return None;
    }
    let encrypted = |url: &String| url.starts_with("https://");
    let endpoints = at.each(written, |at, url| {
        let shown = text_without_secrets(url);
        if !is_endpoint(url) {
            at.fault_with(
                format!("`{shown}` is no endpoint of {}", asked.of),
                format!("write {}", asked.examples),
            );
        } else if asked.has_tls && !encrypted(url) {
            at.fault_with(
                format!("`{shown}` is not encrypted, and there is a `tls` table"),
                "begin it with `https://`, or take `tls` out",
            );
        } else {
            return Some(url.trim_end_matches('/').to_owned());
        }
        None
    })?;
    if let Some(secret) = asked.secret
        && !written.iter().all(|url| encrypted(url) || is_local(url))
    {
        at.warn(format!("the {secret} would cross the network in the clear"));
    }
    Some(endpoints)
}

fn is_endpoint(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.port_u16().is_some()
            && matches!(uri.path(), "" | "/")
    })
}

fn is_local(url: &str) -> bool {
    let uri = url.parse::<Uri>();
    uri.is_ok_and(|uri| {
        matches!(
            uri.host(),
            Some("localhost" | "127.0.0.1" | "[::1]" | "::1")
        )
    })
}
