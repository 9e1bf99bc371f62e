//! Chunks through the relay's machine, as a driver passes them, without streams.

use std::hint::black_box;

use sessile::core::relay::{Keepalive, Machine, Output, Setup, Side, Times};
use sessile::core::wire::tracker::{Extensions, Rules};

use crate::wire::chunk;
use crate::{Case, Work, work};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "relay: pass a chunk with one message of 64 B",
        make: || pass(64, 1, setup()),
    },
    Case {
        name: "relay: pass a chunk with 16 messages of 64 B",
        make: || pass(64, 16, setup()),
    },
    Case {
        name: "relay: pass a message of 64 B, pinged and movable",
        make: || {
            pass(
                64,
                1,
                Setup {
                    hold: Some(65_536),
                    keepalive: Some(Keepalive {
                        interval: 300,
                        timeout: 100,
                        to_client: true,
                        to_backend: true,
                    }),
                    ..setup()
                },
            )
        },
    },
];

fn setup() -> Setup {
    let rules = Rules {
        frame_bytes: 16 << 20,
        message_bytes: 16 << 20,
        extensions: Extensions::None,
    };
    let times = Times {
        idle: Some(600),
        lifetime_at: None,
        expires_at: None,
        close: 50,
    };
    Setup::plain(rules, times)
}

/// One turn: a chunk of the client goes to the backend, which takes all of it.
fn pass(size: usize, count: usize, setup: Setup) -> Work {
    let chunk = chunk(size, count);
    let mut machine = Machine::new(setup, |bytes| bytes.fill(7), 0);
    work(move || {
        assert!(machine.begin(7).is_none());
        assert!(machine.read_allowance(Side::Client, 65_536, 7).is_some());
        let bytes = black_box(&chunk[..]);
        let inspected = machine.receive(Side::Client, bytes);
        let direct = inspected.direct();
        assert_eq!(direct, bytes.len());
        machine.forwarded(Side::Client, (inspected, bytes), direct, false, 7);
        assert_eq!(machine.output(Side::Backend), Output::Flush);
        machine.flushed(Side::Backend);
        machine.settle(7)
    })
}
