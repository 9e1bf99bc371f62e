//! Who may ask. With a token configured: whoever presents it. Without one the API listens on this
//! machine only, and what is left to fear is a web page in a browser on this machine, which can
//! send requests to any address (CSRF) and point a name of its own at it (DNS rebinding). Such
//! requests are known by their `Origin`, `Sec-Fetch-Site` or `Host`.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode};

use crate::admin::problem::Problem;
use crate::admin::resources::{READ_BY_POST, Role};
use crate::base::addr::ListenAddr;
use crate::base::secret::Secret;

/// Decides who may ask.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    token: Option<Secret>,
    /// Its bearer may look, and change nothing.
    read_token: Option<Secret>,
    /// Browsers do not reach unix sockets.
    browsers: bool,
}

impl Guard {
    pub(super) fn new(
        token: Option<Secret>,
        read_token: Option<Secret>,
        listen: &ListenAddr,
    ) -> Self {
        Self {
            token,
            read_token,
            browsers: matches!(listen, ListenAddr::Tcp(_)),
        }
    }

    /// # Errors
    /// The answer to a request that may not pass.
    pub(super) fn check(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        match &self.token {
            // Orchestrators probe without credentials, and learn one bit.
            Some(_) if matches!(path, "/livez" | "/readyz") => Ok(()),
            Some(token) => self.bearer(token, role_for(method, path), headers),
            None if self.browsers => local(headers),
            None => Ok(()),
        }
    }

    fn bearer(&self, token: &Secret, role: Role, headers: &HeaderMap) -> Result<(), Problem> {
        if presents(token, headers) {
            return Ok(());
        }
        let reads = |token: &Secret| presents(token, headers);
        match (self.read_token.as_ref().is_some_and(reads), role) {
            (true, Role::Read) => Ok(()),
            (true, Role::Operate) => {
                let detail = "this token may look at everything and change nothing";
                Err(Problem::new(StatusCode::FORBIDDEN, detail))
            }
            (false, _) => {
                let detail = "send the admin token as `Authorization: Bearer …`";
                Err(Problem::new(StatusCode::UNAUTHORIZED, detail))
            }
        }
    }
}

/// What a request asks for: to look changes nothing and is asked with GET or HEAD; what else only
/// looks says so in `resources`.
fn role_for(method: &Method, path: &str) -> Role {
    let looks = matches!(*method, Method::GET | Method::HEAD);
    let looks = looks
        || READ_BY_POST
            .iter()
            .any(|known| *known == path && method == Method::POST);
    if looks { Role::Read } else { Role::Operate }
}

/// Whether this is what stands behind `Bearer` (RFC 6750, section 2.1).
fn presents(token: &Secret, headers: &HeaderMap) -> bool {
    let given = headers
        .get(AUTHORIZATION)
        .map(|value| value.as_bytes())
        .unwrap_or_default();
    given
        .split_at_checked("Bearer ".len())
        .is_some_and(|(scheme, given)| {
            scheme.eq_ignore_ascii_case(b"Bearer ") && token.matches(given.trim_ascii())
        })
}

fn local(headers: &HeaderMap) -> Result<(), Problem> {
    let refused = |detail: &str| Err(Problem::new(StatusCode::FORBIDDEN, detail));
    let host = headers
        .get(HOST)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if !is_local(host) {
        return refused(
            "`Host` is a name; without a token the admin API answers to addresses and `localhost`",
        );
    }
    // A page has to come from this API itself: same host, same port.
    let foreign = headers.get_all(ORIGIN).iter().any(|origin| {
        let origin = origin.as_bytes();
        let origin = origin.strip_prefix(b"http://");
        !origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host.as_bytes()))
    });
    let site = headers.get("sec-fetch-site").map(|value| value.as_bytes());
    if foreign || matches!(site, Some(b"cross-site" | b"same-site")) {
        return refused("web pages of other origins may not use the admin API");
    }
    Ok(())
}

/// Whether a `Host` is an address or `localhost`: a name could be anybody's, and point here.
fn is_local(host: &str) -> bool {
    if host.parse::<SocketAddr>().is_ok() || host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if bare.is_some_and(|bare| bare.parse::<IpAddr>().is_ok()) {
        return true;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(guard: &Guard, path: &str, headers: &[(&str, &str)]) -> u16 {
        use axum::response::IntoResponse as _;

        let headers = headers.iter().map(|(name, value)| {
            (
                name.parse().expect("a name"),
                value.parse().expect("a value"),
            )
        });
        match guard.check(&Method::GET, path, &headers.collect::<HeaderMap>()) {
            Ok(()) => 200,
            Err(problem) => problem.into_response().status().as_u16(),
        }
    }

    fn tcp() -> ListenAddr {
        "127.0.0.1:9900".parse().expect("an address")
    }

    #[test]
    fn i11_only_the_token_opens_and_only_probes_go_without() {
        let guard = Guard::new(Some(Secret::new("s3cret")), None, &tcp());
        let check = |path: &str, value: Option<&str>, expected: u16| {
            let headers: Vec<_> = value
                .map(|value| ("authorization", value))
                .into_iter()
                .collect();
            assert_eq!(status(&guard, path, &headers), expected, "{path} {value:?}");
        };
        check("/v1/status", None, 401);
        check("/v1/status", Some("Bearer s3cret"), 200);
        check("/v1/status", Some("bearer  s3cret "), 200);
        check("/v1/status", Some("Bearer s3cre"), 401);
        check("/v1/status", Some("Bearer s3crets"), 401);
        check("/v1/status", Some("Bearer "), 401);
        check("/v1/status", Some("Basic s3cret"), 401);
        check("/v1/status", Some("s3cret"), 401);
        check("/livez", None, 200);
        check("/readyz", None, 200);
        check("/metrics", None, 401);
        check("/livez/../v1/status", None, 401);
    }

    #[test]
    fn who_may_look_changes_nothing() {
        let tokens = ["operate", "look"].map(|text| Some(Secret::new(text)));
        let [token, read_token] = tokens;
        let guard = Guard::new(token, read_token, &tcp());
        let check = |method: Method, path: &str, token: &str, expected: bool| {
            let value = format!("Bearer {token}").parse().expect("a value");
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
            let passed = guard.check(&method, path, &headers).is_ok();
            assert_eq!(passed, expected, "{method} {path} {token}");
        };
        for resource in crate::admin::resources::resources() {
            let path = resource.path.replace(['{', '}'], "");
            let looks = resource.role() == Role::Read;
            check(resource.method.clone(), &path, "look", looks);
            check(resource.method.clone(), &path, "operate", true);
            check(
                resource.method.clone(),
                &path,
                "neither",
                matches!(&*path, "/livez" | "/readyz"),
            );
            assert_eq!(
                looks,
                role_for(&resource.method, &path) == Role::Read,
                "{path}"
            );
        }
        check(Method::POST, "/v1/reload", "look", false);
        check(Method::DELETE, "/v1/sessions/1", "look", false);
        check(Method::POST, "/v1/resolve", "look", true);
        check(Method::HEAD, "/v1/sessions", "look", true);
    }

    #[test]
    fn web_pages_are_kept_out() {
        let guard = Guard::new(None, None, &tcp());
        let check = |headers: &[(&str, &str)], expected: u16| {
            assert_eq!(
                status(&guard, "/v1/sessions", headers),
                expected,
                "{headers:?}"
            );
        };
        for host in [
            "127.0.0.1:9900",
            "127.0.0.1",
            "localhost:9900",
            "LOCALHOST",
            "[::1]:9900",
            "[::1]",
        ] {
            check(&[("host", host)], 200);
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9900",
            "localhost.evil.example",
            "127.0.0.1.evil.example:9900",
            "localhost:",
        ] {
            check(&[("host", host)], 403);
        }
        let host = ("host", "127.0.0.1:9900");
        check(&[host, ("origin", "http://127.0.0.1:9900")], 200);
        for origin in [
            "http://evil.example",
            "https://127.0.0.1:9900",
            "http://127.0.0.1:3000",
            "null",
            "",
        ] {
            check(&[host, ("origin", origin)], 403);
        }
        check(&[host, ("sec-fetch-site", "cross-site")], 403);
        check(&[host, ("sec-fetch-site", "same-origin")], 200);
        check(&[host, ("sec-fetch-site", "none")], 200);
    }

    #[test]
    fn browsers_do_not_reach_unix_sockets() {
        let guard = Guard::new(
            None,
            None,
            &"unix:/run/admin.sock".parse().expect("an address"),
        );
        assert_eq!(status(&guard, "/v1/status", &[("host", "anything")]), 200);
    }
}
