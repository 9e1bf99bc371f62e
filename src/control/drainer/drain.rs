//! One drain: its plan, and what an operator changes of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::base::clock;
use crate::base::names::{BackendId, UpstreamName};
use crate::config::snapshot::{AdminState, Tempo};
use crate::core::session::drain::{Candidate, Millis, Plan, Profile, idle_first};
use crate::live::SessionBrief;

/// Between two looks at who is there.
pub(in crate::control) const LIST_EVERY: Millis = 2_000;
/// The same once all have gone.
const LIST_AFTER_EVERY: Millis = 10_000;

/// A backend of an upstream.
pub(in crate::control) type BackendKey = (UpstreamName, BackendId);

/// One backend's.
pub(super) struct Drain {
    pub(super) plan: Plan,
    /// As it was begun; orders may have changed the plan's.
    pub(super) profile: Profile,
    pub(super) by: By,
    /// Who ordered it, if an operator did.
    pub(super) operator: Option<Arc<str>>,
    pub(super) started: SystemTime,
    /// The end was logged.
    pub(super) logged_done: bool,
    /// When it looked last.
    pub(super) looked: Option<Millis>,
    /// It was ordered when the backend had left already; the order ends with the last session.
    pub(super) of_removed: bool,
}

/// The origin of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// An order by the admin API.
    Operator,
    /// The configuration: a file, etcd.
    Configuration,
    /// The backend left its upstream, which has `drain.on_removal`.
    Removal,
}

impl By {
    /// The word that the log and the admin API show.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Configuration => "configuration",
            Self::Removal => "removal",
        }
    }
}

/// An order of an operator for a backend; absent fields stay unchanged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Order {
    /// `Some(None)`: as configured.
    pub state: Option<Option<AdminState>>,
    /// How fast.
    pub tempo: Option<Tempo>,
    /// After this time the rest go at once.
    pub deadline: Option<Duration>,
    /// Pauses or resumes.
    pub paused: Option<bool>,
    /// Who gives it.
    pub operator: Option<Arc<str>>,
}

impl Drain {
    pub(super) fn new(profile: Profile, by: By, now: Millis) -> Self {
        Self {
            plan: Plan::new(profile, now, fastrand::u64(..)),
            profile,
            by,
            operator: None,
            started: clock::wall(),
            logged_done: false,
            looked: None,
            of_removed: false,
        }
    }

    /// Continues with the current configuration; an operator's choices stay.
    pub(super) fn follow(&mut self, profile: Profile, ordered: bool, now: Millis) {
        let chosen = ordered || self.by == By::Operator;
        if !chosen && self.profile != profile {
            self.profile = profile;
            self.plan.set_profile(profile, now);
        }
    }

    pub(super) fn change(&mut self, order: &Order, now: Millis) {
        if order.tempo.is_some() || order.deadline.is_some() {
            let before = *self.plan.profile();
            let profile = Profile {
                tempo: order.tempo.unwrap_or(before.tempo),
                deadline: order.deadline.or(before.deadline),
                ..before
            };
            self.plan.set_profile(profile, now);
        }
        match order.paused {
            Some(true) => self.plan.pause(now),
            Some(false) => self.plan.resume(now),
            None => {}
        }
    }

    pub(super) fn wants_a_look(&mut self, now: Millis) -> bool {
        let between = if self.logged_done {
            LIST_AFTER_EVERY
        } else {
            LIST_EVERY
        };
        self.looked.is_none_or(|looked| now - looked >= between)
    }

    /// Takes in who is there. A drain is done only if that is everybody (`all_seen`).
    pub(super) fn look(
        &mut self,
        (upstream, backend): &BackendKey,
        briefs: &[SessionBrief],
        all_seen: bool,
        now: Millis,
    ) {
        self.looked = Some(now);
        let mut candidates: Vec<_> = briefs.iter().map(candidate).collect();
        idle_first(&mut candidates);
        self.plan.survey(&candidates);
        let done = self.plan.is_done() && candidates.is_empty() && all_seen;
        if done && !self.logged_done {
            let progress = self.plan.progress();
            let (closed, moved) = (progress.closed, progress.moved);
            tracing::info!(%upstream, %backend, closed, moved, "drained");
        }
        self.logged_done = done;
    }
}

/// As plans see it.
fn candidate(brief: &SessionBrief) -> Candidate {
    Candidate {
        id: brief.id,
        idle: brief.idle,
        movable: brief.movable,
        busy: brief.busy,
    }
}
