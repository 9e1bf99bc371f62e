//! SessilePolicies: settings of a route, attached to an HTTPRoute of the same namespace.

use std::collections::BTreeMap;

use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use crate::core::kubernetes::gateway::collection::{
    Namespaces, Object, ObjectKey, ObjectsByKey, oldest_first,
};
use crate::core::kubernetes::gateway::gateways::spec_of;
use crate::core::kubernetes::gateway::objects::{GROUP, PolicySpec};
use crate::core::kubernetes::gateway::report::{Condition, Fault, ParentReport};

/// The keys of a route that a policy may have.
const KEYS: [&str; 12] = [
    "affinity",
    "authenticate",
    "authorize",
    "keepalive",
    "limits",
    "on_backend_loss",
    "origin_required",
    "origins",
    "reconnect",
    "stick",
    "stick_for",
    "timeouts",
];

/// A policy.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) key: ObjectKey,
    /// Keys of the route. A policy at fault has one that no route has: its routes are refused, and
    /// what was good of them stays.
    pub(super) route: Map<String, Value>,
    pub(super) fault: Option<Fault>,
}

/// The name of what it is attached to; `None` if that cannot be read.
pub(super) fn target_name(object: &Object) -> Option<&str> {
    object.spec.pointer("/targetRef/name")?.as_str()
}

/// All policies.
#[derive(Debug, Default)]
pub(super) struct Policies {
    pub(super) by_route: BTreeMap<ObjectKey, Policy>,
    pub(super) reports: BTreeMap<ObjectKey, Vec<ParentReport>>,
    /// Namespaces with policies that cannot be read. One may be for any route there, so none is in
    /// force without what it asks for.
    unread: Namespaces,
}

impl Policies {
    /// What the policy of a route adds.
    pub(super) fn settings(&self, route: &ObjectKey) -> Map<String, Value> {
        match self.by_route.get(route) {
            Some(policy) => policy.route.clone(),
            None if self.is_unread(route) => refused(),
            None => Map::new(),
        }
    }

    /// Why it is not known which policy a route has.
    pub(super) fn fault(&self, route: &ObjectKey) -> Option<Fault> {
        let unread = !self.by_route.contains_key(route) && self.is_unread(route);
        unread.then(|| {
            let message = "its namespace has policies that are not read: there are too many, or one \
                           has no targetRef";
            Fault::unsupported(message)
        })
    }

    fn is_unread(&self, route: &ObjectKey) -> bool {
        self.unread.contains(&route.0)
    }
}

/// A key that no route has, so that what was good of a route stays.
fn refused() -> Map<String, Value> {
    Map::from_iter([("policy".to_owned(), Value::Null)])
}

/// The policy of each route, and what is reported of them. Some are left out in these namespaces.
pub(super) fn policies(objects: &ObjectsByKey, left_out: &Namespaces) -> Policies {
    let mut policies = Policies {
        unread: left_out.clone(),
        ..Policies::default()
    };
    for (key, object) in oldest_first(objects) {
        let Some(name) = target_name(object) else {
            policies.unread.insert(key.0.clone());
            continue;
        };
        let route: ObjectKey = (key.0.clone(), name.into());
        let policy = policy(key, object);
        let mut fault = policy.fault.clone();
        match policies.by_route.get(&route) {
            Some(first) => {
                let message = format!("policy {} of this route is older", first.key.1);
                fault = Some(Fault::new("Conflicted", message));
            }
            None => {
                policies.by_route.insert(route, policy);
            }
        }
        let accepted = Condition::of("Accepted", fault.as_ref());
        let parent = json!({ "group": GROUP, "kind": "HTTPRoute", "name": name });
        let report = ParentReport {
            parent,
            conditions: vec![accepted],
        };
        policies.reports.insert(key.clone(), vec![report]);
    }
    policies
}

fn policy(key: &ObjectKey, object: &Object) -> Policy {
    let (route, fault) = match read(object) {
        Ok(route) => (route, None),
        Err(fault) => (refused(), Some(fault)),
    };
    Policy {
        key: key.clone(),
        route,
        fault,
    }
}

fn read(object: &Object) -> Result<Map<String, Value>, Fault> {
    let invalid = |message: String| Fault::new("Invalid", message);
    let spec = spec_of(object).map_err(|fault| invalid(fault.message))?;
    let spec = PolicySpec::deserialize(spec).map_err(|error| invalid(error.to_string()))?;
    let target = &spec.target_ref;
    if target.group != GROUP || target.kind != "HTTPRoute" {
        let message = format!("{} {} is no HTTPRoute", target.kind, target.name);
        return Err(invalid(message));
    }
    let mut keys = spec.route.keys();
    match keys.find(|key| !KEYS.contains(&key.as_str())) {
        Some(key) => Err(invalid(format!(
            "`{key}` cannot be set by a policy; it may have {}",
            KEYS.join(", ")
        ))),
        None => Ok(spec.route),
    }
}
