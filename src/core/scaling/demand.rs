//! How many backends an upstream should have. It grows at once and shrinks only after a while, and
//! no backend that still has sessions to lose is counted away.

/// What an operator wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Targets {
    /// Sessions that a backend should have, of all gateways; more than 0.
    pub sessions: u64,
    /// Not fewer than these.
    pub backends_min: u64,
    /// Not more than these.
    pub backends_max: u64,
    /// The upstream shrinks only if what is left is below its target by this part, 0 to 1.
    pub margin: f64,
}

/// The load, and the backends for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Live, those on backends that drain or are gone among them: they need another one.
    pub sessions: u64,
    /// The most of late.
    pub peak: u64,
    /// Backends that take sessions.
    pub well: u64,
    /// Backends that should, and do not: they are replaced.
    pub unwell: u64,
    /// Backends that drain and are not empty yet.
    pub draining: u64,
    /// Not everything is known: some gateway did not answer, or the time is not over that an
    /// upstream is watched for before it shrinks.
    pub partial: bool,
}

/// How many backends there should be, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Desired {
    /// In all, unwell and draining ones among them.
    pub backends: u64,
    /// Why.
    pub why: Why,
}

/// Why a number is desired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is as it should be.
    Steady,
    /// There are more sessions than its backends should have.
    Grow,
    /// Fewer are enough.
    Shrink,
    /// Fewer may be enough, but not everything is known.
    Unsure,
    /// `backends_min` holds.
    AtMin,
    /// `backends_max` holds.
    AtMax,
}

impl Why {
    /// The name that the admin API shows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Grow => "grow",
            Self::Shrink => "shrink",
            Self::Unsure => "unsure",
            Self::AtMin => "at_min",
            Self::AtMax => "at_max",
        }
    }
}

impl Demand {
    /// The number of backends for this load.
    pub fn desired(&self, targets: &Targets) -> Desired {
        let target = targets.sessions.max(1);
        let needed = self.sessions.div_ceil(target);
        // What remains has to be enough for the most that came of late, with some room.
        let room = (target as f64 * (1.0 - targets.margin.clamp(0.0, 0.99))).max(1.0);
        let lasting = (self.peak.max(self.sessions) as f64 / room).ceil() as u64;
        let (wanted, why) = match needed {
            needed if needed > self.well => (needed, Why::Grow),
            _ if lasting >= self.well => (self.well, Why::Steady),
            _ if self.partial => (self.well, Why::Unsure),
            _ => (lasting, Why::Shrink),
        };
        let max = targets.backends_max.max(targets.backends_min);
        let bounded = wanted.clamp(targets.backends_min, max);
        let why = match () {
            () if bounded > wanted => Why::AtMin,
            () if bounded < wanted => Why::AtMax,
            () => why,
        };
        Desired {
            backends: bounded + self.unwell + self.draining,
            why,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TARGETS: Targets = Targets {
        sessions: 100,
        backends_min: 2,
        backends_max: 20,
        margin: 0.1,
    };

    fn check(demand: Demand, expected: (u64, Why)) {
        let found = demand.desired(&TARGETS);
        assert_eq!((found.backends, found.why), expected, "{demand:?}");
    }

    #[test]
    fn it_grows_at_once_and_shrinks_when_the_peak_is_over() {
        let of = |sessions, peak, well| Demand {
            sessions,
            peak,
            well,
            ..Demand::default()
        };
        check(of(500, 500, 5), (5, Why::Steady));
        check(of(501, 501, 5), (6, Why::Grow));
        check(of(250, 500, 5), (5, Why::Steady));
        check(of(250, 250, 5), (3, Why::Shrink));
        // With room: four backends should have 360 before a fifth goes.
        check(of(361, 361, 5), (5, Why::Steady));
        check(of(360, 360, 5), (4, Why::Shrink));
        check(of(0, 0, 5), (2, Why::AtMin));
        check(of(9_000, 9_000, 5), (20, Why::AtMax));
        check(of(0, 0, 0), (2, Why::AtMin));
    }

    #[test]
    fn what_is_not_known_holds_backends_and_what_is_not_well_is_replaced() {
        let base = Demand {
            sessions: 250,
            peak: 250,
            well: 5,
            ..Demand::default()
        };
        let partial = true;
        check(Demand { partial, ..base }, (5, Why::Unsure));
        check(Demand { unwell: 2, ..base }, (5, Why::Shrink));
        // A backend that is left by its sessions must not be taken away under them.
        check(
            Demand {
                draining: 2,
                ..base
            },
            (5, Why::Shrink),
        );
        let grown = Demand {
            sessions: 700,
            partial,
            ..base
        };
        check(grown, (7, Why::Grow));
    }

    proptest! {
        #[test]
        fn it_comes_to_rest_and_is_always_enough(
            sessions in 0_u64..5_000,
            peak in 0_u64..5_000,
            well in 0_u64..60,
            margin in 0.0_f64..0.5,
        ) {
            let targets = Targets { backends_max: 1_000, margin, ..TARGETS };
            let demand = Demand { sessions, peak, well, ..Demand::default() };
            let first = demand.desired(&targets);
            prop_assert!(first.backends * targets.sessions >= sessions);
            prop_assert!(first.backends >= targets.backends_min);
            let again = Demand { well: first.backends, ..demand };
            prop_assert_eq!(again.desired(&targets).backends, first.backends);
            // More sessions never want fewer backends.
            let more = Demand { sessions: sessions + 1, peak: peak + 1, ..demand };
            prop_assert!(more.desired(&targets).backends >= first.backends);
        }
    }
}
