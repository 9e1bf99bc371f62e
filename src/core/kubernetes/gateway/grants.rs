//! ReferenceGrants: which namespaces may refer to the Services of another one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize as _;

use crate::core::kubernetes::gateway::collection::{Object, ObjectsByKey};
use crate::core::kubernetes::gateway::gateways::spec_of;
use crate::core::kubernetes::gateway::objects::{GROUP, GrantSpec};

/// Entries of one grant, each way.
const ENTRIES_MAX: usize = 16;
/// What the grants of one namespace permit; further ones permit nothing.
const PERMITTED_MAX: usize = 1024;

/// By the namespace of the Services: from which namespace, and the name of the Service; `None` for
/// all.
#[derive(Debug, Default)]
pub(super) struct Grants(BTreeMap<Arc<str>, BTreeSet<(String, Option<String>)>>);

impl Grants {
    pub(super) fn new(objects: &ObjectsByKey) -> Self {
        let mut grants = Self::default();
        for ((namespace, _), object) in objects {
            let Some(spec) = read(object) else {
                continue;
            };
            let permitted = grants.0.entry(Arc::clone(namespace)).or_default();
            let from = spec.from.iter().take(ENTRIES_MAX);
            for from in from.filter(|from| from.group == GROUP && from.kind == "HTTPRoute") {
                let to = spec.to.iter().take(ENTRIES_MAX);
                let services = to.filter(|to| to.group.is_empty() && to.kind == "Service");
                let services = services.map(|to| (from.namespace.clone(), to.name.clone()));
                permitted.extend(services.take(PERMITTED_MAX.saturating_sub(permitted.len())));
            }
        }
        grants
    }

    /// Whether routes of one namespace may lead to a Service of another.
    pub(super) fn permit(&self, from: &str, to: &str, service: &str) -> bool {
        let has = |name: Option<&str>| {
            let entry = (from.to_owned(), name.map(str::to_owned));
            self.0.get(to).is_some_and(|there| there.contains(&entry))
        };
        from == to || has(None) || has(Some(service))
    }
}

fn read(object: &Object) -> Option<GrantSpec> {
    GrantSpec::deserialize(spec_of(object).ok()?).ok()
}
