//! Checks of a route before authentication: address and origin.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;

use crate::base::addr::network;
use crate::config::limits::{AddressRules, Flow, Quotas};
use crate::config::model::{self, AuthenticatorType, NetworksFile, TextOr};
use crate::config::origin::{OriginPattern, OriginRule};
use crate::config::validate::environment::FileContent;
use crate::config::validate::scope::Scope;

/// No check.
const ANY: &str = "*";
const BURST_MAX: Duration = Duration::from_secs(60 * 60);

/// `origins` of a route.
pub(super) fn origins(
    at: &Scope<'_>,
    model: &model::Route,
    authenticators: &BTreeMap<String, model::Authenticator>,
) -> Option<OriginRule> {
    let at = at.key("origins");
    let allowed = allowed(&at, &model.origins, &model.authenticate, authenticators)?;
    Some(OriginRule {
        allowed,
        required: model.origin_required,
    })
}

/// Pages that a list of origins allows; `Some(None)`: all. Where the list is empty it depends on
/// the credentials of the authenticators that are asked.
pub(super) fn allowed(
    at: &Scope<'_>,
    origins: &[String],
    asked: &[String],
    authenticators: &BTreeMap<String, model::Authenticator>,
) -> Option<Option<Vec<OriginPattern>>> {
    if origins.is_empty() {
        let mut known = asked.iter();
        let ambient = known.any(|name| authenticators.get(name).is_some_and(is_ambient));
        return Some(ambient.then(|| vec![OriginPattern::Same]));
    }
    if origins.iter().any(|text| text == ANY) {
        if origins.len() > 1 {
            at.fault_with(
                "`*` allows every origin, so the others mean nothing",
                "take `*` out, or the others",
            );
            return None;
        }
        return Some(None);
    }
    at.each(origins, |at, text| at.parse(text)).map(Some)
}

/// Whether a browser sends this credential by itself, for requests of any page.
fn is_ambient(model: &model::Authenticator) -> bool {
    let from = model.from.iter().flatten();
    let kind = model.kind;
    from.into_iter().any(|source| source.starts_with("cookie:"))
        || matches!(
            kind,
            Some(AuthenticatorType::Basic | AuthenticatorType::Mtls | AuthenticatorType::Forward)
        )
}

/// `allow` and `deny`.
pub(super) fn addresses(
    at: &Scope<'_>,
    allow: &[TextOr<NetworksFile>],
    deny: &[TextOr<NetworksFile>],
) -> Option<AddressRules> {
    let networks = |key: &str, entries: &[TextOr<NetworksFile>]| {
        let lists = at.key(key).each(entries, |at, entry| match entry {
            TextOr::Text(text) => network(text)
                .map(|network| vec![network])
                .map_err(|fault| at.fault(fault.to_string()))
                .ok(),
            TextOr::Table(table) => networks_file(at, table),
        });
        lists.map(|lists| lists.concat())
    };
    let (allow, deny) = (networks("allow", allow), networks("deny", deny));
    Some(AddressRules::new(allow?, deny?))
}

/// Reads a list. Reports its first bad line by number alone: what a named file holds is never shown
/// (I11), since it may be anything.
pub(super) fn networks_file(at: &Scope<'_>, table: &NetworksFile) -> Option<Vec<IpNet>> {
    let path = at.resolve(at.required("file", &table.file, "file = \"blocked.txt\"")?);
    let at = at.key("file");
    let text = at.outside().text(&path, FileContent::List);
    let text = text
        .map_err(|why| at.fault(format!("cannot read {}: {why}", path.display())))
        .ok()?;
    let mut found = Vec::new();
    for (place, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let Ok(network) = network(line) else {
            at.fault_with(
                format!("{}:{} is not a network", path.display(), place + 1),
                "write `10.0.0.0/8`, `fd00::/8` or a single address on each line",
            );
            return None;
        };
        found.push(network);
    }
    Some(found)
}

/// `limits` on sessions, handshakes and messages.
pub(super) fn quotas(at: &Scope<'_>, limits: &model::RouteLimits) -> Option<Quotas> {
    Some(Quotas {
        sessions_max: limits.sessions_max,
        sessions_per_address: limits.sessions_per_address,
        sessions_per_principal: limits.sessions_per_principal,
        handshakes_per_address: limits.handshakes_per_address,
        handshakes_per_principal: limits.handshakes_per_principal,
        session: Flow {
            messages: limits.messages_per_second,
            bytes: limits.bytes_per_second.0,
        },
        principal: Flow {
            messages: limits.principal_messages_per_second,
            bytes: limits.principal_bytes_per_second.0,
        },
        burst: at.key("burst").time(limits.burst, BURST_MAX)?,
        over: limits.over,
    })
}
