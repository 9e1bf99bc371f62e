//! Access control of the admin API. With a token configured, a client needs that token; with a
//! client CA, a verified certificate. With neither, the API listens on this machine only. The
//! remaining threat is a web page in a local browser, which can send requests to any address (CSRF)
//! and point a name of its own at it (DNS rebinding). Such requests are recognised by `Origin`,
//! `Sec-Fetch-Site` or `Host`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode};

use crate::admin::problem::Problem;
use crate::admin::role::{Role, role_of};
use crate::admin::ui;
use crate::base::addr::ListenAddr;
use crate::base::clock;
use crate::config::snapshot::{Admin, Token};

/// Decides which requests pass.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    token: Option<Token>,
    /// Grants role `Read`.
    read_token: Option<Token>,
    /// Whether browsers can reach the API; they cannot reach unix sockets.
    browsers: bool,
    /// The scheme, with `://`, of pages of this API.
    scheme: &'static str,
    /// Whether client certificates are requested.
    certificates: bool,
    /// Certificate subjects with role `Operate`; empty means all.
    operators: Vec<String>,
}

/// The client certificate that the TLS handshake has verified.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) subject: Arc<str>,
    /// When the certificate expires; a kept or resumed connection may outlive it.
    pub(super) expires: Option<SystemTime>,
}

impl Guard {
    pub(super) fn new(admin: &Admin) -> Self {
        let tls = admin.tls.as_ref();
        Self {
            token: admin.token.clone(),
            read_token: admin.read_token.clone(),
            browsers: matches!(admin.listen, ListenAddr::Tcp(_)),
            scheme: if tls.is_some() { "https://" } else { "http://" },
            certificates: tls.is_some_and(|tls| tls.clients.is_some()),
            operators: admin.operators.clone(),
        }
    }

    /// The client's role. `holder` is the certificate of the connection's client.
    ///
    /// # Errors
    /// The answer to a request that is refused.
    pub(super) fn check(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        holder: Option<&Holder>,
    ) -> Result<Role, Problem> {
        direct(headers)?;
        let guarded = self.token.is_some() || self.certificates;
        let role = role_of(method, path);
        if guarded && is_open(method, path) {
            return Ok(Role::Read);
        }
        self.in_time(headers)?;
        match (holder, &self.token) {
            (_, Some(token)) if presents(token, headers) => Ok(Role::Operate),
            (Some(_), _) if ui::is_opened(method, path, headers) => Ok(Role::Read),
            (Some(holder), _) => self.certified(holder, role, headers),
            (None, Some(_)) => self.bearer(role, headers),
            (None, None) if self.certificates => {
                let detail = "show a client certificate of the admin API's authority";
                Err(Problem::new(StatusCode::UNAUTHORIZED, detail))
            }
            (None, None) if self.browsers => {
                let host = local(headers)?;
                if !ui::is_opened(method, path, headers) {
                    own_page(self.scheme, host, headers)?;
                }
                Ok(Role::Operate)
            }
            (None, None) => Ok(Role::Operate),
        }
    }

    /// The client's name in records.
    pub(super) fn name(&self, headers: &HeaderMap, holder: Option<&Holder>) -> Arc<str> {
        let has = |token: &Option<Token>| token.as_ref().is_some_and(|one| presents(one, headers));
        match holder {
            _ if has(&self.token) => "token".into(),
            Some(holder) => Arc::clone(&holder.subject),
            None if has(&self.read_token) => "read_token".into(),
            None => "local".into(),
        }
    }

    /// When what the client has shown ends.
    pub(super) fn end(&self, headers: &HeaderMap, holder: Option<&Holder>) -> Option<SystemTime> {
        let tokens = [&self.token, &self.read_token].into_iter().flatten();
        let mut tokens = tokens.filter(|token| presents(token, headers));
        match tokens.next() {
            Some(token) => token.expires,
            None => holder.and_then(|holder| holder.expires),
        }
    }

    /// Refuses a token that has ended.
    fn in_time(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let named = [("token", &self.token), ("read_token", &self.read_token)];
        for (name, token) in named {
            let shown = token.as_ref().filter(|token| presents(token, headers));
            let end = shown.and_then(|token| token.expires);
            if let Some(end) = end.filter(|end| clock::wall() >= *end) {
                let end = clock::rfc3339(end);
                let detail = format!(
                    "this is the admin API's `{name}`, and it expired at {end}; a new one in [admin] \
                     is in force after a restart"
                );
                return Err(Problem::new(StatusCode::UNAUTHORIZED, detail));
            }
        }
        Ok(())
    }

    fn certified(&self, holder: &Holder, role: Role, headers: &HeaderMap) -> Result<Role, Problem> {
        // Browsers present certificates for any page that asks. The host needs no check: the
        // handshake has verified that it is a name of this gateway.
        let host = headers.get(HOST).and_then(|value| value.to_str().ok());
        own_page(self.scheme, host.unwrap_or_default(), headers)?;
        if holder
            .expires
            .is_some_and(|expires| clock::wall() >= expires)
        {
            let detail = "your certificate has expired";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, detail));
        }
        let who = &holder.subject;
        let named = self.operators.iter().any(|one| **one == **who);
        if self.operators.is_empty() || named {
            return Ok(Role::Operate);
        }
        if role == Role::Read {
            return Ok(Role::Read);
        }
        let detail = format!("the certificate of {who} may look at everything and change nothing");
        Err(Problem::new(StatusCode::FORBIDDEN, detail))
    }

    fn bearer(&self, role: Role, headers: &HeaderMap) -> Result<Role, Problem> {
        let reads = |token: &Token| presents(token, headers);
        match (self.read_token.as_ref().is_some_and(reads), role) {
            (true, Role::Read) => Ok(Role::Read),
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

/// Refuses forwarded requests. Without a token, being on this machine is the client's credential,
/// and a proxy on this machine would lend it to strangers. The gateway itself adds two of these
/// fields to everything that it forwards.
fn direct(headers: &HeaderMap) -> Result<(), Problem> {
    // Some servers read `X_Forwarded_For` as `X-Forwarded-For`.
    let marked = headers.keys().find(|name| {
        let name = name.as_str().replace('_', "-");
        matches!(&*name, "forwarded" | "via")
            || name.starts_with("x-forwarded-")
            || name.starts_with("sessile-")
    });
    match marked {
        None => Ok(()),
        Some(name) => {
            let detail = format!("`{name}`: the admin API takes no requests from proxies");
            Err(Problem::new(StatusCode::FORBIDDEN, detail))
        }
    }
}

/// Whether the request carries this token after `Bearer` (RFC 6750, section 2.1).
fn presents(token: &Token, headers: &HeaderMap) -> bool {
    let given = headers
        .get(AUTHORIZATION)
        .map(|value| value.as_bytes())
        .unwrap_or_default();
    given
        .split_at_checked("Bearer ".len())
        .is_some_and(|(scheme, given)| {
            scheme.eq_ignore_ascii_case(b"Bearer ") && token.secret.matches(given.trim_ascii())
        })
}

/// The `Host` of a request to this machine.
fn local(headers: &HeaderMap) -> Result<&str, Problem> {
    let host = headers.get(HOST).and_then(|value| value.to_str().ok());
    let host = host.unwrap_or_default();
    if !is_local(host) {
        let detail = "`Host` is a name; without a token the admin API answers to addresses and \
                      `localhost`";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    Ok(host)
}

/// Whether a request needs no credentials: orchestrators probe without any, and the answer reveals
/// one bit; the files of the dashboard are the same for everyone.
pub(super) fn is_open(method: &Method, path: &str) -> bool {
    matches!(path, "/livez" | "/readyz") || ui::is_open(method, path)
}

/// Refuses pages that do not come from this API: scheme, host and port must be equal.
fn own_page(scheme: &str, host: &str, headers: &HeaderMap) -> Result<(), Problem> {
    let foreign = headers.get_all(ORIGIN).iter().any(|origin| {
        let origin = origin.as_bytes();
        let origin = origin.strip_prefix(scheme.as_bytes());
        !origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host.as_bytes()))
    });
    let site = headers.get("sec-fetch-site").map(|value| value.as_bytes());
    if foreign || matches!(site, Some(b"cross-site" | b"same-site")) {
        let detail = "web pages of other origins may not use the admin API";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    Ok(())
}

/// Whether a `Host` is an address or `localhost`. Any other name could be a stranger's that
/// resolves to this machine.
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
mod tests;
