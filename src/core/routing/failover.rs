//! The levels of an upstream and how well each is now. Which key goes to which level is decided in
//! `core::balance`.

use std::time::Instant;

use smallvec::{SmallVec, smallvec};

use crate::config::snapshot::{AdminState, ZonePreference};
use crate::core::balance::{LevelHealth, Preference};
use crate::core::health::panicking;
use crate::core::routing::upstream::Upstream;
use crate::core::session::details::{PlacedLevel, SpillTo};

/// How well an upstream is at one moment.
pub(super) struct Condition {
    /// So few members are well that health is ignored.
    pub(super) panicking: bool,
    /// In a panic all count as well.
    pub(super) levels: SmallVec<[LevelHealth; 2]>,
}

/// A level at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LevelState {
    /// What its members have in common.
    pub preference: Preference,
    /// How many it has.
    pub members: usize,
    /// Those of them that are on their way out, and not missed.
    pub draining: usize,
    /// Those of the others that may take sessions.
    pub well: usize,
    /// Which part of the keys that reach it the level takes, in 0..=1.
    pub takes: f64,
    /// Live.
    pub sessions: u64,
}

/// What people read of a level: `zone a`, `other zones, priority 1`, `priority 1`.
pub fn level_name(preference: Preference, zone: Option<&str>) -> String {
    let priority = preference.priority;
    let place = match (zone, preference.elsewhere) {
        (None, _) => return format!("priority {priority}"),
        (Some(zone), false) => format!("zone {zone}"),
        (Some(_), true) => "other zones".to_owned(),
    };
    match priority {
        0 => place,
        _ => format!("{place}, priority {priority}"),
    }
}

impl Upstream {
    /// Asks each member.
    pub(super) fn condition(&self, now: Instant) -> Condition {
        let count = self.levels().count();
        let mut levels: SmallVec<[LevelHealth; 2]> = smallvec![LevelHealth::default(); count];
        // Active members, and those of them that are well.
        let mut counts: SmallVec<[(usize, usize); 2]> = smallvec![(0, 0); count];
        for (index, member) in self.members.iter().enumerate() {
            let (state, place) = (member.admin_state(), self.levels().of(index));
            let (level, (active, well)) = (&mut levels[place], &mut counts[place]);
            if state != AdminState::Draining {
                level.weight += u64::from(member.weight);
            }
            if state == AdminState::Active {
                *active += 1;
                if member.unwell(now).is_none() {
                    *well += 1;
                    level.well += u64::from(member.weight);
                }
            }
        }
        // A level that is well enough is a better resort than backends that are not.
        let threshold = self.config.panic_threshold;
        let mut used = counts.iter().filter(|(active, _)| *active > 0).peekable();
        let panicking = used.peek().is_some()
            && used.all(|(active, well)| panicking(*active, *well, threshold));
        if panicking {
            levels
                .iter_mut()
                .for_each(|level| level.well = level.weight);
        }
        Condition { panicking, levels }
    }

    /// Whether so few of the active members are well, in every level, that health is ignored. Asks
    /// each.
    pub fn panicking(&self, now: Instant) -> bool {
        self.condition(now).panicking
    }

    /// The levels, by preference; one without zones and priorities.
    pub fn level_states(&self, now: Instant) -> Vec<LevelState> {
        let levels = self.levels();
        let share_min = self.config.failover.healthy_share_min;
        let condition = self.condition(now);
        let state = |(level, health): (usize, &LevelHealth)| {
            let members = || levels.members(level).map(|index| &self.members[index]);
            let of = |state| members().filter(move |one| one.admin_state() == state);
            let active = of(AdminState::Active);
            LevelState {
                preference: levels.preference(level),
                members: members().count(),
                draining: of(AdminState::Draining).count(),
                well: active.filter(|one| one.unwell(now).is_none()).count(),
                takes: health.takes(share_min),
                sessions: members().map(|one| one.state.sessions()).sum(),
            }
        };
        condition.levels.iter().enumerate().map(state).collect()
    }

    /// Which part of the keys the first level passes on now, in 0..=1.
    pub fn spills(&self, now: Instant) -> f64 {
        if self.levels().count() == 1 {
            return 0.0;
        }
        let share_min = self.config.failover.healthy_share_min;
        1.0 - self.condition(now).levels[0].takes(share_min)
    }

    /// Where a member is among the levels; `None` if there is one.
    pub fn placed_level(&self, index: usize) -> Option<PlacedLevel> {
        if !self.has_levels() {
            return None;
        }
        let (member, level) = (&self.members[index], self.level_of(index));
        let to = match member.priority == self.preference(0).priority {
            true => SpillTo::Zone,
            false => SpillTo::Priority,
        };
        Some(PlacedLevel {
            zone: member.zone.as_deref().map(Into::into),
            priority: member.priority,
            spilled: (level > 0).then_some(to),
        })
    }

    /// Live sessions on members of other levels than the first.
    pub fn spilled(&self) -> u64 {
        let members = self.members.iter().enumerate();
        let beyond = members.filter(|(index, _)| self.level_of(*index) > 0);
        beyond.map(|(_, member)| member.state.sessions()).sum()
    }

    /// What the members of a level have in common.
    pub fn preference(&self, level: usize) -> Preference {
        self.levels().preference(level)
    }

    /// The level of a member; 0 is the first.
    pub fn level_of(&self, index: usize) -> usize {
        self.levels().of(index)
    }

    /// Whether there is more than one level.
    pub fn has_levels(&self) -> bool {
        self.levels().count() > 1
    }

    /// The zone of the node, if this upstream prefers it.
    pub fn preferred_zone(&self) -> Option<&str> {
        let prefers = self.config.failover.zones == ZonePreference::Prefer;
        self.zone().filter(|_| prefers)
    }
}
