//! Reports as statuses of objects: what differs from what stands there is written, and what other
//! controllers wrote stays.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::core::kubernetes::gateway::collection::{Object, ObjectKey, ObjectsByKey};
use crate::core::kubernetes::gateway::objects::{GROUP, Kind};
use crate::core::kubernetes::gateway::report::{
    Condition, GatewayReport, ListenerReport, ParentReport, Reports,
};
use crate::core::kubernetes::gateway::translate::World;

/// A status to write.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// Of which kind the object is.
    pub kind: Kind,
    /// Its namespace, empty for one of the whole cluster.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// A merge patch, for this version of the object alone.
    pub body: Value,
}

/// All statuses that differ from what stands there. `now` is a time of RFC 3339.
pub fn patches(world: &World, reports: &Reports, controller: &str, now: &str) -> Vec<Patch> {
    let mut patches = Vec::new();
    let mut add =
        |kind, key: &ObjectKey, objects: &ObjectsByKey, new: &dyn Fn(&Old<'_>) -> Value| {
            let Some(object) = objects.get(key) else {
                return;
            };
            let Some(status) = &object.status else {
                return;
            };
            let old = Old {
                status,
                object,
                now,
                controller,
            };
            let new = new(&old);
            let same = new
                .as_object()
                .is_some_and(|new| new.iter().all(|(name, value)| status[name] == *value));
            if !same {
                patches.push(Patch {
                    kind,
                    namespace: key.0.clone(),
                    name: key.1.clone(),
                    body: json!({
                        "metadata": { "resourceVersion": object.version }, "status": new,
                    }),
                });
            }
        };
    for (key, conditions) in &reports.classes {
        add(
            Kind::Class,
            key,
            &world.classes,
            &|old| json!({ "conditions": old.conditions(&old.status["conditions"], conditions) }),
        );
    }
    for (key, report) in &reports.gateways {
        add(Kind::Gateway, key, &world.gateways, &|old| {
            old.gateway(report)
        });
    }
    for (key, parents) in &reports.routes {
        add(
            Kind::Route,
            key,
            &world.routes,
            &|old| json!({ "parents": old.parents("parents", "parentRef", parents) }),
        );
    }
    for (key, parents) in &reports.policies {
        add(
            Kind::Policy,
            key,
            &world.policies,
            &|old| json!({ "ancestors": old.parents("ancestors", "ancestorRef", parents) }),
        );
    }
    patches
}

/// What stands there.
struct Old<'a> {
    status: &'a Value,
    object: &'a Object,
    now: &'a str,
    controller: &'a str,
}

impl Old<'_> {
    /// Conditions keep their time as long as they stay as they are; those of others stay.
    fn conditions(&self, old: &Value, new: &[Condition]) -> Value {
        let old = old.as_array().map(Vec::as_slice).unwrap_or_default();
        let named = |one: &Value, kind: &str| one["type"].as_str() == Some(kind);
        let new_ones = new.iter().map(|one| {
            let status = if one.holds { "True" } else { "False" };
            let known = old.iter().find(|old| named(old, one.kind));
            let known = known.filter(|known| known["status"].as_str() == Some(status));
            let since = known.and_then(|known| known["lastTransitionTime"].as_str());
            json!({
                "type": one.kind, "status": status, "reason": one.reason,
                "message": one.message, "observedGeneration": self.object.generation,
                "lastTransitionTime": since.unwrap_or(self.now),
            })
        });
        let others = old
            .iter()
            .filter(|old| !new.iter().any(|one| named(old, one.kind)) && old["type"].is_string());
        new_ones.chain(others.cloned()).collect()
    }

    fn gateway(&self, report: &GatewayReport) -> Value {
        let old = self.status["listeners"].as_array();
        let old = old.map(Vec::as_slice).unwrap_or_default();
        let listeners = report.listeners.iter().map(|one| {
            let known = old
                .iter()
                .find(|old| old["name"].as_str() == Some(&one.name));
            self.listener(known.unwrap_or(&Value::Null), one)
        });
        let listeners: Vec<_> = listeners.collect();
        json!({
            "conditions": self.conditions(&self.status["conditions"], &report.conditions),
            "listeners": listeners,
        })
    }

    fn listener(&self, old: &Value, report: &ListenerReport) -> Value {
        let kinds = match report.takes_routes {
            true => json!([{ "group": GROUP, "kind": "HTTPRoute" }]),
            false => json!([]),
        };
        json!({
            "name": report.name, "attachedRoutes": report.attached, "supportedKinds": kinds,
            "conditions": self.conditions(&old["conditions"], &report.conditions),
        })
    }

    /// Entries of a list in which each controller has its own.
    fn parents(&self, list: &str, reference: &str, new: &[ParentReport]) -> Value {
        let old = self.status[list].as_array();
        let old = old.map(Vec::as_slice).unwrap_or_default();
        let ours = |one: &&Value| one["controllerName"].as_str() == Some(self.controller);
        let mut entries: Vec<_> = old.iter().filter(|one| !ours(one)).cloned().collect();
        entries.extend(new.iter().map(|one| {
            let mut own = old.iter().filter(ours);
            let known = own.find(|known| known[reference] == one.parent);
            let before = known.map_or(&Value::Null, |known| &known["conditions"]);
            json!({
                reference: one.parent, "controllerName": self.controller,
                "conditions": self.conditions(before, &one.conditions),
            })
        }));
        entries.into()
    }
}
