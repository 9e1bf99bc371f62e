//! When sessions are due.

use sessile::core::session::wheel::Wheel;

use crate::{Case, Work, work};

pub(crate) const CASES: &[Case] = &[Case {
    name: "session: a wheel with 10,000 sessions, one tick",
    make: tick,
}];

/// Every session is put in again when it comes up, as active ones are: about ten in a tick.
fn tick() -> Work {
    const SESSIONS: u32 = 10_000;
    const ROUND: u32 = 1_000;
    let mut wheel = Wheel::default();
    for session in 0..SESSIONS {
        wheel.insert(session, 1 + session % ROUND);
    }
    work(move || {
        let now = wheel.now() + 1;
        for session in wheel.advance(now) {
            wheel.insert(session, now + ROUND);
        }
    })
}
