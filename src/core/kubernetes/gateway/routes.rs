//! Which listeners an HTTPRoute is attached to, with which hosts.

use std::collections::BTreeMap;

use serde::Deserialize as _;
use serde_json::Value;

use crate::config::pattern::HostPattern;
use crate::core::kubernetes::gateway::collection::{Object, ObjectKey};
use crate::core::kubernetes::gateway::gateways::{Gateway, spec_of};
use crate::core::kubernetes::gateway::hosts::Hosts;
use crate::core::kubernetes::gateway::objects::{GROUP, ParentRef, RouteSpec};
use crate::core::kubernetes::gateway::report::Fault;

/// Parents and host names of one route.
const PARENTS_MAX: usize = 32;
const HOSTS_MAX: usize = 16;

/// A parent that is a Gateway of a class that is followed.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) reference: Value,
    pub(super) fault: Option<Fault>,
    /// Gateway and listener that the route is attached to.
    pub(super) attached: Vec<(ObjectKey, usize)>,
}

/// Where a route is reached.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// Without and with TLS.
    pub(super) hosts: [Hosts; 2],
}

impl Reach {
    /// Whether it is reached at no host.
    pub(super) fn is_nowhere(&self) -> bool {
        self.hosts.iter().all(Hosts::is_empty)
    }

    /// Hosts without and with TLS together.
    pub(super) fn hosts_count(&self) -> usize {
        let count = |one: &Hosts| one.names.len() + usize::from(one.any);
        self.hosts.iter().map(count).sum()
    }
}

/// The parents of a route that are followed; none if it concerns other controllers.
pub(super) fn parents(
    key: &ObjectKey,
    object: &Object,
    gateways: &BTreeMap<ObjectKey, Gateway>,
) -> Vec<(Parent, ParentRef)> {
    let written = object.spec["parentRefs"].as_array().into_iter().flatten();
    let ours = written.take(PARENTS_MAX).filter_map(|value| {
        let reference = ParentRef::deserialize(value).ok()?;
        let group = reference.group.as_deref().unwrap_or(GROUP);
        let kind = reference.kind.as_deref().unwrap_or("Gateway");
        let known = gateways.contains_key(&gateway_of(&reference, key));
        let parent = Parent {
            reference: value.clone(),
            fault: None,
            attached: Vec::new(),
        };
        (group == GROUP && kind == "Gateway" && known).then_some((parent, reference))
    });
    ours.collect()
}

fn gateway_of(reference: &ParentRef, route: &ObjectKey) -> ObjectKey {
    let own = route.0.clone();
    let namespace = reference.namespace.as_deref().map_or(own, Into::into);
    (namespace, reference.name.as_str().into())
}

/// Attaches a route to its parents.
pub(super) fn attach(
    key: &ObjectKey,
    hosts: &[HostPattern],
    parents: &mut [(Parent, ParentRef)],
    gateways: &BTreeMap<ObjectKey, Gateway>,
) -> Reach {
    let mut reach = Reach::default();
    for (parent, reference) in parents {
        let gateway_key = gateway_of(reference, key);
        let gateway = &gateways[&gateway_key];
        let (mut named, mut allowed) = (false, false);
        for (number, listener) in gateway.listeners.iter().enumerate() {
            let section = reference.section_name.as_deref();
            if section.is_some_and(|name| name != listener.name)
                || reference.port.is_some_and(|port| port != listener.port)
            {
                continue;
            }
            named = true;
            if !listener.takes(&key.0, &gateway_key.0) {
                continue;
            }
            allowed = true;
            if !(listener.is_ready() && gateway.is_served()) {
                continue;
            }
            let hosts_there = &mut reach.hosts[usize::from(listener.tls)];
            if hosts_there.add(listener.host.as_ref(), hosts) {
                parent.attached.push((gateway_key.clone(), number));
            }
        }
        if parent.attached.is_empty() {
            parent.fault = Some(unattached(named, allowed));
        }
    }
    reach
}

fn unattached(named: bool, allowed: bool) -> Fault {
    match (named, allowed) {
        (false, _) => Fault::new("NoMatchingParent", "the Gateway has no such listener"),
        (true, false) => Fault::new(
            "NotAllowedByListeners",
            "allowedRoutes of the listener does not admit it",
        ),
        (true, true) => Fault::new(
            "NoMatchingListenerHostname",
            "no listener that is served has a hostname in common with it",
        ),
    }
}

/// A route as it is written, with its hosts.
pub(super) fn read(object: &Object) -> Result<(RouteSpec, Vec<HostPattern>), Fault> {
    let spec = spec_of(object)?;
    let unreadable = |error: serde_json::Error| Fault::unsupported(error.to_string());
    let spec = RouteSpec::deserialize(spec).map_err(unreadable)?;
    let names = spec.hostnames.as_deref().unwrap_or_default();
    if names.len() > HOSTS_MAX {
        let message = format!("it has more than {HOSTS_MAX} hostnames");
        return Err(Fault::unsupported(message));
    }
    let hosts = names.iter().map(|name| name.parse::<HostPattern>());
    let hosts = hosts.collect::<Result<_, _>>();
    let hosts = hosts.map_err(|why| Fault::unsupported(why.to_string()))?;
    Ok((spec, hosts))
}
