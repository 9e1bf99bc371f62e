//! What a change of the configuration came to, for its answer and for the log.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::snapshot::Snapshot;

/// What a change came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReloadReport {
    /// Of the table in force now.
    pub generation: u64,
    /// Of the table in force now.
    pub digest: String,
    /// Whether a new table was swapped in.
    pub swapped: bool,
    /// Routes by name.
    pub routes: Changes,
    /// Upstreams by name.
    pub upstreams: Changes,
    /// Settings that differ from those in force and take effect at the next start.
    pub restart_for: Vec<String>,
}

/// Names of what a change touched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// New ones.
    pub added: Vec<String>,
    /// Those that differ.
    pub changed: Vec<String>,
    /// Those that went.
    pub removed: Vec<String>,
}

/// Names that a line of the log holds at most, of each kind of change.
const NAMES_LOGGED: usize = 20;

impl fmt::Display for Changes {
    /// For a line of the log: `added a, b; removed c`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [
            ("added", &self.added),
            ("changed", &self.changed),
            ("removed", &self.removed),
        ];
        let mut between = "";
        for (what, names) in lists.iter().filter(|(_, names)| !names.is_empty()) {
            let shown = names.len().min(NAMES_LOGGED);
            write!(f, "{between}{what} {}", names[..shown].join(", "))?;
            if names.len() > shown {
                write!(f, " and {} more", names.len() - shown)?;
            }
            between = "; ";
        }
        if between.is_empty() {
            f.write_str("unchanged")?;
        }
        Ok(())
    }
}

pub(super) fn route_changes(before: &Snapshot, after: &Snapshot) -> Changes {
    let same = |(one, other)| Arc::ptr_eq(one, other);
    let unchanged = before.routes.len() == after.routes.len();
    if unchanged && before.routes.iter().zip(&after.routes).all(same) {
        return Changes::default();
    }
    let by_name = |snapshot: &Snapshot| -> BTreeMap<_, _> {
        snapshot
            .routes
            .iter()
            .map(|route| (route.name.clone(), Arc::clone(route)))
            .collect()
    };
    changes(&by_name(before), &by_name(after))
}

pub(super) fn changes<N: Ord + ToString, T: PartialEq>(
    before: &BTreeMap<N, Arc<T>>,
    after: &BTreeMap<N, Arc<T>>,
) -> Changes {
    let names = |from: &BTreeMap<N, Arc<T>>, keep: &dyn Fn(&N, &Arc<T>) -> bool| {
        from.iter()
            .filter(|(name, item)| keep(name, item))
            .map(|(name, _)| name.to_string())
            .collect()
    };
    Changes {
        added: names(after, &|name, _| !before.contains_key(name)),
        changed: names(after, &|name, item| {
            before
                .get(name)
                .is_some_and(|old| !Arc::ptr_eq(old, item) && old != item)
        }),
        removed: names(before, &|name, _| !after.contains_key(name)),
    }
}
