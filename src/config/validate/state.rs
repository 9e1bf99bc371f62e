//! `[state]`.

use std::time::Duration;

use crate::base::secret::Secret;
use crate::config::model::{self, Model, StateType};
use crate::config::snapshot::{ServiceTls, State, StateKind};
use crate::config::validate::broker::{self, Form};
use crate::config::validate::scope::Scope;
use crate::config::validate::service;
use crate::config::validate::values::secret_text;

const CONNECT_MAX: Duration = Duration::from_secs(60);
/// A client waits for so long at each of three decisions, at most.
const DECISION: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));
/// Shorter ones would end in a pause of the network, longer ones keep places of the dead.
const LEASE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(600));

const REDIS: Form = Form {
    plain: "redis",
    encrypted: "rediss",
    ports: (6379, 6379),
    section: "state",
    has_virtual_host: false,
};
const MEMCACHED: Form = Form {
    plain: "memcached",
    encrypted: "memcacheds",
    ports: (11211, 11211),
    ..REDIS
};

/// `[state]`; the inner `None` is no store.
pub(super) fn state(at: &Scope<'_>, model: &model::State) -> Option<Option<State>> {
    let (kind, form) = match model.kind {
        StateType::Local => return without_store(at, model).then_some(None),
        StateType::Redis => (StateKind::Redis, REDIS),
        StateType::Memcached => (StateKind::Memcached, MEMCACHED),
    };
    let is_built = match kind {
        StateKind::Redis => cfg!(feature = "redis"),
        StateKind::Memcached => cfg!(feature = "memcached"),
    };
    if !is_built {
        at.key("type").fault_with(
            format!("this build has no driver for {kind}"),
            format!("build with `--features {kind}`, or use the packages, which have both"),
        );
        return None;
    }
    let prefix = broker::prefix(&at.key("prefix"), &model.prefix);
    let example = format!("server = \"{}://127.0.0.1:{}\"", form.plain, form.ports.0);
    let server = at
        .required("server", &model.server, &example)
        .and_then(|url| broker::server(&at.key("server"), url, &kind.to_string(), &form));
    let tls = match &model.tls {
        Some(tls) => service::tls(&at.key("tls"), tls),
        None => Some(ServiceTls::default()),
    };
    let sign_in = sign_in(at, model, kind);
    let connect_timeout = at.key("connect_timeout");
    let connect_timeout = connect_timeout.time(model.connect_timeout, CONNECT_MAX);
    let within = |key: &str, time, (least, most)| at.key(key).interval(time, least, most);
    let decision_timeout = within("decision_timeout", model.decision_timeout, DECISION);
    let lease = within("lease", model.lease, LEASE);
    if let Some(server) = &server {
        if model.tls.is_some() && !server.encrypted {
            at.key("server").fault_with(
                "this server is not encrypted, and there is a `tls` table",
                format!("begin it with `{}://`, or take `tls` out", form.encrypted),
            );
            return None;
        }
        if matches!(sign_in, Some(Some(_))) && broker::crosses_in_the_clear(server) {
            let at = at.key("server");
            at.warn("the password would cross the network in the clear");
        }
    }
    let server = server?;
    Some(Some(State {
        kind,
        address: server.address,
        tls: tls.map(|tls| server.encrypted.then_some(tls))?,
        prefix: prefix?,
        sign_in: sign_in?,
        connect_timeout: connect_timeout?,
        decision_timeout: decision_timeout?,
        lease: lease?,
    }))
}

/// Whether nothing is written that only a store has, so that a forgotten `type` does not pass
/// unnoticed.
fn without_store(at: &Scope<'_>, model: &model::State) -> bool {
    let written = [
        ("server", model.server.is_some()),
        ("user", model.user.is_some()),
        ("password", model.password.is_some()),
        ("tls", model.tls.is_some()),
    ];
    for (key, _) in written.iter().filter(|(_, is)| *is) {
        at.key(key).fault_with(
            "the state `local` has no server",
            "set `type` to \"redis\" or \"memcached\", or take this out",
        );
    }
    !written.iter().any(|(_, is)| *is)
}

/// User and password; the inner `None` is neither.
fn sign_in(
    at: &Scope<'_>,
    model: &model::State,
    kind: StateKind,
) -> Option<Option<(String, Secret)>> {
    let user = match (&model.user, &model.password) {
        (None, None) => return Some(None),
        (Some(user), Some(_)) => user.clone(),
        // The user of a Redis that has `requirepass`.
        (None, Some(_)) if kind == StateKind::Redis => "default".to_owned(),
        (Some(_), None) => {
            at.missing("password", "password = { file = \"state.password\" }");
            return None;
        }
        (None, Some(_)) => {
            at.missing("user", "user = \"sessile\"");
            return None;
        }
    };
    let is_plain = |text: &str| !text.chars().any(|one| one.is_control() || one == ' ');
    if user.len() > broker::TEXT_MAX || !is_plain(&user) {
        let at = at.key("user");
        at.fault("this is too long for a user, or holds spaces or control characters");
        return None;
    }
    let password = secret_text(&at.key("password"), model.password.as_ref()?)?;
    // Memcached reads both as one line of words.
    if kind == StateKind::Memcached && !is_plain(password.reveal()) {
        let at = at.key("password");
        at.fault("memcached takes no password with spaces or control characters");
        return None;
    }
    Some(Some((user, password)))
}

/// A route that should count over the fleet has nowhere to count.
pub(super) fn warn_of_no_store(root: &Scope<'_>, model: &Model) {
    if model.state.kind != StateType::Local || root.key("state").is_explained() {
        return;
    }
    for (index, route) in model.routes.iter().enumerate() {
        if route.scope == Some(model::RouteScope::Fleet) {
            let at = root.key("routes").index(index).key("scope");
            at.warn_with(
                "there is no store, so this route counts on this gateway alone",
                "add a [state] table with `type` and `server`, or take `scope` out",
            );
        }
    }
}
