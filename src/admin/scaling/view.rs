//! What a scaler is told of an upstream, by one gateway or summed up over several.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::snapshot::{AdminState, Scaling};
use crate::core::health::Health;
use crate::core::routing::{Removed, Upstream};
use crate::core::scaling::{Demand, Seen, Targets};

/// What part of `sessions_per_backend` a backend should have where no target is set.
const SHARE_OF_LIMIT: (u64, u64) = (3, 4);

/// The load of an upstream, and how many backends it should have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ScalingView {
    /// Its name.
    pub upstream: String,
    /// Gateways whose sessions are counted.
    pub gateways: u64,
    /// Gateways that did not answer. As long as there is one, the upstream does not shrink.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
    /// Live, those on backends that drain or have left among them.
    pub sessions: u64,
    /// The most of the last `scaling.scale_in_after`; of several gateways the sum of theirs.
    pub sessions_peak: u64,
    /// Sessions that begin in a second, over the last minute.
    pub sessions_per_second: f64,
    /// Whether the load has been watched for the whole of `scaling.scale_in_after`; if not, the
    /// upstream does not shrink.
    pub watched: bool,
    /// Sessions that a backend should have; null if neither `scaling.sessions_target` nor
    /// `sessions_per_backend` is set.
    pub sessions_target: Option<u64>,
    /// Sessions that the backends that are well may have by `sessions_per_backend`; null if that is
    /// not set.
    pub capacity: Option<u64>,
    /// Part of the capacity that is taken.
    pub utilization: Option<f64>,
    /// Backends that take sessions.
    pub backends_well: u64,
    /// Backends that are unhealthy, ejected or disabled.
    pub backends_unwell: u64,
    /// Backends that drain, or have left the upstream, and still have sessions.
    pub backends_draining: u64,
    /// How many backends there should be, those that are unwell or draining among them; null
    /// without a target.
    pub backends_desired: Option<u64>,
    /// Why: `steady`, `grow`, `shrink`, `unsure` (it might shrink, but not everything is known),
    /// `at_min` or `at_max`.
    pub why: Option<String>,
    /// The backends, by id; only where one upstream is asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<ScalingMember>,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScalingMember {
    /// Its id.
    pub id: String,
    /// Its zone.
    #[serde(default)]
    pub zone: Option<String>,
    /// How it stands.
    pub state: MemberState,
    /// Live, of the gateways that are counted.
    pub sessions: u64,
}

/// How a backend stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum MemberState {
    /// It takes sessions.
    Well,
    /// It is unhealthy, ejected or disabled.
    Unwell,
    /// It is left by its sessions.
    Draining,
    /// It is no member any more, and has sessions.
    Removed,
}

impl ScalingView {
    /// What this gateway has, nothing decided.
    pub(super) fn of(
        upstream: &Upstream,
        removed: &[Removed],
        seen: Seen,
        now: std::time::Instant,
    ) -> Self {
        let members = upstream.members.iter().map(|member| ScalingMember {
            id: member.id.to_string(),
            zone: member.zone.as_deref().map(str::to_owned),
            state: match member.admin_state() {
                AdminState::Draining => MemberState::Draining,
                AdminState::Disabled => MemberState::Unwell,
                AdminState::Active if member.state.health() == Health::Unhealthy => {
                    MemberState::Unwell
                }
                AdminState::Active if member.state.ejected(now) => MemberState::Unwell,
                AdminState::Active => MemberState::Well,
            },
            sessions: member.state.sessions(),
        });
        let removed = removed
            .iter()
            .filter(|one| one.upstream == *upstream.name());
        let removed = removed.map(|one| ScalingMember {
            id: one.id.to_string(),
            zone: None,
            state: MemberState::Removed,
            sessions: one.occupancy.sessions(),
        });
        let members: Vec<_> = members.chain(removed).collect();
        let sessions = members.iter().map(|one| one.sessions).sum();
        Self {
            upstream: upstream.name().to_string(),
            gateways: 1,
            sessions,
            sessions_peak: seen.peak.max(sessions),
            sessions_per_second: (seen.per_second * 100.0).round() / 100.0,
            watched: seen.whole,
            members,
            ..Self::default()
        }
    }

    /// Adds what another gateway has. It was written by another process: sums do not overflow, and
    /// a backend that drains anywhere drains.
    pub(super) fn add(&mut self, other: Self) {
        self.gateways = self.gateways.saturating_add(1);
        self.sessions = self.sessions.saturating_add(other.sessions);
        self.sessions_peak = self.sessions_peak.saturating_add(other.sessions_peak);
        self.sessions_per_second += other.sessions_per_second.max(0.0);
        self.watched &= other.watched;
        let mut members: BTreeMap<String, ScalingMember> = BTreeMap::new();
        let own = std::mem::take(&mut self.members);
        members.extend(own.into_iter().map(|one| (one.id.clone(), one)));
        for one in other.members {
            match members.get_mut(&one.id) {
                Some(known) => {
                    known.sessions = known.sessions.saturating_add(one.sessions);
                    if one.state == MemberState::Draining && known.state < MemberState::Draining {
                        known.state = MemberState::Draining;
                    }
                }
                // A member of another table is one that has left this one.
                None => {
                    let state = MemberState::Removed;
                    members.insert(one.id.clone(), ScalingMember { state, ..one });
                }
            }
        }
        self.members = members.into_values().collect();
    }

    /// Counts the backends and decides.
    pub(super) fn decide(&mut self, scaling: &Scaling, sessions_per_backend: Option<u64>) {
        let count = |fits: &dyn Fn(&ScalingMember) -> bool| {
            self.members.iter().filter(|one| fits(one)).count() as u64
        };
        let well = count(&|one| one.state == MemberState::Well);
        let unwell = count(&|one| one.state == MemberState::Unwell);
        let draining = count(&|one| one.state >= MemberState::Draining && one.sessions > 0);
        let limit = sessions_per_backend.map(|limit| limit.saturating_mul(self.gateways));
        let of_limit = |limit: u64| {
            let (part, whole) = SHARE_OF_LIMIT;
            (limit.saturating_mul(part) / whole).max(1)
        };
        self.sessions_target = scaling.sessions_target.or_else(|| limit.map(of_limit));
        self.capacity = limit.map(|limit| limit.saturating_mul(well));
        self.utilization = self.capacity.map(|capacity| {
            let part = self.sessions as f64 / capacity.max(1) as f64;
            (part * 1000.0).round() / 1000.0
        });
        let demand = Demand {
            sessions: self.sessions,
            peak: self.sessions_peak,
            well,
            unwell,
            draining,
            partial: !self.watched || !self.silent.is_empty(),
        };
        let desired = self.sessions_target.map(|sessions| {
            demand.desired(&Targets {
                sessions,
                backends_min: scaling.backends_min.into(),
                backends_max: scaling.backends_max.into(),
                margin: scaling.scale_in_margin,
            })
        });
        self.backends_well = well;
        self.backends_unwell = unwell;
        self.backends_draining = draining;
        self.backends_desired = desired.map(|desired| desired.backends);
        self.why = desired.map(|desired| desired.why.as_str().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn view(sessions: &[(&str, MemberState, u64)]) -> ScalingView {
        let members = sessions.iter().map(|(id, state, sessions)| ScalingMember {
            id: (*id).to_owned(),
            zone: None,
            state: *state,
            sessions: *sessions,
        });
        let members: Vec<_> = members.collect();
        let sessions = members.iter().map(|one| one.sessions).sum();
        ScalingView {
            upstream: "chat".to_owned(),
            gateways: 1,
            sessions,
            sessions_peak: sessions,
            sessions_per_second: 1.5,
            watched: true,
            members,
            ..ScalingView::default()
        }
    }

    const SCALING: Scaling = Scaling {
        sessions_target: Some(10),
        backends_min: 1,
        backends_max: 100,
        scale_in_after: Duration::from_secs(600),
        scale_in_margin: 0.1,
    };

    #[test]
    fn gateways_are_summed_up_and_what_drains_anywhere_drains() {
        use MemberState::{Draining, Removed, Unwell, Well};
        let mut fleet = view(&[("a", Well, 5), ("b", Well, 6), ("c", Unwell, 0)]);
        fleet.add(view(&[("a", Well, 4), ("b", Draining, 9), ("d", Well, 1)]));
        let states: Vec<_> = fleet
            .members
            .iter()
            .map(|one| (&*one.id, one.state, one.sessions))
            .collect();
        let expected = [
            ("a", Well, 9),
            ("b", Draining, 15),
            ("c", Unwell, 0),
            ("d", Removed, 1),
        ];
        assert_eq!(states, expected);
        assert_eq!(
            (fleet.sessions, fleet.gateways, fleet.sessions_per_second),
            (25, 2, 3.0)
        );
        fleet.decide(&SCALING, Some(8));
        // 25 sessions need three; one is replaced, two are not empty yet.
        assert_eq!(
            (fleet.backends_desired, fleet.why.as_deref()),
            (Some(6), Some("grow"))
        );
        assert_eq!((fleet.capacity, fleet.utilization), (Some(16), Some(1.563)));
        // A number of another process ends nothing.
        let mut huge = view(&[("a", Well, u64::MAX)]);
        huge.add(view(&[("a", Well, u64::MAX)]));
        huge.decide(&SCALING, Some(u64::MAX));
        assert_eq!(huge.backends_desired, Some(100));
    }

    #[test]
    fn without_a_target_the_limit_of_a_backend_is_one() {
        let mut one = view(&[("a", MemberState::Well, 10)]);
        let unset = Scaling {
            sessions_target: None,
            ..SCALING
        };
        one.decide(&unset, None);
        assert_eq!(
            (one.sessions_target, one.backends_desired, one.why.clone()),
            (None, None, None)
        );
        one.decide(&unset, Some(8));
        assert_eq!(
            (one.sessions_target, one.backends_desired),
            (Some(6), Some(2))
        );
        one.silent = vec!["edge-2".to_owned()];
        one.sessions = 0;
        one.decide(&unset, Some(8));
        assert_eq!(one.backends_desired, Some(1));
    }
}
