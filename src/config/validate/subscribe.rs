//! `[[routes.subscribe]]`: names at the broker, which depend on the session.

use crate::config::broker_name::{BrokerName, FillFault};
use crate::config::model::{self, Model};
use crate::config::pattern::PathPattern;
use crate::config::snapshot::{AffinitySource, NameOfSession, Subscribe};
use crate::config::validate::affinity::affinity_source;
use crate::config::validate::scope::Scope;

pub(super) fn subscribe(
    at: &Scope<'_>,
    route: &model::Route,
    whole: &Model,
    path: Option<&PathPattern>,
) -> Option<Vec<Subscribe>> {
    at.each(&route.subscribe, |at, model| {
        let example = "from = \"nats:chat.{room}\"";
        let written = at.required("from", &model.from, example)?;
        Some(Subscribe {
            from: name(&at.key("from"), written, route, whole, path)?,
            message_type: model.message_type,
        })
    })
}

/// A name at the broker that `[broker]` names.
pub(super) fn name(
    at: &Scope<'_>,
    written: &str,
    route: &model::Route,
    whole: &Model,
    path: Option<&PathPattern>,
) -> Option<NameOfSession> {
    let pattern = at.parse::<BrokerName>(written)?;
    let broker = broker(at, &pattern, whole)?;
    if let Err(reason) = at.outside().broker_name(written) {
        at.fault_with(
            reason,
            "allow it in `document_broker_names` of [sources.etcd] in the file of the gateway",
        );
        return None;
    }
    let fixed = pattern.placeholders().next().is_none();
    if fixed && let Err(fault @ FillFault::Own) = pattern.fill(&broker.prefix, |_| None) {
        at.fault_with(
            fault.to_string(),
            "publish under a name that does not begin with `prefix` of [broker]",
        );
        return None;
    }
    let values: Option<Vec<_>> = pattern
        .placeholders()
        .map(|placeholder| {
            let source = match placeholder {
                "client_address" => placeholder.to_owned(),
                text if text.contains(':') => text.to_owned(),
                parameter => format!("path:{parameter}"),
            };
            affinity_source(at, &source, path)
        })
        .collect();
    let values = values?;
    let claims = |source: &AffinitySource| matches!(source, AffinitySource::Claim(_));
    if values.iter().any(claims) && route.authenticate.is_empty() {
        at.warn("the route authenticates no client, so a claim is never present");
    }
    Some(NameOfSession { pattern, values })
}

/// The configured broker, if it is of the kind of the name.
fn broker<'m>(at: &Scope<'_>, pattern: &BrokerName, whole: &'m Model) -> Option<&'m model::Broker> {
    let kind = pattern.kind();
    let Some(broker) = &whole.broker else {
        at.fault_with(
            "there is no broker that has this name",
            format!("add [broker] with `type = \"{kind}\"`"),
        );
        return None;
    };
    if broker.kind != kind {
        let (configured, name) = (broker.kind, pattern.name());
        at.fault_with(
            format!("this is a name of {kind}, and the broker is {configured}"),
            format!("write `{configured}:{name}`, or set `type = \"{kind}\"` in [broker]"),
        );
        return None;
    }
    Some(broker)
}
