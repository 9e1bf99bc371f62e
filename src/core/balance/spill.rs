//! How much of its load a level of an upstream keeps. A level that is short of well backends passes
//! a part of its keys on, so that the rest of them do not fall one after the other. All of it is
//! arithmetic on weights: gateways with the same health decide alike (I2).

/// The weight of a level's members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelHealth {
    /// Of those that are not on their way out.
    pub weight: u64,
    /// Of those of them that may take sessions.
    pub well: u64,
}

impl LevelHealth {
    /// The part of its keys that the level takes, in 0..=1: all of them while at least `share_min`
    /// of its weight is well, and in proportion to that below.
    pub fn takes(self, share_min: f64) -> f64 {
        if self.weight == 0 {
            return 0.0;
        }
        let well = self.well as f64 / self.weight as f64;
        if well >= share_min {
            1.0
        } else {
            well / share_min
        }
    }

    /// Which part of the keys of its unwell members the level passes on, in 0..=1. Only those move:
    /// a key whose backend is well stays. Since `share_min` is at most 1, they are enough to bring
    /// the load down to [`takes`](Self::takes).
    pub fn passes_on(self, share_min: f64) -> f64 {
        let spilled = 1.0 - self.takes(share_min);
        if spilled <= 0.0 || self.weight == 0 {
            return 0.0;
        }
        let unwell = 1.0 - self.well as f64 / self.weight as f64;
        (spilled / unwell).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_level_takes_all_while_enough_of_it_is_well() {
        let check = |well, weight, share_min, takes, passes_on| {
            let health = LevelHealth { weight, well };
            let found = (health.takes(share_min), health.passes_on(share_min));
            let near = |one: f64, other: f64| (one - other).abs() < 1e-9;
            assert!(
                near(found.0, takes) && near(found.1, passes_on),
                "{well} of {weight}, at least {share_min}: {found:?}"
            );
        };
        check(10, 10, 0.7, 1.0, 0.0);
        check(7, 10, 0.7, 1.0, 0.0);
        // Two sevenths of all keys, which are four sevenths of those of the unwell half.
        check(5, 10, 0.7, 5.0 / 7.0, 4.0 / 7.0);
        check(0, 10, 0.7, 0.0, 1.0);
        check(5, 10, 1.0, 0.5, 1.0);
        check(10, 10, 1.0, 1.0, 0.0);
        // Never, unless the level has nothing at all.
        check(1, 10, 0.0, 1.0, 0.0);
        check(0, 10, 0.0, 1.0, 0.0);
        check(0, 0, 0.7, 0.0, 0.0);
    }

    proptest! {
        #[test]
        fn what_is_passed_on_is_what_the_level_does_not_take(
            weight in 1_u64..1_000_000,
            part in 0.0_f64..=1.0,
            share_min in 0.01_f64..=1.0,
        ) {
            let well = (weight as f64 * part) as u64;
            let health = LevelHealth { weight, well };
            let unwell = 1.0 - well as f64 / weight as f64;
            let stays = 1.0 - unwell * health.passes_on(share_min);
            prop_assert!((stays - health.takes(share_min)).abs() < 1e-9);
            // The worse it is, the more goes: no key goes back and forth while health falls.
            if well > 0 {
                let worse = LevelHealth { weight, well: well - 1 };
                prop_assert!(worse.passes_on(share_min) >= health.passes_on(share_min) - 1e-12);
            }
        }
    }
}
