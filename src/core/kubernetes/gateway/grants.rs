//! ReferenceGrants: which namespaces may refer to the Services of another one.

use std::collections::BTreeSet;

use serde::Deserialize as _;

use crate::core::kubernetes::gateway::collection::{Object, ObjectsByKey};
use crate::core::kubernetes::gateway::objects::{GROUP, GrantSpec};

/// Entries of one grant, each way.
const ENTRIES_MAX: usize = 16;

/// From, to, and the name of the Service; `None` for all.
#[derive(Debug, Default)]
pub(super) struct Grants(BTreeSet<(String, String, Option<String>)>);

impl Grants {
    pub(super) fn new(objects: &ObjectsByKey) -> Self {
        let mut grants = BTreeSet::new();
        for ((namespace, _), object) in objects {
            let Some(spec) = read(object) else {
                continue;
            };
            let from = spec.from.iter().take(ENTRIES_MAX);
            for from in from.filter(|from| from.group == GROUP && from.kind == "HTTPRoute") {
                let to = spec.to.iter().take(ENTRIES_MAX);
                let services = to.filter(|to| to.group.is_empty() && to.kind == "Service");
                grants.extend(services.map(|to| {
                    let (from, into) = (from.namespace.clone(), namespace.to_string());
                    (from, into, to.name.clone())
                }));
            }
        }
        Self(grants)
    }

    /// Whether routes of one namespace may lead to a Service of another.
    pub(super) fn permit(&self, from: &str, to: &str, service: &str) -> bool {
        let has = |name: Option<&str>| {
            let name = name.map(str::to_owned);
            self.0.contains(&(from.to_owned(), to.to_owned(), name))
        };
        from == to || has(None) || has(Some(service))
    }
}

fn read(object: &Object) -> Option<GrantSpec> {
    GrantSpec::deserialize(object.spec.as_ref()?).ok()
}
