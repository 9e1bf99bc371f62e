//! Zones, priorities, and `failover` of an upstream.

use std::sync::Arc;

use crate::config::model;
use crate::config::snapshot::Failover;
use crate::config::validate::scope::Scope;

/// The greatest priority of a backend: each is a level with a table of its own.
pub(super) const PRIORITY_MAX: u8 = 15;
const ZONE_LEN_MAX: usize = 63;

/// `zone` of the node or of a backend.
pub(super) fn zone(at: &Scope<'_>, zone: Option<&str>) -> Option<Option<Arc<str>>> {
    let Some(text) = zone else {
        return Some(None);
    };
    let fits = (1..=ZONE_LEN_MAX).contains(&text.len());
    if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(Some(text.into()));
    }
    at.fault_with(
        format!("`{text}` is not a zone"),
        "use 1 to 63 visible ASCII characters, such as `eu-west-1a`",
    );
    None
}

pub(super) fn failover(at: &Scope<'_>, model: &model::Failover) -> Option<Failover> {
    let share = at.key("healthy_share_min");
    Some(Failover {
        zones: model.zones,
        healthy_share_min: share.within(model.healthy_share_min, 0.0..=1.0)?,
    })
}
