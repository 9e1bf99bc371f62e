//! The coarse time of a worker. Reads, writes and messages take the time from here, so that none of
//! them costs a call to the system.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::core::session::wheel::Tick;

/// One step of a worker's clock.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// The first tick of a worker's clock. It is not 0, so that a session of another process may have
/// been active up to 310 days earlier without underflow.
const FIRST_TICK: Tick = 1 << 28;

/// The clock of one worker. Its ticker advances it; everything else only reads it.
#[derive(Debug)]
pub(crate) struct WorkerClock {
    began: Instant,
    tick: Cell<Tick>,
}

impl WorkerClock {
    /// A clock that stands at the first tick.
    pub(crate) fn start() -> Rc<Self> {
        Rc::new(Self {
            began: clock::now(),
            tick: Cell::new(FIRST_TICK),
        })
    }

    /// The time of the first tick.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// The current tick.
    pub(crate) fn tick(&self) -> Tick {
        self.tick.get()
    }

    /// Brings the clock up to `now`.
    pub(crate) fn advance(&self, now: Instant) -> Tick {
        let passed = now.saturating_duration_since(self.began).as_millis() / TICK.as_millis();
        let passed = Tick::try_from(passed).unwrap_or(Tick::MAX);
        let tick = FIRST_TICK.saturating_add(passed);
        self.tick.set(tick);
        tick
    }
}

/// A duration in ticks, rounded up, plus one: the tick in which it begins is partly over.
pub(crate) fn ticks(time: Duration) -> Tick {
    let ticks = time.as_millis().div_ceil(TICK.as_millis());
    Tick::try_from(ticks).unwrap_or(Tick::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_never_ends_early() {
        assert_eq!(ticks(Duration::ZERO), 1);
        assert_eq!(ticks(TICK), 2);
        assert_eq!(ticks(TICK + Duration::from_nanos(1)), 2);
        assert_eq!(ticks(TICK + Duration::from_millis(1)), 3);
        assert_eq!(ticks(Duration::MAX), Tick::MAX);
    }

    #[test]
    fn the_clock_counts_whole_ticks_and_never_underflows() {
        let clock = WorkerClock::start();
        assert_eq!(clock.tick(), FIRST_TICK);
        assert_eq!(clock.advance(clock.began() + TICK * 3 / 2), FIRST_TICK + 1);
        assert_eq!(clock.tick(), FIRST_TICK + 1);
        let before = clock.began().checked_sub(TICK);
        assert!(before.is_none_or(|before| clock.advance(before) == FIRST_TICK));
    }
}
