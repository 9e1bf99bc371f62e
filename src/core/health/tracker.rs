//! Active health: thresholds over consecutive probe results, so that one lost probe changes
//! nothing. The prober decides when and how to probe.

use serde::Serialize;

/// What probes have found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// No probe has finished, or none is configured. Such a backend takes sessions.
    #[default]
    Unknown,
    /// It answers.
    Healthy,
    /// It does not.
    Unhealthy,
}

impl Health {
    /// The name that metrics and the admin API show.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// Counts results in a row.
#[derive(Clone, Debug)]
pub struct Tracker {
    rise: u32,
    fall: u32,
    health: Health,
    /// Results in a row that speak against `health`.
    against: u32,
}

impl Tracker {
    /// `rise` successes in a row make an unhealthy backend healthy, `fall` failures in a row a
    /// healthy one unhealthy. Zero counts as one.
    pub const fn new(rise: u32, fall: u32) -> Self {
        Self {
            rise,
            fall,
            health: Health::Unknown,
            against: 0,
        }
    }

    /// Other thresholds for the results from now on; what was found stays.
    pub const fn set_thresholds(&mut self, rise: u32, fall: u32) {
        self.rise = rise;
        self.fall = fall;
    }

    /// Back to `Unknown`, as if nothing had been observed.
    pub const fn forget(&mut self) {
        self.health = Health::Unknown;
        self.against = 0;
    }

    /// Takes a result; returns the new health if it changed. The very first result decides alone,
    /// so that a gateway has the health of its backends one probe after its start.
    pub fn observe(&mut self, ok: bool) -> Option<Health> {
        let (says, needed) = if ok {
            (Health::Healthy, self.rise)
        } else {
            (Health::Unhealthy, self.fall)
        };
        if says == self.health {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        if self.health != Health::Unknown && self.against < needed {
            return None;
        }
        self.health = says;
        self.against = 0;
        Some(says)
    }

    /// What was found so far.
    pub const fn health(&self) -> Health {
        self.health
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One letter a result, `+` or `-`; one letter a health after it: `h` or `u`.
    fn check(rise: u32, fall: u32, results: &str, expected: &str) {
        let mut tracker = Tracker::new(rise, fall);
        assert_eq!(tracker.health(), Health::Unknown);
        let mut seen = String::new();
        for result in results.chars() {
            let before = tracker.health();
            let changed = tracker.observe(result == '+');
            assert_eq!(changed.is_some(), tracker.health() != before, "{results}");
            assert_eq!(changed.unwrap_or(before), tracker.health(), "{results}");
            seen.push(if tracker.health() == Health::Healthy {
                'h'
            } else {
                'u'
            });
        }
        assert_eq!(
            seen, expected,
            "rise {rise}, fall {fall}, results {results}"
        );
    }

    #[test]
    fn health_changes_after_enough_results_in_a_row() {
        check(2, 3, "+", "h");
        check(2, 3, "-", "u");
        check(2, 3, "+--+---", "hhhhhhu");
        check(2, 3, "-+-++--", "uuuuhhh");
        check(1, 1, "+-+-", "huhu");
        check(0, 0, "+-+-", "huhu");
    }

    #[test]
    fn new_thresholds_keep_the_results() {
        let mut tracker = Tracker::new(2, 5);
        tracker.observe(true);
        tracker.observe(false);
        tracker.set_thresholds(2, 2);
        assert_eq!(tracker.health(), Health::Healthy);
        assert_eq!(tracker.observe(false), Some(Health::Unhealthy));
    }
}
