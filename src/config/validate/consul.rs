//! `[sources.consul]`.

use std::time::Duration;

use crate::config::model::{self, Model};
use crate::config::snapshot::{Consul, ServiceTls};
use crate::config::validate::document_rights::document_broker_names;
use crate::config::validate::endpoints::{Endpoints, GRACE_MAX, WAIT_MAX, endpoints};
use crate::config::validate::scope::Scope;
use crate::config::validate::service;
use crate::config::validate::values::secret;

/// Bounds of the time that a query may wait for a change. A source without an answer for a minute
/// counts as lagging.
const QUERY_MIN: Duration = Duration::from_millis(100);
const QUERY_MAX: Duration = Duration::from_secs(45);

pub(super) fn consul(at: &Scope<'_>, model: &model::ConsulSource) -> Option<Consul> {
    let asked = Endpoints {
        of: "Consul",
        example: "http://127.0.0.1:8500",
        examples: "`http://127.0.0.1:8500` or `https://consul-1.example.com:8501`",
        has_tls: model.tls.is_some(),
        secret: model.token.as_ref().map(|_| "token"),
    };
    let endpoints = endpoints(&at.key("endpoints"), &model.endpoints, &asked);
    let prefix = match &model.prefix {
        Some(text) => prefix(&at.key("prefix"), text).map(Some),
        None => Some(None),
    };
    let token = match &model.token {
        Some(source) => secret(&at.key("token"), source).map(Some),
        None => Some(None),
    };
    let tls = match &model.tls {
        Some(tls) => service::tls(&at.key("tls"), tls),
        None => Some(ServiceTls::default()),
    };
    let wait = at.key("wait").interval(model.wait, QUERY_MIN, QUERY_MAX);
    let timeouts = at.key("timeouts");
    let dial = timeouts.key("dial").time(model.timeouts.dial, WAIT_MAX);
    let answer = timeouts.key("answer").time(model.timeouts.answer, WAIT_MAX);
    let stale_max = at.key("stale_max").time(model.stale_max, GRACE_MAX);
    let stale_grace = at.key("stale_grace").time(model.stale_grace, GRACE_MAX);
    let names = &model.document_broker_names;
    let document_broker_names = document_broker_names(&at.key("document_broker_names"), names);
    let files = model.document_files.iter();
    Some(Consul {
        endpoints: endpoints?,
        prefix: prefix?,
        token: token?,
        tls: tls?,
        wait: wait?,
        dial: dial?,
        answer: answer?,
        stale_max: stale_max?,
        stale_grace: stale_grace?,
        document_files: files.map(|path| at.resolve(path)).collect(),
        document_broker_names: document_broker_names?,
    })
}

/// Upstreams of the file that name a service need a Consul to ask for it.
pub(super) fn asked(root: &Scope<'_>, model: &Model) {
    if model.sources.consul.is_some() || root.key("sources").is_explained() {
        return;
    }
    let naming = model.upstreams.iter();
    for (name, _) in naming.filter(|(_, upstream)| upstream.consul.is_some()) {
        root.key("upstreams").key(name).key("consul").fault_with(
            "there is no Consul to ask for this service",
            "add [sources.consul] with `endpoints = [\"http://127.0.0.1:8500\"]`",
        );
    }
}

/// Keys in Consul do not begin with a slash.
fn prefix(at: &Scope<'_>, text: &str) -> Option<std::sync::Arc<str>> {
    let trimmed = text.trim_end_matches('/');
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    let parts = trimmed
        .split('/')
        .all(|part| !matches!(part, "" | "." | ".."));
    if parts && trimmed.bytes().all(letter) {
        return Some(trimmed.into());
    }
    at.fault_with(
        "this is no prefix of keys in Consul",
        "write `prefix = \"sessile\"`: letters, digits, `-`, `_`, `.`, and `/` between its parts",
    );
    None
}
