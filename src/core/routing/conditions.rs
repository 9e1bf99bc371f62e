//! The conditions of a route beyond host and path: scheme, method, headers, query, subprotocols.
//! They are evaluated for one request at a time; the matcher decides which routes are evaluated,
//! and in which order.

use std::fmt;

use http::{HeaderName, Method};

use crate::config::pattern::{HostPattern, PathPattern};
use crate::config::snapshot::{Action, Redirect, Route, Scheme, TextMatch};
use crate::core::http::headers::values_alike;
use crate::core::http::query::query_values;
use crate::core::routing::request::Request;
use crate::core::wire::handshake;

/// The first condition of a route that a request does not meet. Its text names what the operator
/// wrote, but no value that a header or query parameter is compared with: it may be a secret (I11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch<'t> {
    /// None of these.
    Host(&'t [HostPattern]),
    /// Not this.
    Path(&'t PathPattern),
    /// Not by this.
    Scheme(Scheme),
    /// None of these.
    Method(&'t [Method]),
    /// This header is not so.
    Header(&'t HeaderName, &'t TextMatch),
    /// This query parameter is not so.
    Query(&'t str, &'t TextMatch),
    /// None of these was offered.
    Subprotocol(&'t [String]),
    /// A redirect to this scheme alone, which the request came by.
    AlreadyThere(&'t str),
}

impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(hosts) => write!(f, "the host is not {}", Choice(hosts)),
            Self::Path(path) => write!(f, "the path does not match {path}"),
            Self::Scheme(scheme) => write!(f, "the request did not come by {scheme}"),
            Self::Method(methods) => write!(f, "the method is not {}", Choice(methods)),
            Self::Header(name, wanted) => write!(f, "header {name} {}", unmet(wanted)),
            Self::Query(name, wanted) => write!(f, "query parameter {name} {}", unmet(wanted)),
            Self::AlreadyThere(scheme) => write!(f, "the request came by {scheme} already"),
            Self::Subprotocol(names) => {
                write!(f, "the client does not offer subprotocol {}", Choice(names))
            }
        }
    }
}

fn unmet(wanted: &TextMatch) -> &'static str {
    match wanted {
        TextMatch::Present => "is not there",
        TextMatch::Absent => "is there",
        TextMatch::Exact(_) => "does not have the value",
        TextMatch::Prefix(_) => "does not begin so",
    }
}

/// `a`, `a or b`, `a, b or c`.
struct Choice<'t, T>(&'t [T]);

impl<T: fmt::Display> fmt::Display for Choice<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, item) in self.0.iter().enumerate() {
            match self.0.len() - place {
                _ if place == 0 => {}
                1 => f.write_str(" or ")?,
                _ => f.write_str(", ")?,
            }
            item.fmt(f)?;
        }
        Ok(())
    }
}

/// The first condition that does not hold; `None` if all do.
pub(super) fn mismatch<'t>(route: &'t Route, request: &Request<'_>) -> Option<Mismatch<'t>> {
    if let Some(scheme) = route.scheme.filter(|one| *one != Scheme::of(request.tls)) {
        return Some(Mismatch::Scheme(scheme));
    }
    if !route.methods.is_empty() && !route.methods.contains(request.method) {
        return Some(Mismatch::Method(&route.methods));
    }
    for (name, wanted) in &route.headers {
        if !holds(wanted, values_alike(request.headers, name), |value| {
            value.as_bytes()
        }) {
            return Some(Mismatch::Header(name, wanted));
        }
    }
    for (name, wanted) in &route.query {
        let values = query_values(request.query.unwrap_or(""), name);
        if !holds(wanted, values, |value| value.as_bytes()) {
            return Some(Mismatch::Query(name, wanted));
        }
    }
    let offers = |name: &str| route.subprotocols.iter().any(|wanted| wanted == name);
    let met = route.subprotocols.is_empty()
        || (request.websocket && handshake::subprotocols(request.headers).any(offers));
    if !met {
        return Some(Mismatch::Subprotocol(&route.subprotocols));
    }
    leads_nowhere(&route.action, request.tls).map(Mismatch::AlreadyThere)
}

/// Whether [`mismatch`] finds none, whatever the request is.
pub(super) fn is_unconditional(route: &Route) -> bool {
    count(route) == 0 && !matches!(route.action, Action::Redirect(_))
}

/// How many conditions a route has.
fn count(route: &Route) -> usize {
    let others = [
        route.scheme.is_none(),
        route.methods.is_empty(),
        route.subprotocols.is_empty(),
    ];
    let others = others.iter().filter(|absent| !**absent).count();
    route.headers.len() + route.query.len() + others
}

/// A redirect that changes nothing but the scheme is not for requests that came by that scheme:
/// else one route from http to https would send those of the TLS listener round in circles.
fn leads_nowhere(action: &Action, tls: bool) -> Option<&str> {
    match action {
        Action::Redirect(Redirect {
            scheme: Some(scheme),
            host: None,
            path: None,
            ..
        }) => (matches!(scheme.as_str(), "https" | "wss") == tls).then_some(scheme),
        _ => None,
    }
}

fn holds<V>(
    wanted: &TextMatch,
    mut values: impl Iterator<Item = V>,
    bytes: impl Fn(&V) -> &[u8],
) -> bool {
    match wanted {
        TextMatch::Present => values.next().is_some(),
        TextMatch::Absent => values.next().is_none(),
        TextMatch::Exact(text) => values.any(|value| bytes(&value) == text.as_bytes()),
        TextMatch::Prefix(text) => values.any(|value| bytes(&value).starts_with(text.as_bytes())),
    }
}

/// Which of the routes with one host and path is tried first: the greater one. `precedence` counts
/// before all else, then the number of conditions, then how many of them fix a value, then how many
/// bytes their prefixes fix.
pub(super) fn rank(route: &Route) -> impl Ord + use<> {
    let texts = || {
        let headers = route.headers.iter().map(|(_, wanted)| wanted);
        headers.chain(route.query.iter().map(|(_, wanted)| wanted))
    };
    let exact = texts().filter(|wanted| matches!(wanted, TextMatch::Exact(_)));
    let prefix = texts().map(|wanted| match wanted {
        TextMatch::Prefix(text) => text.len(),
        _ => 0,
    });
    (
        route.precedence,
        count(route),
        exact.count(),
        prefix.sum::<usize>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_to_the_scheme_that_a_request_came_by_leads_nowhere() {
        let redirect = |scheme: &str, host: Option<&str>| {
            Action::Redirect(Redirect {
                scheme: Some(scheme.to_owned()),
                host: host.map(str::to_owned),
                path: None,
                status: 308,
            })
        };
        for (scheme, host, tls, nowhere) in [
            ("https", None, true, true),
            ("https", None, false, false),
            ("http", None, false, true),
            ("https", Some("other.example"), true, false),
        ] {
            let found = leads_nowhere(&redirect(scheme, host), tls).is_some();
            assert_eq!(found, nowhere, "{scheme} {host:?} {tls}");
        }
    }
}
