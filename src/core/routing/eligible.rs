//! Who may take one request: what a balancer sees of an upstream's members at one moment.

use std::cell::OnceCell;
use std::time::Instant;

use crate::config::snapshot::AdminState;
use crate::core::balance::{Members, Passed, Standing};
use crate::core::routing::failover::Condition;
use crate::core::routing::upstream::Upstream;

/// Who may take one request.
pub(super) struct Eligible<'u> {
    upstream: &'u Upstream,
    tried: &'u [usize],
    now: Instant,
    /// The session limit of a member; applies to sessions only.
    sessions_max: Option<u64>,
    /// Counted when the walk first meets a member that is not well: mostly it meets none.
    condition: OnceCell<Condition>,
}

impl<'u> Eligible<'u> {
    pub(super) fn new(upstream: &'u Upstream, tried: &'u [usize], now: Instant) -> Self {
        Self {
            upstream,
            tried,
            now,
            sessions_max: None,
            condition: OnceCell::new(),
        }
    }

    /// For a session, which a backend that has as many as it may does not get.
    pub(super) fn for_session(self) -> Self {
        Self {
            sessions_max: self.upstream.config.sessions_per_backend,
            ..self
        }
    }

    pub(super) fn panicking(&self) -> bool {
        self.condition().panicking
    }

    fn condition(&self) -> &Condition {
        let condition = || self.upstream.condition(self.now);
        self.condition.get_or_init(condition)
    }
}

impl Members for Eligible<'_> {
    fn len(&self) -> usize {
        self.upstream.members.len()
    }

    fn sessions(&self, index: usize) -> u64 {
        self.upstream.members[index].state.sessions()
    }

    fn verdict(&self, index: usize) -> Result<(), Passed> {
        let member = &self.upstream.members[index];
        match member.admin_state() {
            AdminState::Active => {}
            AdminState::Draining => return Err(Passed::Draining),
            AdminState::Disabled => return Err(Passed::Disabled),
        }
        if self.tried.contains(&index) {
            return Err(Passed::Tried);
        }
        let sessions = self.sessions(index);
        if self.sessions_max.is_some_and(|most| sessions >= most) {
            return Err(Passed::Full);
        }
        match member.unwell(self.now) {
            Some(reason) if !self.panicking() => Err(reason),
            _ => Ok(()),
        }
    }

    fn awake(&self, index: usize) -> f64 {
        let awake = self.upstream.awake(&self.upstream.members[index], self.now);
        // Slow start does not apply in a panic.
        if awake < 1.0 && self.panicking() {
            1.0
        } else {
            awake
        }
    }

    fn standing(&self, index: usize) -> Standing {
        let member = &self.upstream.members[index];
        match member.admin_state() {
            AdminState::Draining => Standing::Out,
            // `sessile register` disables a backend that fails its probe.
            AdminState::Disabled => Standing::Unwell,
            AdminState::Active => match member.unwell(self.now) {
                Some(_) if !self.panicking() => Standing::Unwell,
                _ => Standing::Well,
            },
        }
    }

    fn passes_on(&self, level: usize) -> f64 {
        let share_min = self.upstream.config.failover.healthy_share_min;
        self.condition().levels[level].passes_on(share_min)
    }
}
