//! Values that several sections have: addresses, secrets, files, URLs, paths of the gateway,
//! names of authenticators, conditions on claims.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use http::Uri;

use crate::base::addr::ListenAddr;
use crate::base::names::AuthenticatorName;
use crate::base::secret::{Secret, without_secrets};
use crate::config::expression::{Expression, Operand};
use crate::config::model::{self, AuthenticatorType, SecretSource};
use crate::config::validate::environment::FileContent;
use crate::config::validate::paths;
use crate::config::validate::scope::{Scope, all};

/// An address to listen on; a unix socket's path may be relative to the configuration's directory.
pub(super) fn listen_address(at: &Scope<'_>, text: &str) -> Option<ListenAddr> {
    Some(match at.parse(text)? {
        ListenAddr::Unix(path) => ListenAddr::Unix(at.resolve(path)),
        tcp @ ListenAddr::Tcp(_) => tcp,
    })
}

/// Permissions of a unix socket's file, in octal as chmod(1) reads them.
pub(super) fn socket_mode(at: &Scope<'_>, text: &str) -> Option<u32> {
    let octal =
        matches!(text.len(), 3 | 4) && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if octal && mode <= 0o777 && mode & 0o600 == 0o600 => Some(mode),
        _ => {
            let message = format!("`{text}` is not a mode that a socket can have");
            at.fault_with(
                message,
                "use \"0600\" (only the gateway's user connects), \"0660\" (its group too) or \
                 \"0666\" (every user)",
            );
            None
        }
    }
}

/// A secret that is presented in a header.
pub(super) fn secret(at: &Scope<'_>, source: &SecretSource) -> Option<Secret> {
    let secret = secret_text(at, source)?;
    let text = secret.reveal();
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        at.fault("this secret is empty, or holds what cannot stand in a header");
        return None;
    }
    Some(secret)
}

/// Fetches a secret. No message here holds any of its text.
pub(super) fn secret_text(at: &Scope<'_>, source: &SecretSource) -> Option<Secret> {
    let text = match source {
        SecretSource::Literal(secret) => secret.reveal().to_owned(),
        SecretSource::File(path) => {
            let path = at.resolve(path);
            match at.outside().text(&path, FileContent::Secret) {
                Ok(text) => text.trim().to_owned(),
                Err(why) => {
                    at.key("file")
                        .fault(format!("cannot read {}: {why}", path.display()));
                    return None;
                }
            }
        }
        SecretSource::Variable(name) => {
            let text = at.outside().variable(name);
            text.map_err(|why| at.key("env").fault(why)).ok()?
        }
    };
    if text.is_empty() {
        at.fault("this secret is empty, or holds what cannot stand in a header");
        return None;
    }
    Some(Secret::new(text))
}

/// The end of a token, the key `expires` in its table; `None` inside if it has none.
pub(super) fn expires(at: &Scope<'_>, text: &Option<String>) -> Option<Option<SystemTime>> {
    let Some(text) = text else {
        return Some(None);
    };
    let at = at.key("expires");
    let Ok(end) = humantime::parse_rfc3339_weak(text) else {
        at.fault_with(
            format!("`{text}` is no time"),
            "write it like `2027-01-31T12:00:00Z`",
        );
        return None;
    };
    if end <= at.outside().now() {
        at.warn("this token has expired: it is refused");
    }
    Some(Some(end))
}

/// The text of a file beside the configuration.
pub(super) fn file_text(at: &Scope<'_>, file: &str) -> Option<String> {
    let path = at.resolve(file);
    match at.outside().text(&path, FileContent::List) {
        Ok(text) => Some(text),
        Err(why) => {
            at.fault(format!("cannot read {}: {why}", path.display()));
            None
        }
    }
}

/// A URL as a message shows it.
pub(super) fn text_without_secrets(text: &str) -> Cow<'_, str> {
    without_secrets(text).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// A URL that the gateway itself requests.
pub(super) fn url(at: &Scope<'_>, text: &str, plain: bool) -> Option<String> {
    let uri = text.parse::<Uri>().ok();
    let host = uri
        .as_ref()
        .and_then(Uri::host)
        .filter(|host| !host.is_empty());
    let known = text.starts_with("https://") || text.starts_with("http://");
    let Some(host) = host.filter(|_| known && !text.contains('@')) else {
        at.fault_with(
            format!("`{}` is not a URL", text_without_secrets(text)),
            "write `https://id.example.com/.well-known/jwks.json`",
        );
        return None;
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let here = bare == "localhost" || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if text.starts_with("http://") && !here && !plain {
        at.fault_with(
            "without TLS, anyone on the network path could answer in place of this URL",
            "use `https://`, or set `plain_http = true` if the network is trusted",
        );
        return None;
    }
    Some(text.to_owned())
}

/// A path at which the gateway itself answers.
pub(super) fn own_path(at: &Scope<'_>, path: Option<&str>) -> Option<Option<String>> {
    let Some(path) = path else {
        return Some(None);
    };
    let own = paths::own(path);
    if own.is_none() {
        at.fault_with(format!("`{path}` is not a path"), "write `/session/renew`");
    }
    own.map(Some)
}

/// Names of authenticators, which exist.
pub(super) fn chain(
    at: &Scope<'_>,
    key: &str,
    names: &[String],
    known: &BTreeMap<String, model::Authenticator>,
) -> Option<Vec<AuthenticatorName>> {
    let last = names.len().saturating_sub(1);
    let mut place = 0..;
    at.key(key).each(names, |at, name| {
        let is_last = place.next() == Some(last);
        let explained = at.top("authenticators", name).is_explained();
        let Some(model) = known.get(name) else {
            if !explained {
                let names = known.keys().map(String::as_str);
                at.fault_near(format!("unknown authenticator `{name}`"), name, names);
            }
            return None;
        };
        if model.kind == Some(AuthenticatorType::Anonymous) && !is_last {
            at.warn("it takes everybody, so what follows is never asked");
        }
        Some(AuthenticatorName::from(name.as_str()))
    })
}

/// Conditions; `check` validates their operands.
pub(super) fn expressions(
    at: &Scope<'_>,
    texts: &[String],
    check: impl Fn(&Scope<'_>, &Operand) -> Option<()>,
) -> Option<Vec<Expression>> {
    at.each(texts, |at, text| {
        let expression = at.parse::<Expression>(text)?;
        let checked = expression.operands().map(|operand| check(at, operand));
        all(checked.collect())?;
        Some(expression)
    })
}
