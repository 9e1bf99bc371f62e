//! The backends that a swap of tables drains. The drainer acts on it, and a preview shows it.

use crate::config::snapshot::AdminState;
use crate::control::drainer::{BackendKey, By};
use crate::core::routing::RoutingTable;
use crate::core::session::drain::Profile;

/// The effect of a swap of tables on one backend.
pub(super) struct SwapEffect {
    pub(super) key: BackendKey,
    /// Whether it is to be drained.
    pub(super) wanted: bool,
    pub(super) by: By,
    pub(super) profile: Profile,
}

/// The effect of `new` on its backends, and on those that only `old` has.
pub(super) fn swap_effects<'t>(
    old: &'t RoutingTable,
    new: &'t RoutingTable,
) -> impl Iterator<Item = SwapEffect> + 't {
    let kept = new.upstreams().flat_map(|upstream| {
        upstream.members.iter().map(|member| SwapEffect {
            key: (upstream.name().clone(), member.id.clone()),
            wanted: member.admin_state() == AdminState::Draining,
            by: By::Configuration,
            profile: Profile::from(&upstream.config.drain),
        })
    });
    let gone = old.upstreams().flat_map(|upstream| {
        let after = new.upstream(upstream.name());
        let config = after.map_or(&upstream.config, |after| &after.config);
        let gone = upstream
            .members
            .iter()
            .filter(move |member| after.is_none_or(|after| after.member(&member.id).is_none()));
        gone.map(|member| SwapEffect {
            key: (upstream.name().clone(), member.id.clone()),
            wanted: config.drain.on_removal,
            by: By::Removal,
            profile: Profile::from(&config.drain),
        })
    });
    kept.chain(gone)
}
