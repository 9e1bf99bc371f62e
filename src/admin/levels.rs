//! The levels of an upstream as the admin API shows them: which backends are preferred, and how
//! much of its keys each level takes now.

use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::core::routing::{LevelState, Upstream, level_name};

/// Backends of one priority that are in the node's zone, or outside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LevelView {
    /// `zone a`, `other zones`, `priority 1`, …
    pub name: String,
    /// Of its backends.
    pub priority: u8,
    /// Whether its backends are in the node's zone; null if zones do not matter.
    pub own_zone: Option<bool>,
    /// How many backends it has.
    pub members: usize,
    /// Those of them that are draining: the level does without them.
    pub draining: usize,
    /// Those of the others that may take sessions: not disabled, healthy, not ejected.
    pub well: usize,
    /// Which part of the keys that reach it the level takes, 0 to 1; the rest goes to the next
    /// level.
    pub takes: f64,
    /// Live.
    pub sessions: u64,
}

impl LevelView {
    /// The first level passes keys on.
    pub(super) fn is_short(&self) -> bool {
        self.takes < 1.0
    }

    /// How well it is, for people.
    pub(super) fn condition(&self) -> String {
        let Self { well, .. } = self;
        match self.members - self.draining {
            0 => "all of its backends are draining".to_owned(),
            others => format!("{well} of {others} backends are well"),
        }
    }
}

/// The levels by preference; none if there is only one.
pub(super) fn levels(upstream: &Upstream, now: Instant) -> Vec<LevelView> {
    if !upstream.has_levels() {
        return Vec::new();
    }
    let zone = upstream.preferred_zone();
    let states = upstream.level_states(now).into_iter();
    states.map(|state| view(&state, zone)).collect()
}

fn view(state: &LevelState, zone: Option<&str>) -> LevelView {
    LevelView {
        name: level_name(state.preference, zone),
        priority: state.preference.priority,
        own_zone: zone.map(|_| !state.preference.elsewhere),
        members: state.members,
        draining: state.draining,
        well: state.well,
        takes: thousandths(state.takes),
        sessions: state.sessions,
    }
}

/// A part of all.
pub(super) fn thousandths(part: f64) -> f64 {
    (part * 1000.0).round() / 1000.0
}
