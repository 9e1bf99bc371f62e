//! An upstream of a routing table: its members with their live state, and the choice among them.
//! The balancer gives the order of candidates; this file decides their eligibility.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::base::addr::BackendAddr;
use crate::base::names::{BackendId, UpstreamName};
use crate::config::snapshot::{self, AdminState};
use crate::core::balance::{Balancer, Candidate, Members, Passed};
use crate::core::health::{BackendState, Health, Occupancy, may_eject, panicking};
use crate::core::routing::digest::{digest_of, same_config};
use crate::core::routing::residents::Residents;

/// A group of backends with one balancing policy.
#[derive(Debug)]
pub struct Upstream {
    /// What the operator wrote.
    pub config: Arc<snapshot::Upstream>,
    /// Sorted by id; indexes of `pick` and `explain` are places in here.
    pub members: Vec<Member>,
    balancer: Arc<Balancer>,
    digest: u128,
}

/// One backend of an upstream.
#[derive(Debug)]
pub struct Member {
    /// Its placement depends on it (I2).
    pub id: BackendId,
    /// Where it is.
    pub address: BackendAddr,
    /// Share relative to the others, at least 1.
    pub weight: u32,
    /// Shown only.
    pub zone: Option<Arc<str>>,
    /// Shown only.
    pub labels: BTreeMap<String, String>,
    /// The configured admin state; see `admin_state()` for the effective one.
    pub configured: AdminState,
    /// Its live state, shared with every table that has this backend, and with its sessions.
    pub state: Arc<BackendState>,
}

/// What a table is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be swapped in: the states of backends take over new settings.
    Swap,
    /// To be looked at: nothing that is in force notices.
    Trial,
}

/// The walk of a pick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// So few members are well that health is ignored.
    pub panicking: bool,
    /// In the order tried; the last one is chosen, unless none is eligible.
    pub candidates: Vec<Candidate>,
}

impl Upstream {
    /// Whether it is that of routes without a backend.
    pub fn is_broker(&self) -> bool {
        self.name().as_str() == snapshot::BROKER_UPSTREAM
    }

    /// See `RoutingTable::compile`. A ring is reused if it would not change: draining a backend,
    /// for example, builds none.
    pub(super) fn compile(
        config: &Arc<snapshot::Upstream>,
        previous: Option<&Arc<Self>>,
        residents: &Residents,
        now: Instant,
        purpose: Purpose,
    ) -> Arc<Self> {
        if let Some(same) = previous.filter(|previous| same_config(&previous.config, config)) {
            return Arc::clone(same);
        }
        let members = config.backends.iter().map(|backend| {
            let before = previous.and_then(|upstream| upstream.member(&backend.id));
            // All that a new upstream has are new; none has to be spared.
            let known = |before: &&Member| before.address == backend.address;
            let newcomer = previous.is_some() && before.filter(known).is_none();
            let occupancy = || match purpose {
                Purpose::Swap => {
                    residents.occupancy(&config.name, &backend.id, Some(&backend.address))
                }
                Purpose::Trial => residents
                    .look(&config.name, &backend.id)
                    .unwrap_or_else(|| Arc::new(Occupancy::new(backend.id.clone()))),
            };
            Member::compile(backend, config, (before, newcomer), occupancy, now, purpose)
        });
        let weights = weights(config);
        let kept = previous.filter(|previous| {
            previous.config.policy == config.policy
                && previous.config.bounded_load == config.bounded_load
                && self::weights(&previous.config) == weights
        });
        let balancer = match kept {
            Some(previous) => Arc::clone(&previous.balancer),
            None => Arc::new(Balancer::new(config.policy, config.bounded_load, &weights)),
        };
        Arc::new(Self {
            members: members.collect(),
            digest: digest_of(&**config),
            config: Arc::clone(config),
            balancer,
        })
    }

    /// Its name.
    pub fn name(&self) -> &UpstreamName {
        &self.config.name
    }

    /// Its part of the table's digest.
    pub(super) fn digest(&self) -> u128 {
        self.digest
    }

    /// The member with that id.
    pub fn member(&self, id: &BackendId) -> Option<&Member> {
        let place = self
            .members
            .binary_search_by(|member| member.id.cmp(id))
            .ok()?;
        Some(&self.members[place])
    }

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
        self.balancer.pick(key, &eligible, random)
    }

    /// The same for a session, which a backend that has as many as it may does not get.
    pub fn pick_for_session(
        &self,
        key: Option<&[u8]>,
        tried: &[usize],
        now: Instant,
        random: u64,
    ) -> Option<usize> {
        let eligible = Eligible::new(self, tried, now).for_session();
        self.balancer.pick(key, &eligible, random)
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
        self.balancer.pick_noting(key, &eligible, random, note)
    }

    /// The member that owns a key now, regardless of load. `None` if the policy does not place by
    /// key, or no member is eligible.
    pub fn home(&self, key: &[u8], now: Instant) -> Option<usize> {
        let eligible = Eligible::new(self, &[], now);
        let home = self.balancer.owner(key, &eligible)?;
        // With bounded load, a session that moves home must also be placed there.
        let loads =
            self.config.bounded_load.is_some() || self.config.sessions_per_backend.is_some();
        let arrives = !loads || self.pick_for_session(Some(key), &[], now, 0) == Some(home);
        arrives.then_some(home)
    }

    /// Whether keys decide where sessions go.
    pub fn is_keyed(&self) -> bool {
        self.balancer.is_keyed()
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

    /// The place of the member with that id.
    pub fn index_of(&self, id: &BackendId) -> Option<usize> {
        self.members
            .binary_search_by(|member| member.id.cmp(id))
            .ok()
    }

    /// What speaks against moving sessions about now.
    pub fn unrest(&self, now: Instant) -> Option<&'static str> {
        let active = || self.active();
        if self.panicking(now) {
            Some("so few backends are well that health is ignored")
        } else if active().any(|member| member.state.health() == Health::Unhealthy) {
            Some("a backend is unhealthy")
        } else if active().any(|member| member.state.ejected(now)) {
            Some("a backend is ejected")
        } else {
            let mut draining = self.members.iter();
            draining
                .any(|member| {
                    member.admin_state() == AdminState::Draining && member.state.sessions() > 0
                })
                .then_some("a backend is draining")
        }
    }

    /// Whether a backend has not its whole share yet.
    pub fn wakes(&self, now: Instant) -> bool {
        self.active().any(|member| self.awake(member, now) < 1.0)
    }

    /// Which part of its share a member takes, in 0..=1.
    pub fn awake(&self, member: &Member, now: Instant) -> f64 {
        let slow_start = self.config.slow_start;
        slow_start.map_or(1.0, |time| member.state.awake(time, now))
    }

    /// The walk of `pick_for_session` for the same arguments.
    pub fn explain(&self, key: Option<&[u8]>, tried: &[usize], now: Instant, random: u64) -> Walk {
        let eligible = Eligible::new(self, tried, now).for_session();
        Walk {
            panicking: eligible.panicking(),
            candidates: self.balancer.walk(key, &eligible, random),
        }
    }

    /// Whether so few of the active members are well that health is ignored. Asks each.
    pub fn panicking(&self, now: Instant) -> bool {
        let active = || self.active();
        let well = active().filter(|member| member.unwell(now).is_none());
        panicking(active().count(), well.count(), self.config.panic_threshold)
    }

    /// Whether a failure may eject one more of the active members (`ejected_share_max`). Asks each,
    /// so it is for failures only.
    pub fn may_eject(&self, now: Instant) -> bool {
        let ejected = self.active().filter(|member| member.state.ejected(now));
        let share_max = self.config.passive.ejected_share_max;
        may_eject(self.active().count(), ejected.count(), share_max)
    }

    /// Which share of the keys each member holds while all are eligible, in 0..=1, in the order of
    /// `members`.
    pub fn shares(&self) -> Vec<f64> {
        self.balancer.shares()
    }

    fn active(&self) -> impl Iterator<Item = &Member> {
        let members = self.members.iter();
        members.filter(|member| member.admin_state() == AdminState::Active)
    }
}

/// What a ring is built from.
fn weights(config: &snapshot::Upstream) -> Vec<(BackendId, u32)> {
    let backends = config.backends.iter();
    backends
        .map(|backend| (backend.id.clone(), backend.weight))
        .collect()
}

impl Member {
    fn compile(
        backend: &snapshot::Backend,
        upstream: &snapshot::Upstream,
        (before, newcomer): (Option<&Self>, bool),
        occupancy: impl FnOnce() -> Arc<Occupancy>,
        now: Instant,
        purpose: Purpose,
    ) -> Self {
        let (probe, passive) = (upstream.probe.as_ref(), &upstream.passive);
        let state = match before.filter(|before| before.address == backend.address) {
            Some(before) => {
                if purpose == Purpose::Swap {
                    before.state.configure(probe, passive);
                }
                Arc::clone(&before.state)
            }
            // Possibly another process at this address: health starts over. The count of sessions
            // stays.
            None => Arc::new(BackendState::with(occupancy(), probe, passive, now)),
        };
        // One that is taken in again, or that its upstream had not before.
        let returns = before.is_some_and(|before| before.configured != AdminState::Active);
        if purpose == Purpose::Swap && backend.state == AdminState::Active && (returns || newcomer)
        {
            state.wake(now);
        }
        Self {
            id: backend.id.clone(),
            address: backend.address.clone(),
            weight: backend.weight,
            zone: backend.zone.clone(),
            labels: backend.labels.clone(),
            configured: backend.state,
            state,
        }
    }

    /// The effective admin state: that ordered by the admin API, else the configured one.
    pub fn admin_state(&self) -> AdminState {
        self.state.ordered().unwrap_or(self.configured)
    }

    /// What speaks against it unless the upstream panics.
    fn unwell(&self, now: Instant) -> Option<Passed> {
        if self.state.health() == Health::Unhealthy {
            Some(Passed::Unhealthy)
        } else {
            self.state.ejected(now).then_some(Passed::Ejected)
        }
    }
}

/// Who may take one request.
struct Eligible<'u> {
    upstream: &'u Upstream,
    tried: &'u [usize],
    now: Instant,
    /// The session limit of a member; applies to sessions only.
    sessions_max: Option<u64>,
    /// Counted when the walk first meets a member that is not well: mostly it meets none.
    panicking: OnceCell<bool>,
}

impl<'u> Eligible<'u> {
    fn new(upstream: &'u Upstream, tried: &'u [usize], now: Instant) -> Self {
        Self {
            upstream,
            tried,
            now,
            sessions_max: None,
            panicking: OnceCell::new(),
        }
    }

    fn for_session(self) -> Self {
        Self {
            sessions_max: self.upstream.config.sessions_per_backend,
            ..self
        }
    }

    fn panicking(&self) -> bool {
        *self
            .panicking
            .get_or_init(|| self.upstream.panicking(self.now))
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
}
