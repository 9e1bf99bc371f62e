//! `[[routes.subscribe]]`: names at the broker, which depend on the session.

use std::time::Duration;

use crate::config::broker_name::{BrokerName, FillFault};
use crate::config::model::{self, Model, TextOr};
use crate::config::pattern::PathPattern;
use crate::config::snapshot::{
    AffinitySource, BROKER_UPSTREAM, NameOfSession, PublishTo, Subscribe,
};
use crate::config::validate::affinity::affinity_source;
use crate::config::validate::scope::Scope;

/// Longest `wait` of `publish`.
const WAIT_MAX: Duration = Duration::from_secs(60);

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
            "allow it in `document_broker_names` of its source in the file of the gateway",
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

/// `publish`, which only a route without a backend has. Clients of one without it only listen.
pub(super) fn publish_to(
    at: &Scope<'_>,
    route: &model::Route,
    whole: &Model,
    path: Option<&PathPattern>,
) -> Option<Option<PublishTo>> {
    let is_local = route.upstream.as_deref() == Some(BROKER_UPSTREAM);
    let here = at.key("publish");
    if is_local && whole.broker.is_none() {
        at.key("upstream").fault_with(
            "there is no broker",
            "add [broker], with `type = \"memory\"` for one inside the gateway",
        );
        return None;
    }
    if is_local && route.on_backend_loss == model::OnBackendLoss::Reconnect {
        let reconnect = at.key("on_backend_loss");
        reconnect.fault("the route has no backend, so it cannot reconnect to one");
        return None;
    }
    let Some(model) = &route.publish else {
        return Some(None);
    };
    if !is_local {
        here.fault_key(
            "messages of this route's clients go to its backend",
            Some("set `upstream = \"broker\"`, or take `publish` out".to_owned()),
        );
        return None;
    }
    let short;
    let (name_at, to, table) = match model {
        TextOr::Text(to) => {
            short = model::PublishTo::default();
            (&here, to, &short)
        }
        TextOr::Table(table) => {
            let to = here.required("to", &table.to, "to = \"nats:in.{room}\"")?;
            (&here.key("to"), to, table)
        }
    };
    let to = name(name_at, to, route, whole, path);
    let wait = here.key("wait").time(table.wait, WAIT_MAX);
    Some(Some(PublishTo {
        to: to?,
        envelope: table.envelope,
        wait: wait?,
        drops: table.when_not_carried == model::WhenNotCarried::Drop,
    }))
}
