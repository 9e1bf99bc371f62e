//! What documents of a source may do: which names at the broker they use, and what of the file they
//! must leave alone.

use crate::config::broker_name::BrokerName;
use crate::config::document_key::{DocumentKey, Kind};
use crate::config::model::Model;
use crate::config::protect::Protect;
use crate::config::validate::scope::Scope;

/// Entries of `document_broker_names`.
const BROKER_NAMES_MAX: usize = 256;

pub(super) fn protect(at: &Scope<'_>, entries: &[String], model: &Model) -> Option<Vec<Protect>> {
    at.each(entries, |at, text| {
        let entry = text.parse::<Protect>();
        match &entry {
            Err(fault) => at.fault_with(fault.to_string(), Protect::HELP),
            Ok(_) => {
                let key = text.parse::<DocumentKey>().ok();
                if let Some(key) = key.filter(|key| !is_in_file(model, key)) {
                    let (kind, name) = (key.kind.noun(), &key.name);
                    at.warn(format!("the file has no {kind} `{name}` to protect"));
                }
            }
        }
        entry.ok()
    })
}

/// Whether the file has an entry for this key; for a backend, whether it has the upstream.
fn is_in_file(model: &Model, key: &DocumentKey) -> bool {
    let name = &*key.name;
    match key.kind {
        Kind::Route => {
            let mut routes = model.routes.iter();
            routes.any(|route| route.name.as_deref() == Some(name))
        }
        Kind::Upstream | Kind::Backend => model.upstreams.contains_key(name),
        Kind::Authenticator => model.authenticators.contains_key(name),
        Kind::Revocation => model.revocations.contains_key(name),
    }
}

/// What documents may use of the broker: entries that could allow something.
pub(super) fn document_broker_names(at: &Scope<'_>, entries: &[String]) -> Option<Vec<String>> {
    at.few(entries.len(), BROKER_NAMES_MAX)?;
    at.each(entries, |at, entry| {
        let kind = entry.split_once(':').map(|(kind, _)| kind);
        let known = kind.is_some_and(|kind| BrokerName::KINDS.contains(&kind));
        let starred = entry.trim_end_matches('*');
        if !known || starred.contains('*') || entry.len() - starred.len() > 1 {
            at.fault_with(
                format!("`{entry}` is no name at a broker, and no beginning of one"),
                "write the name as routes do, `nats:chat.{room}`, or `nats:chat.*`",
            );
            return None;
        }
        Some(entry.clone())
    })
}
