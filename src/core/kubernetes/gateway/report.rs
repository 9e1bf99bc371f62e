//! What is reported of objects: conditions, without times.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::core::kubernetes::gateway::collection::ObjectKey;

/// Letters of a message.
const MESSAGE_MAX: usize = 500;

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) kind: &'static str,
    pub(super) holds: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Condition {
    /// One that holds.
    pub(super) fn good(kind: &'static str) -> Self {
        Self {
            kind,
            holds: true,
            reason: match kind {
                "Accepted" => "Accepted",
                "Programmed" => "Programmed",
                _ => "ResolvedRefs",
            },
            message: String::new(),
        }
    }

    /// One that does not, and why.
    pub(super) fn bad(kind: &'static str, fault: &Fault) -> Self {
        let letters = fault.message.chars().filter(|letter| !letter.is_control());
        Self {
            kind,
            holds: false,
            reason: fault.reason,
            message: letters.take(MESSAGE_MAX).collect(),
        }
    }

    /// With a message.
    pub(super) fn with(self, message: &str) -> Self {
        Self {
            message: message.to_owned(),
            ..self
        }
    }

    pub(super) fn of(kind: &'static str, fault: Option<&Fault>) -> Self {
        fault.map_or_else(|| Self::good(kind), |fault| Self::bad(kind, fault))
    }
}

/// Why something is not as its object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// Something that no route of the gateway can express.
    pub(super) fn unsupported(message: impl Into<String>) -> Self {
        Self::new("UnsupportedValue", message)
    }
}

/// A listener of a Gateway.
#[derive(Clone, Debug)]
pub(super) struct ListenerReport {
    pub(super) name: String,
    pub(super) attached: usize,
    /// Whether it takes `HTTPRoute`s.
    pub(super) takes_routes: bool,
    pub(super) conditions: Vec<Condition>,
}

/// A route, or a policy, at one parent.
#[derive(Clone, Debug)]
pub(super) struct ParentReport {
    pub(super) parent: Value,
    pub(super) conditions: Vec<Condition>,
}

/// A Gateway.
#[derive(Clone, Debug)]
pub(super) struct GatewayReport {
    pub(super) conditions: Vec<Condition>,
    pub(super) listeners: Vec<ListenerReport>,
}

/// What Services are not found, by the names of their upstreams, and why.
pub type ServiceFaults = BTreeMap<String, String>;

/// What is reported of all objects.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    pub(super) classes: BTreeMap<ObjectKey, Vec<Condition>>,
    pub(super) gateways: BTreeMap<ObjectKey, GatewayReport>,
    pub(super) routes: BTreeMap<ObjectKey, Vec<ParentReport>>,
    pub(super) policies: BTreeMap<ObjectKey, Vec<ParentReport>>,
    /// The upstreams of a route.
    pub(super) upstreams: BTreeMap<ObjectKey, BTreeSet<String>>,
    /// Which policy a route has.
    pub(super) policy_of: BTreeMap<ObjectKey, ObjectKey>,
    /// Whose a route's document is.
    pub(super) owners: BTreeMap<String, ObjectKey>,
}

impl Reports {
    /// A document of a route is not in force, for this reason.
    pub fn refused(&mut self, document: &str, why: &str) {
        let Some(route) = self.owners.get(document).cloned() else {
            return;
        };
        if let Some(policy) = self.policy_of.get(&route) {
            let fault = Fault::new("Invalid", why);
            not_accepted(self.policies.get_mut(policy), &fault);
        }
        not_accepted(self.routes.get_mut(&route), &Fault::unsupported(why));
    }

    /// These Services are not found.
    pub fn services(&mut self, faults: &ServiceFaults) {
        for (route, upstreams) in &self.upstreams {
            let Some(why) = upstreams.iter().find_map(|name| faults.get(name)) else {
                continue;
            };
            let fault = Fault::new("BackendNotFound", why.as_str());
            for parent in self.routes.get_mut(route).into_iter().flatten() {
                set(
                    &mut parent.conditions,
                    Condition::bad("ResolvedRefs", &fault),
                );
            }
        }
    }
}

fn not_accepted(parents: Option<&mut Vec<ParentReport>>, fault: &Fault) {
    for parent in parents.into_iter().flatten() {
        set(&mut parent.conditions, Condition::bad("Accepted", fault));
    }
}

/// A condition that holds makes way for one that does not.
fn set(conditions: &mut [Condition], new: Condition) {
    let known = conditions.iter_mut().find(|one| one.kind == new.kind);
    if let Some(known) = known.filter(|known| known.holds) {
        *known = new;
    }
}
