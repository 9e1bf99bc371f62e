//! Which backends of an upstream a node prefers: by priority, then those of its own zone.

use crate::config::snapshot::{Upstream, ZonePreference};
use crate::core::balance::{Placed, Preference};

/// What levels are built from.
pub(super) fn placed(config: &Upstream, zone: Option<&str>) -> Vec<Placed> {
    let zone = zone.filter(|_| config.failover.zones == ZonePreference::Prefer);
    let elsewhere = |of: Option<&str>| zone.is_some() && of != zone;
    let backends = config.backends.iter();
    let placed = backends.map(|backend| {
        let preference = Preference {
            priority: backend.priority,
            elsewhere: elsewhere(backend.zone.as_deref()),
        };
        (backend.id.clone(), backend.weight, preference)
    });
    placed.collect()
}
