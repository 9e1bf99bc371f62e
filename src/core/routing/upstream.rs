//! An upstream of a routing table: its members with their live state. `pick` chooses among them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::base::addr::BackendAddr;
use crate::base::names::{BackendId, UpstreamName};
use crate::config::snapshot::{self, AdminState};
use crate::core::balance::{Levels, Passed};
use crate::core::health::{BackendState, Health, Occupancy, may_eject};
use crate::core::routing::digest::{digest_of, same_config};
use crate::core::routing::preference::placed;
use crate::core::routing::residents::Residents;

/// A group of backends with one balancing policy.
#[derive(Debug)]
pub struct Upstream {
    /// What the operator wrote.
    pub config: Arc<snapshot::Upstream>,
    /// Sorted by id; indexes of `pick` and `explain` are places in here.
    pub members: Vec<Member>,
    levels: Arc<Levels>,
    /// Of the node.
    zone: Option<Arc<str>>,
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
    /// Failure zone.
    pub zone: Option<Arc<str>>,
    /// 0 is first.
    pub priority: u8,
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

impl Upstream {
    /// Whether it is that of routes without a backend.
    pub fn is_broker(&self) -> bool {
        self.name().as_str() == snapshot::BROKER_UPSTREAM
    }

    /// See `RoutingTable::compile`. A ring is reused if it would not change: draining a backend,
    /// for example, builds none.
    pub(super) fn compile(
        (config, zone): (&Arc<snapshot::Upstream>, Option<&Arc<str>>),
        previous: Option<&Arc<Self>>,
        residents: &Residents,
        now: Instant,
        purpose: Purpose,
    ) -> Arc<Self> {
        let same = |previous: &&Arc<Self>| {
            same_config(&previous.config, config) && previous.zone.as_ref() == zone
        };
        if let Some(same) = previous.filter(same) {
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
        let placed = placed(config, zone.map(|zone| &**zone));
        let kept = previous.filter(|previous| {
            previous.config.policy == config.policy
                && previous.config.bounded_load == config.bounded_load
                && self::placed(&previous.config, previous.zone()) == placed
        });
        let levels = match kept {
            Some(previous) => Arc::clone(&previous.levels),
            None => Arc::new(Levels::new(config.policy, config.bounded_load, &placed)),
        };
        Arc::new(Self {
            members: members.collect(),
            digest: digest_of(&**config),
            config: Arc::clone(config),
            zone: zone.cloned(),
            levels,
        })
    }

    /// Its name.
    pub fn name(&self) -> &UpstreamName {
        &self.config.name
    }

    /// The zone of the node.
    pub(super) fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// Its members by preference.
    pub(super) fn levels(&self) -> &Levels {
        &self.levels
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

    /// Whether keys decide where sessions go.
    pub fn is_keyed(&self) -> bool {
        self.levels.is_keyed()
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
        self.levels.shares()
    }

    pub(super) fn active(&self) -> impl Iterator<Item = &Member> {
        let members = self.members.iter();
        members.filter(|member| member.admin_state() == AdminState::Active)
    }
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
            priority: backend.priority,
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
    pub(super) fn unwell(&self, now: Instant) -> Option<Passed> {
        if self.state.health() == Health::Unhealthy {
            Some(Passed::Unhealthy)
        } else {
            self.state.ejected(now).then_some(Passed::Ejected)
        }
    }
}
