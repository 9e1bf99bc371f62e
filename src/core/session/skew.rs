//! Whether the sessions of an upstream are spread as its weights say.

/// One backend: its sessions and its weight.
pub type Load = (u64, u32);

/// How uneven the load of an upstream is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Skew {
    /// The sessions of the fullest backend, as a multiple of its fair share.
    pub ratio: f64,
    /// Whether that is more than chance explains.
    pub skewed: bool,
}

/// From which multiple of the fair share on a backend counts as too full.
const RATIO_MIN: f64 = 1.25;
/// Standard deviations beyond the fair share that chance explains.
const DEVIATIONS: f64 = 3.0;

/// The skew of these backends; `None` if there are fewer than two, or no sessions.
pub fn skew(loads: &[Load]) -> Option<Skew> {
    let sessions: u64 = loads.iter().map(|(sessions, _)| sessions).sum();
    let weights: f64 = loads.iter().map(|(_, weight)| f64::from(*weight)).sum();
    if loads.len() < 2 || sessions == 0 || weights <= 0.0 {
        return None;
    }
    let fair = |weight: u32| sessions as f64 * f64::from(weight) / weights;
    let ratios = loads.iter().filter(|(_, weight)| *weight > 0);
    let ratios = ratios.map(|(sessions, weight)| (*sessions as f64 / fair(*weight), fair(*weight)));
    let (ratio, fair) = ratios.max_by(|one, other| one.0.total_cmp(&other.0))?;
    let excess = (ratio - 1.0) * fair;
    Some(Skew {
        ratio,
        skewed: ratio >= RATIO_MIN && excess > DEVIATIONS * fair.sqrt(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(loads: &[Load], ratio: f64, skewed: bool) {
        let found = skew(loads).expect("two backends with sessions");
        assert!((found.ratio - ratio).abs() < 0.01, "{found:?}");
        assert_eq!(found.skewed, skewed, "{found:?}");
    }

    #[test]
    fn skew_is_beyond_what_weights_and_chance_explain() {
        check(&[(60, 1), (15, 1), (15, 1)], 2.0, true);
        check(&[(30, 1), (30, 1), (30, 1)], 1.0, false);
        check(&[(60, 2), (30, 1)], 1.0, false);
        check(&[(2, 1), (1, 1), (0, 1)], 2.0, false);
        check(&[(1_000, 1), (0, 1)], 2.0, true);
        check(&[(10_100, 1), (9_900, 1)], 1.01, false);
    }

    #[test]
    fn nothing_is_skewed_where_there_is_nothing_to_compare() {
        assert_eq!(skew(&[]), None);
        assert_eq!(skew(&[(5, 1)]), None);
        assert_eq!(skew(&[(0, 1), (0, 1)]), None);
    }
}
