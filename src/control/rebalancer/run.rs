//! One run of a rebalancing: its rules, its plan, and the surveys that fill the plan.

use std::sync::Arc;
use std::time::SystemTime;

use crate::base::clock;
use crate::config::snapshot::{AdminState, Rebalance, Tempo};
use crate::control::drainer::LIST_EVERY;
use crate::core::routing::Upstream;
use crate::core::session::drain::{Candidate, Millis, Plan, Profile};
use crate::core::session::rebalance::{Move, Place, Resident, Rules, choose};

/// Slots are short and many: a little chance keeps gateways out of step.
const JITTER: f64 = 0.5;

/// The run of one upstream.
pub(super) struct Run {
    pub(super) rules: Rebalance,
    pub(super) plan: Plan,
    /// Who ordered it; `None` for one that began by itself.
    pub(super) operator: Option<Arc<str>>,
    pub(super) started: SystemTime,
    /// Sessions that may move, by `share_max`; set by the first survey.
    pub(super) limit: Option<usize>,
    pub(super) surveyed: Option<Millis>,
    /// What it waits for.
    pub(super) waits: Option<&'static str>,
    pub(super) paused: bool,
    pub(super) end: Option<End>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Done,
    Stopped,
}

impl Run {
    pub(super) fn new(rules: Rebalance, operator: Option<Arc<str>>, now: Millis) -> Self {
        let profile = Profile {
            tempo: Tempo::Pace(rules.pace),
            jitter: JITTER,
            deadline: None,
        };
        Self {
            rules,
            plan: Plan::new(profile, now, fastrand::u64(..)),
            operator,
            started: clock::wall(),
            limit: None,
            surveyed: None,
            waits: None,
            paused: false,
            end: None,
        }
    }

    pub(super) fn hold(&mut self, now: Millis) {
        if self.paused || self.waits.is_some() {
            self.plan.pause(now);
        } else {
            self.plan.resume(now);
        }
    }

    pub(super) fn needs_survey(&mut self, unrest: Option<&'static str>, now: Millis) -> bool {
        self.waits = unrest;
        self.hold(now);
        let rested = self.surveyed.is_none_or(|last| now - last >= LIST_EVERY);
        rested && !self.paused && self.waits.is_none()
    }

    pub(super) fn survey(&mut self, upstream: &Upstream, residents: &[Resident], now: Millis) {
        self.surveyed = Some(now);
        let limit = *self
            .limit
            .get_or_insert_with(|| limit(&self.rules, residents.len()));
        let progress = self.plan.progress();
        let left = limit.saturating_sub(progress.closed + progress.moved);
        let moves = choose(&places(upstream), residents, &bounds(&self.rules, left));
        // Those on their way count as such until they have arrived.
        let busy = residents
            .iter()
            .filter(|one| one.busy)
            .map(|one| Candidate {
                id: one.id,
                idle: one.idle,
                movable: one.movable,
                busy: true,
            });
        let candidates: Vec<_> = moves.iter().map(candidate).chain(busy).collect();
        self.plan.survey(&candidates);
        if self.plan.is_done() && !upstream.wakes(clock::now()) {
            self.end = Some(End::Done);
            let (moved, closed) = (progress.moved, progress.closed);
            tracing::info!(upstream = %upstream.name(), moved, closed, "rebalanced");
        }
    }
}

fn candidate(one: &Move) -> Candidate {
    Candidate {
        id: one.id,
        idle: one.idle,
        movable: one.movable,
        busy: false,
    }
}

pub(super) fn limit(rules: &Rebalance, sessions: usize) -> usize {
    // The rounding is for shares such as 0.29 of 100.
    (rules.share_max * sessions as f64 + 1e-6) as usize
}

pub(super) fn bounds(rules: &Rebalance, limit: usize) -> Rules {
    Rules {
        age_min: rules.age_min,
        skew: rules.skew,
        close: rules.close,
        limit,
    }
}

/// Those that take sessions now have their weight.
pub(super) fn places(upstream: &Upstream) -> Vec<Place> {
    let members = upstream.members.iter().enumerate();
    members
        .map(|(index, member)| Place {
            weight: match member.admin_state() {
                AdminState::Active => member.weight,
                AdminState::Draining | AdminState::Disabled => 0,
            },
            level: upstream.level_of(index),
        })
        .collect()
}
