//! Health of backends: from probes (`tracker`), from traffic (`outlier`), and the live state of a
//! backend that combines both (`backend_state`). Other modules send probes and act on the result.

mod backend_state;
mod occupancy;
mod outlier;
mod streak;
mod tracker;

pub use backend_state::BackendState;
pub use occupancy::Occupancy;
pub use outlier::{Ejection, Outcome, Outlier, Report};
pub use streak::{CLIENTS_MAX, Meanwhile, Streak, Witness};
pub use tracker::{Health, Tracker};

/// Whether so few members are healthy that health is ignored: sending all traffic to the last few
/// would overload them too.
///
/// `members` counts the active members, `well` those among them that are neither unhealthy nor
/// ejected. `threshold` is a share in 0..=1; 0 is never.
pub fn panicking(members: usize, well: usize, threshold: f64) -> bool {
    (well as f64) < threshold * members as f64 - ROUNDING
}

/// Whether one more of `members` may be ejected when `ejected_now` already are: afterwards at most
/// `share_max` (0..=1) of them are.
pub fn may_eject(members: usize, ejected_now: usize, share_max: f64) -> bool {
    ejected_now as f64 + 1.0 <= share_max * members as f64 + ROUNDING
}

/// A share such as 0.29 is no exact binary number; 0.29 of 100 must still be 29.
const ROUNDING: f64 = 1e-6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_begins_below_the_threshold() {
        let check = |members, well, threshold, expected| {
            let found = panicking(members, well, threshold);
            assert_eq!(
                found, expected,
                "{well} of {members} well, threshold {threshold}"
            );
        };
        check(4, 2, 0.5, false);
        check(4, 1, 0.5, true);
        check(1, 0, 0.5, true);
        check(100, 29, 0.29, false);
        check(100, 28, 0.29, true);
        check(4, 0, 0.0, false);
        check(4, 3, 1.0, true);
        check(4, 4, 1.0, false);
        check(0, 0, 0.5, false);
    }

    #[test]
    fn ejections_stay_within_their_share() {
        let check = |members, ejected, share, expected| {
            let found = may_eject(members, ejected, share);
            assert_eq!(
                found, expected,
                "{ejected} of {members} ejected, share {share}"
            );
        };
        check(1, 0, 0.5, false);
        check(1, 0, 1.0, true);
        check(2, 0, 0.5, true);
        check(2, 1, 0.5, false);
        check(3, 0, 0.5, true);
        check(3, 1, 0.5, false);
        check(100, 28, 0.29, true);
        check(100, 29, 0.29, false);
        check(10, 0, 0.0, false);
        check(0, 0, 1.0, false);
    }
}
