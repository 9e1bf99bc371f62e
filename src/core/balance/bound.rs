//! Bounded load: no member takes more than a multiple of its share of the sessions, so that a hot
//! key, or an unlucky arc of the ring, spills over to the next candidates instead of felling one.

use crate::core::balance::members::Members;

/// Parts of one in which the multiple is kept: whole numbers, so that all gateways round alike.
const PARTS: f64 = 1e6;

/// The multiple.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    parts: u64,
}

/// The eligible members together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crowd {
    sessions: u64,
    weight: u64,
}

impl Crowd {
    pub(super) fn of(members: &impl Members, weights: &[u32]) -> Self {
        let none = Self {
            sessions: 0,
            weight: 0,
        };
        let eligible = (0..weights.len()).filter(|index| members.verdict(*index).is_ok());
        eligible.fold(none, |crowd, index| Self {
            sessions: crowd.sessions + members.sessions(index),
            weight: crowd.weight + u64::from(weights[index]),
        })
    }
}

impl Bound {
    /// `multiple` is at least 1; what is less counts as 1.
    pub(super) fn new(multiple: f64) -> Self {
        Self {
            parts: (multiple.max(1.0) * PARTS).round() as u64,
        }
    }

    /// Sessions that a member of `weight` may have: its share of all sessions including the new
    /// one, times the multiple, rounded up. The shares together exceed the sessions, so at least
    /// one member is always below its bound.
    pub(super) fn sessions_max(self, crowd: Crowd, weight: u32) -> u64 {
        let sessions = u128::from(crowd.sessions) + 1;
        let most = u128::from(self.parts) * sessions * u128::from(weight);
        let whole = PARTS as u128 * u128::from(crowd.weight.max(1));
        u64::try_from(most.div_ceil(whole)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_may_have_a_multiple_of_its_share() {
        let check = |multiple, sessions, weights, weight, expected| {
            let crowd = Crowd {
                sessions,
                weight: weights,
            };
            let found = Bound::new(multiple).sessions_max(crowd, weight);
            assert_eq!(
                found, expected,
                "{multiple} × ({sessions} + 1) × {weight}/{weights}"
            );
        };
        check(1.25, 0, 3, 1, 1);
        check(1.25, 3, 4, 1, 2);
        check(1.0, 3, 4, 1, 1);
        check(1.25, 99, 4, 1, 32);
        check(1.25, 99, 4, 2, 63);
        // 1.1 × 10 is above 11 in floating point.
        check(1.1, 9, 1, 1, 11);
        check(0.1, 9, 1, 1, 10);
        check(f64::NAN, 9, 1, 1, 10);
    }
}
