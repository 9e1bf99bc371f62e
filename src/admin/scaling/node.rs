//! The load of upstreams on this gateway.

use crate::admin::Gateway;
use crate::admin::scaling::view::ScalingView;
use crate::base::clock;
use crate::core::routing::{Removed, Upstream};

/// What this gateway has; `None` if there is no such upstream.
pub(super) fn of_node(gateway: &Gateway, name: &str) -> Option<ScalingView> {
    let table = gateway.live.table();
    let upstream = table.upstream(name).filter(|one| !one.is_broker())?;
    Some(view(gateway, upstream, &table.removed()))
}

/// All upstreams, by name.
pub(super) fn views(gateway: &Gateway) -> Vec<ScalingView> {
    let table = gateway.live.table();
    let removed = table.removed();
    let upstreams = table.upstreams().filter(|one| !one.is_broker());
    upstreams
        .map(|upstream| view(gateway, upstream, &removed))
        .collect()
}

fn view(gateway: &Gateway, upstream: &Upstream, removed: &[Removed]) -> ScalingView {
    let seen = gateway.scaling.seen(upstream.name());
    let mut view = ScalingView::of(upstream, removed, seen, clock::now());
    let config = &upstream.config;
    view.decide(&config.scaling, config.sessions_per_backend);
    view
}
