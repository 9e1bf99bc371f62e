//! GatewayClasses and Gateways: which are followed, and which listeners of theirs routes may attach
//! to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize as _;
use serde_json::Value;

use crate::config::pattern::HostPattern;
use crate::core::kubernetes::gateway::collection::{Object, ObjectKey, ObjectsByKey};
use crate::core::kubernetes::gateway::facts::Facts;
use crate::core::kubernetes::gateway::objects::{GROUP, GatewaySpec, ListenerSpec};
use crate::core::kubernetes::gateway::report::{Condition, Fault, GatewayReport, ListenerReport};

/// Listeners of one Gateway.
const LISTENERS_MAX: usize = 64;

/// A listener that routes may attach to.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) tls: bool,
    pub(super) host: Option<HostPattern>,
    /// Routes of all namespaces may attach, not only those of the Gateway's own.
    all_namespaces: bool,
    takes_routes: bool,
    pub(super) attached: usize,
    faults: [Option<Fault>; 2],
}

impl Listener {
    /// Whether routes of this namespace may attach.
    pub(super) fn takes(&self, route: &str, gateway: &str) -> bool {
        self.takes_routes && (self.all_namespaces || route == gateway)
    }

    /// Whether it is served.
    pub(super) fn is_ready(&self) -> bool {
        self.faults.iter().all(Option::is_none)
    }
}

/// A Gateway of a class that is followed.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) listeners: Vec<Listener>,
    fault: Option<Fault>,
}

/// The classes that are followed, and what is reported of them.
pub(super) fn classes(
    objects: &ObjectsByKey,
    controller: &str,
) -> (BTreeSet<Arc<str>>, BTreeMap<ObjectKey, Vec<Condition>>) {
    let (mut names, mut reports) = (BTreeSet::new(), BTreeMap::new());
    for (key, object) in objects {
        let spec = &object.spec;
        if spec["controllerName"].as_str() != Some(controller) {
            continue;
        }
        let parameters = !spec["parametersRef"].is_null();
        let fault = parameters.then(|| {
            let message = "parametersRef is not supported; settings are in gateway.toml";
            Fault::new("InvalidParameters", message)
        });
        let fault = fault.or_else(|| spec_of(object).err());
        if fault.is_none() {
            names.insert(Arc::clone(&key.1));
        }
        let accepted = Condition::of("Accepted", fault.as_ref());
        reports.insert(key.clone(), vec![accepted]);
    }
    (names, reports)
}

/// The Gateways of these classes.
pub(super) fn gateways(
    objects: &ObjectsByKey,
    classes: &BTreeSet<Arc<str>>,
    facts: &Facts,
) -> BTreeMap<ObjectKey, Gateway> {
    let all = objects.iter().filter_map(|(key, object)| {
        let spec = GatewaySpec::deserialize(&object.spec).ok()?;
        let ours = classes.contains(spec.gateway_class_name.as_str());
        ours.then(|| {
            let mut gateway = gateway(&spec, facts);
            gateway.fault = gateway.fault.or_else(|| spec_of(object).err());
            (key.clone(), gateway)
        })
    });
    all.collect()
}

fn gateway(spec: &GatewaySpec, facts: &Facts) -> Gateway {
    let written = spec.listeners.as_deref().unwrap_or_default();
    let listeners = written.iter().take(LISTENERS_MAX);
    let mut fault = None;
    if written.len() > LISTENERS_MAX {
        let message = format!("it has more than {LISTENERS_MAX} listeners");
        fault = Some(Fault::new("Invalid", message));
    }
    if spec.addresses.as_ref().is_some_and(|list| !list.is_empty()) {
        let message = "addresses are not supported: leave them out";
        fault = Some(Fault::new("UnsupportedAddress", message));
    }
    Gateway {
        listeners: listeners.map(|value| listener(value, facts)).collect(),
        fault,
    }
}

fn listener(value: &Value, facts: &Facts) -> Listener {
    let spec = match ListenerSpec::deserialize(value) {
        Ok(spec) => spec,
        Err(error) => return unreadable(value, &error.to_string()),
    };
    let host = spec.hostname.as_deref().map(str::parse::<HostPattern>);
    let allowed = spec.allowed_routes.as_ref();
    let from = allowed.and_then(|allowed| allowed.namespaces.as_ref()?.from.as_deref());
    let kinds = allowed.and_then(|allowed| allowed.kinds.as_ref());
    let takes_routes = kinds.is_none_or(|kinds| {
        kinds.is_empty()
            || kinds.iter().any(|one| {
                one.kind == "HTTPRoute" && one.group.as_deref().unwrap_or(GROUP) == GROUP
            })
    });
    let tls = spec.protocol == "HTTPS";
    let (accepted, resolved) = faults(&spec, facts, from, takes_routes);
    let bad_host = host.as_ref().and_then(|host| host.as_ref().err());
    let bad_host = bad_host.map(|why| Fault::unsupported(why.to_string()));
    Listener {
        name: spec.name,
        port: spec.port,
        tls,
        host: host.and_then(Result::ok),
        all_namespaces: from == Some("All"),
        takes_routes,
        attached: 0,
        faults: [bad_host.or(accepted), resolved],
    }
}

/// What keeps it from being accepted, and what cannot be resolved.
fn faults(
    spec: &ListenerSpec,
    facts: &Facts,
    from: Option<&str>,
    takes_routes: bool,
) -> (Option<Fault>, Option<Fault>) {
    let port = |served: bool, what: &str| {
        let message = format!("gateway.toml has no listener {what}");
        (!served).then(|| Fault::new("PortUnavailable", message))
    };
    let tls = spec.tls.as_ref();
    let mut accepted = match spec.protocol.as_str() {
        "HTTP" => port(facts.plain, "without tls"),
        "HTTPS" => port(facts.tls, "with tls"),
        other => {
            let message = format!("{other} is not supported; use HTTP or HTTPS");
            Some(Fault::new("UnsupportedProtocol", message))
        }
    };
    if tls.and_then(|tls| tls.mode.as_deref()) == Some("Passthrough") {
        accepted = Some(Fault::unsupported("tls.mode Passthrough is not supported"));
    }
    if !matches!(from, None | Some("Same" | "All")) {
        let message = "allowedRoutes.namespaces.from is Same or All; others are not supported";
        accepted = Some(Fault::unsupported(message));
    }
    let refs = tls.and_then(|tls| tls.certificate_refs.as_ref());
    let resolved = if refs.is_some_and(|refs| !refs.is_empty()) {
        let message = "certificates are those of gateway.toml; write `options` in the place of \
                       certificateRefs";
        Some(Fault::new("InvalidCertificateRef", message))
    } else if !takes_routes {
        let message = "HTTPRoute is the only kind that is supported";
        Some(Fault::new("InvalidRouteKinds", message))
    } else {
        None
    };
    (accepted, resolved)
}

fn unreadable(value: &Value, why: &str) -> Listener {
    Listener {
        name: value["name"].as_str().unwrap_or_default().to_owned(),
        port: 0,
        tls: false,
        host: None,
        all_namespaces: false,
        takes_routes: false,
        attached: 0,
        faults: [Some(Fault::unsupported(why)), None],
    }
}

/// What is reported of a Gateway.
pub(super) fn report(gateway: &Gateway) -> GatewayReport {
    let none_ready = !gateway.listeners.iter().any(Listener::is_ready);
    let not_valid = gateway.listeners.iter().any(|one| !one.is_ready());
    let mut accepted = Condition::of("Accepted", gateway.fault.as_ref());
    if not_valid && accepted.holds {
        accepted.reason = "ListenersNotValid";
        accepted.holds = !none_ready;
        accepted.message = "see the conditions of the listeners".to_owned();
    }
    let unserved = Fault::new("Invalid", "no listener of it is served");
    let programmed = (none_ready || gateway.fault.is_some()).then_some(&unserved);
    GatewayReport {
        conditions: vec![accepted, Condition::of("Programmed", programmed)],
        listeners: gateway.listeners.iter().map(of_listener).collect(),
    }
}

fn of_listener(listener: &Listener) -> ListenerReport {
    let [accepted, resolved] = &listener.faults;
    let either = accepted.as_ref().or(resolved.as_ref());
    let invalid = either.map(|fault| Fault::new("Invalid", fault.message.as_str()));
    ListenerReport {
        name: listener.name.clone(),
        attached: listener.attached,
        takes_routes: listener.takes_routes,
        conditions: vec![
            Condition::of("Accepted", accepted.as_ref()),
            Condition::of("ResolvedRefs", resolved.as_ref()),
            Condition::of("Programmed", invalid.as_ref()),
        ],
    }
}

impl Gateway {
    /// Whether its routes take effect.
    pub(super) fn is_served(&self) -> bool {
        self.fault.is_none()
    }
}

/// What an object says, if it can be read at all.
pub(super) fn spec_of(object: &Object) -> Result<&Value, Fault> {
    match object.large {
        true => Err(Fault::unsupported("it is too large")),
        false => Ok(&object.spec),
    }
}
