//! What a route does to a request: redirect, rewrite, header changes.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

use crate::base::header_name::{alike, begins_alike};
use crate::config::diagnostic::suggestion;
use crate::config::model;
use crate::config::pattern::{PathPattern, PathTemplate};
use crate::config::snapshot::{HeaderEdits, Redirect, Rewrite};
use crate::config::validate::paths;
use crate::config::validate::scope::{Scope, all};
use crate::config::validate::syntax::is_host;

const SCHEMES: [&str; 4] = ["https", "http", "wss", "ws"];
const REDIRECT_STATUS: [u16; 5] = [301, 302, 303, 307, 308];

/// Headers that are the gateway's own business on either side: hop by hop (RFC 9110, section
/// 7.6.1), framing, the handshake.
const OWN_HEADERS: [&str; 12] = [
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const OWN_PREFIXES: [&str; 2] = ["sec-websocket-", "sessile-"];

pub(super) fn redirect(
    at: &Scope<'_>,
    model: &model::Redirect,
    path: Option<&PathPattern>,
) -> Option<Redirect> {
    let mut fits = true;
    if model.scheme.is_none() && model.host.is_none() && model.path.is_none() {
        at.fault_with(
            "this redirect leads where the request came from",
            "give it `scheme`, `host` or `path`",
        );
        fits = false;
    }
    if let Some(scheme) = model
        .scheme
        .as_deref()
        .filter(|scheme| !SCHEMES.contains(scheme))
    {
        at.key("scheme").fault_maybe(
            format!("unknown scheme `{scheme}`"),
            suggestion(scheme, SCHEMES),
        );
        fits = false;
    }
    if !REDIRECT_STATUS.contains(&model.status) {
        at.key("status").fault_with(
            format!("{} is not the status of a redirect", model.status),
            "use 301, 302, 303, 307 or 308",
        );
        fits = false;
    }
    let host = host(&at.key("host"), model.host.as_deref());
    let template = template(&at.key("path"), model.path.as_deref(), path);
    let (host, template) = (host?, template?);
    fits.then(|| Redirect {
        scheme: model.scheme.clone(),
        host,
        path: template,
        status: model.status,
    })
}

pub(super) fn rewrite(
    at: &Scope<'_>,
    model: &model::Rewrite,
    path: Option<&PathPattern>,
) -> Option<Rewrite> {
    let mut fits = true;
    if model.strip_prefix.is_some() && model.path.is_some() {
        at.key("strip_prefix").fault_key(
            "a rewrite has either `strip_prefix` or `path`",
            Some("take one of them out".to_owned()),
        );
        fits = false;
    }
    let mut strip_prefix = None;
    if let Some(prefix) = &model.strip_prefix {
        strip_prefix = paths::own(prefix);
        if strip_prefix.is_none() {
            at.key("strip_prefix").fault_with(
                format!("`{prefix}` is not the beginning of a path"),
                "write `/ws`, without parameters",
            );
            fits = false;
        }
    }
    let template = template(&at.key("path"), model.path.as_deref(), path);
    let host = host(&at.key("host"), model.host.as_deref());
    let (path, host) = (template?, host?);
    fits.then_some(Rewrite {
        strip_prefix,
        path,
        host,
    })
}

fn host(at: &Scope<'_>, host: Option<&str>) -> Option<Option<String>> {
    match host {
        Some(host) if !is_host(host) => {
            at.fault(format!(
                "`{host}` is not a host; write `example.com` or `example.com:8443`"
            ));
            None
        }
        host => Some(host.map(str::to_owned)),
    }
}

/// A template; the route's path must have its parameters.
fn template(
    at: &Scope<'_>,
    text: Option<&str>,
    path: Option<&PathPattern>,
) -> Option<Option<PathTemplate>> {
    let Some(text) = text else {
        return Some(None);
    };
    let template: PathTemplate = at.parse(text)?;
    if let Some(path) = path {
        let known = template
            .parameters()
            .map(|name| knows_parameter(at, path, name));
        all(known.collect())?;
    }
    Some(Some(template))
}

/// Whether `path` has the parameter `name`; reports it if not.
pub(super) fn knows_parameter(at: &Scope<'_>, path: &PathPattern, name: &str) -> Option<()> {
    if path.parameters().any(|known| known == name) {
        return Some(());
    }
    let help = suggestion(name, path.parameters())
        .unwrap_or_else(|| format!("write a path such as `/ws/{{{name}}}`"));
    at.fault_with(
        format!("the route's path `{path}` has no parameter `{name}`"),
        help,
    );
    None
}

pub(super) fn headers(at: &Scope<'_>, model: &model::HeaderEdits) -> Option<HeaderEdits> {
    let remove = at
        .key("remove")
        .each(&model.remove, |at, name| free_header(at, name));
    let set = valued(&at.key("set"), &model.set);
    let add = valued(&at.key("add"), &model.add);
    Some(HeaderEdits {
        remove: remove?,
        set: set?,
        add: add?,
    })
}

fn valued(
    at: &Scope<'_>,
    model: &BTreeMap<String, String>,
) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let pair = |(name, value): (&String, &String)| {
        let at = at.key(name);
        let name = free_header(&at, name);
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| at.fault("this text cannot stand in a header"))
            .ok()?;
        // Any of them may be a secret, as `config::model::masked` has it.
        value.set_sensitive(true);
        Some((name?, value))
    };
    all(model.iter().map(pair).collect())
}

/// The name of a header.
pub(super) fn header_name(at: &Scope<'_>, text: &str) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(text.as_bytes()).ok();
    if name.is_none() {
        at.fault_key(format!("`{text}` is not a header's name"), None);
    }
    name
}

/// The name of a header that an operator may change.
pub(super) fn free_header(at: &Scope<'_>, text: &str) -> Option<HeaderName> {
    let name = header_name(at, text)?;
    let is = |known: &&str| alike(known, name.as_str());
    let owned = OWN_HEADERS.iter().any(is)
        || OWN_PREFIXES
            .iter()
            .any(|prefix| begins_alike(name.as_str(), prefix));
    if owned {
        let help = match name.as_str() {
            "host" => Some("write `rewrite = { host = \"…\" }`".to_owned()),
            _ => None,
        };
        at.fault_key(
            format!("`{name}` is the gateway's own and cannot be changed"),
            help,
        );
        return None;
    }
    Some(name)
}
