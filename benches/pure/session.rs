//! When sessions are due, and the turns of lists over many of them.

use std::collections::BTreeMap;

use sessile::base::session_id::SessionId;
use sessile::core::session::best::{Best, Direction, Ranked};
use sessile::core::session::wheel::Wheel;
use sessile::live::Slice;

use crate::{Case, Work, work};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "session: a wheel with 10,000 sessions, one tick",
        make: tick,
    },
    Case {
        name: "session: one turn of a sorted list of 100,000",
        make: turn,
    },
];

/// The pure part of a turn: the slice is found and ranked. It must stay far below 1 ms.
fn turn() -> Work {
    let all: BTreeMap<_, _> = (0..100_000_u64)
        .map(|number| {
            (
                SessionId::new(number, 0),
                number.wrapping_mul(0x9e37_79b9) % 1_000,
            )
        })
        .collect();
    let mut best = Best::new(Direction::Descending, 100);
    let mut slice = Slice::first(None);
    work(move || {
        let found = slice.of(&all);
        for value in found.answer {
            let id = SessionId::new(value, 0);
            best.add(Ranked {
                value: Some(value),
                id,
            });
        }
        slice.after = found.next;
    })
}

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
