//! The request target that a backend sees, and where a redirect sends a client. Headers are edited
//! elsewhere.

use std::borrow::Cow;
use std::collections::HashMap;

use http::HeaderValue;

use crate::base::host::without_port;
use crate::base::path::strip_prefix;
use crate::config::pattern::PathTemplate;
use crate::config::snapshot::{Redirect, Rewrite};
use crate::core::routing::request::{Parameters, Request};

/// Path and query for the backend; `None` if they are the client's own. The query stays as it is.
pub fn target(
    rewrite: &Rewrite,
    request: &Request<'_>,
    parameters: &Parameters<'_, '_>,
) -> Option<String> {
    let path = match (&rewrite.path, &rewrite.strip_prefix) {
        (Some(template), _) => Cow::Owned(fill(template, parameters)),
        (None, Some(prefix)) => Cow::Borrowed(strip_prefix(prefix, request.path)?),
        (None, None) => return None,
    };
    Some(with_query(&path, request.query))
}

/// `Location` of a redirect: always a whole URL, with the request's query. `tls` is whether the
/// client uses TLS. The port of the request is kept only with its scheme. `None` if the request
/// names no proper host and the redirect none either; that is a bad request (RFC 9112 section 3.2).
pub fn location(
    redirect: &Redirect,
    request: &Request<'_>,
    tls: bool,
    parameters: &Parameters<'_, '_>,
) -> Option<HeaderValue> {
    let scheme = match (&redirect.scheme, tls) {
        (Some(scheme), _) => scheme.as_str(),
        (None, true) => "https",
        (None, false) => "http",
    };
    let host = match &redirect.host {
        Some(host) => host.as_str(),
        None if matches!(scheme, "https" | "wss") == tls => request.host,
        None => without_port(request.host),
    };
    let path = match &redirect.path {
        Some(template) => Cow::Owned(fill(template, parameters)),
        None => Cow::Borrowed(request.path),
    };
    if host.is_empty() {
        return None;
    }
    let target = with_query(&path, request.query);
    HeaderValue::try_from(format!("{scheme}://{host}{target}")).ok()
}

fn fill(template: &PathTemplate, parameters: &Parameters<'_, '_>) -> String {
    template.fill(&parameters.iter().collect::<HashMap<_, _>>())
}

fn with_query(path: &str, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;

    fn request<'r>(host: &'r str, target: &'r str, headers: &'r HeaderMap) -> Request<'r> {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        Request {
            method: &Method::GET,
            host,
            path,
            query,
            headers,
            websocket: false,
            tls: false,
        }
    }

    #[test]
    fn the_backend_sees_the_rewritten_path_and_the_same_query() {
        let check = |strip: Option<&str>, path: Option<&str>, seen: &str, expected| {
            let rewrite = Rewrite {
                strip_prefix: strip.map(str::to_owned),
                path: path.map(|path| path.parse().expect("a template")),
                host: None,
            };
            let parameters = [("room", "7"), ("rest", "a/b%20c")].into_iter().collect();
            let headers = HeaderMap::new();
            let target = target(&rewrite, &request("a", seen, &headers), &parameters);
            assert_eq!(target.as_deref(), expected, "{strip:?} {path:?} {seen}");
        };
        check(None, None, "/x?y", None);
        check(Some("/api"), None, "/api/v1/x?y=1", Some("/v1/x?y=1"));
        check(Some("/api/"), None, "/api/v1", Some("/v1"));
        check(Some("/api"), None, "/api", Some("/"));
        check(Some("/api"), None, "/api/", Some("/"));
        check(Some("/api"), None, "/api?", Some("/?"));
        check(Some("/api"), None, "/apis", None);
        check(Some("/api"), None, "/v1/api", None);
        check(Some("/"), None, "/x", Some("/x"));
        check(
            None,
            Some("/rooms/{room}"),
            "/ws/7?k=v",
            Some("/rooms/7?k=v"),
        );
        check(None, Some("/n/{*rest}"), "/o/a/b%20c", Some("/n/a/b%20c"));
        check(None, Some("/n/{gone}/x"), "/o", Some("/n//x"));
    }

    #[test]
    fn a_redirect_is_a_whole_url() {
        let check = |parts: [Option<&str>; 3], tls: bool, seen: (&str, &str), expected| {
            let [scheme, host, path] = parts;
            let redirect = Redirect {
                scheme: scheme.map(str::to_owned),
                host: host.map(str::to_owned),
                path: path.map(|path| path.parse().expect("a template")),
                status: 308,
            };
            let parameters = [("rest", "/evil.example")].into_iter().collect();
            let headers = HeaderMap::new();
            let found = location(
                &redirect,
                &request(seen.0, seen.1, &headers),
                tls,
                &parameters,
            );
            let found = found.as_ref().map(|value| value.to_str().expect("ASCII"));
            assert_eq!(found, expected, "{redirect:?} {seen:?}");
        };
        let https = [Some("https"), None, None];
        check(https, false, ("a.b", "/x?y=1"), Some("https://a.b/x?y=1"));
        check(https, false, ("a.b:8080", "/"), Some("https://a.b/"));
        check(https, false, ("[::1]:8080", "/"), Some("https://[::1]/"));
        check(https, true, ("a.b:8443", "/"), Some("https://a.b:8443/"));
        check(
            [Some("ws"), None, None],
            false,
            ("a:81", "/"),
            Some("ws://a:81/"),
        );
        check([None; 3], false, ("a:81", "/x"), Some("http://a:81/x"));
        let new = [None, Some("new.b:444"), Some("/v2/{*rest}")];
        check(
            new,
            true,
            ("a.b", "/"),
            Some("https://new.b:444/v2//evil.example"),
        );
        check(
            new,
            true,
            ("", "/"),
            Some("https://new.b:444/v2//evil.example"),
        );
        let rest = [None, None, Some("/{*rest}")];
        check(
            rest,
            true,
            ("a.b", "/?q"),
            Some("https://a.b//evil.example?q"),
        );
        check(https, false, ("", "/x"), None);
    }
}
