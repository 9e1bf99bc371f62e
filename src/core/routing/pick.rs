//! The choice among the members of an upstream. The balancers of its levels give the order of
//! candidates; `eligible` decides who may take one request.

use std::time::Instant;

use crate::core::balance::{Candidate, Members, Passed};
use crate::core::routing::eligible::Eligible;
use crate::core::routing::upstream::Upstream;

/// The walk of a pick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// So few members are well that health is ignored.
    pub panicking: bool,
    /// In the order tried; the last one is chosen, unless none is eligible.
    pub candidates: Vec<Candidate>,
    /// The levels that passed the key on, as bits.
    pub passed_on: u32,
}

impl Upstream {
    /// The member that gets a session or request with this affinity key. `tried` are those that
    /// failed for it already. `random` must be drawn for each request; it places those without a
    /// key. `None` if no member is eligible.
    pub fn pick(
        &self,
        key: Option<&[u8]>,
        tried: &[usize],
        now: Instant,
        random: u64,
    ) -> Option<usize> {
        let eligible = Eligible::new(self, tried, now);
        self.levels().pick_noting(key, &eligible, random, |_, _| {})
    }

    /// The same for a session, which a backend that has as many as it may does not get.
    pub fn pick_for_session(
        &self,
        key: Option<&[u8]>,
        tried: &[usize],
        now: Instant,
        random: u64,
    ) -> Option<usize> {
        self.pick_for_session_noting(key, tried, now, random, |_, _| {})
    }

    /// The same; calls `note` for each member that is passed over on the way.
    pub fn pick_for_session_noting(
        &self,
        key: Option<&[u8]>,
        tried: &[usize],
        now: Instant,
        random: u64,
        note: impl FnMut(usize, Passed),
    ) -> Option<usize> {
        let eligible = Eligible::new(self, tried, now).for_session();
        self.levels().pick_noting(key, &eligible, random, note)
    }

    /// The member that owns a key now, regardless of load. `None` if the policy does not place by
    /// key, or no member is eligible.
    pub fn home(&self, key: &[u8], now: Instant) -> Option<usize> {
        let eligible = Eligible::new(self, &[], now);
        let home = self.levels().owner(key, &eligible)?;
        // With bounded load, a session that moves home must also be placed there.
        let loads =
            self.config.bounded_load.is_some() || self.config.sessions_per_backend.is_some();
        let arrives = !loads || self.pick_for_session(Some(key), &[], now, 0) == Some(home);
        arrives.then_some(home)
    }

    /// Whether that member may take a session or request for which `tried` failed.
    pub fn may_take(&self, index: usize, tried: &[usize], now: Instant, session: bool) -> bool {
        let eligible = Eligible::new(self, tried, now);
        let eligible = if session {
            eligible.for_session()
        } else {
            eligible
        };
        eligible.verdict(index).is_ok()
    }

    /// The walk of `pick_for_session` for the same arguments.
    pub fn explain(&self, key: Option<&[u8]>, tried: &[usize], now: Instant, random: u64) -> Walk {
        let eligible = Eligible::new(self, tried, now).for_session();
        let walk = self.levels().walk(key, &eligible, random);
        Walk {
            panicking: eligible.panicking(),
            candidates: walk.steps,
            passed_on: walk.passed_on,
        }
    }
}
