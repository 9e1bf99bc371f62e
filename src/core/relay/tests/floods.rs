//! I8: what floods of the smallest frames cost. Work grows with the bytes, and nothing piles up.

use super::*;
use crate::core::relay::liveness::Liveness;
use crate::core::relay::pump::Pumped;
use crate::core::wire::in_band::InBandMatcher;
use crate::core::wire::tracker::PING_BYTES;

const WATCHED: [u8; PING_BYTES] = *b"ourping!";

#[test]
fn i8_the_smallest_frames_cost_two_writes_at_most_for_one_read() {
    let pong = from_client(0x8A, &WATCHED);
    let own = from_client(0x81, b"renew x");
    let text = from_client(0x81, b"");
    let fragments = [
        from_client(0x01, b""),
        from_client(0x00, b""),
        from_client(0x80, b""),
    ];
    let floods: [(&str, Vec<Vec<u8>>); 6] = [
        ("empty messages", vec![text.clone()]),
        ("empty fragments", fragments.to_vec()),
        ("pings", vec![from_client(0x89, b"")]),
        ("unsolicited pongs", vec![from_client(0x8A, b"8 letter")]),
        (
            "pongs to the gateway between messages",
            vec![pong, text.clone()],
        ),
        ("messages for the gateway between others", vec![own, text]),
    ];
    for (what, frames) in floods {
        let mut setup = setup();
        setup.in_band = Some(InBandMatcher::new("renew ", 64));
        let mut rig = Rig::with(64 * 1024, setup);
        rig.relay.up.tracker.watch(WATCHED);
        let unit: Vec<u8> = frames.concat();
        rig.client.send(&unit.repeat(4096 / unit.len()));
        while let Pumped::Turn(turn) = rig.pump() {
            assert_eq!(turn, Turn::Renewal, "{what}");
            rig.relay.renewal_over(true);
        }
        let writes = rig.client.writes + rig.backend.writes;
        assert!(writes <= 2, "{what}: {writes} writes");
        assert_eq!(rig.relay.held(), 0, "{what}");
        let passed = frames.last().expect("one").len() * frames.len();
        let came = rig.backend.take();
        assert!(came.len() >= passed, "{what}");
    }
}

#[test]
fn i8_floods_towards_a_side_that_does_not_read_do_not_pile_up() {
    let ping = from_client(0x89, b"");
    let fragment = from_client(0x00, b"");
    for frame in [ping, fragment] {
        let mut rig = Rig::new(64);
        let begun = from_client(0x01, b"");
        rig.client.send(&begun);
        let rules = Keepalive {
            interval: 1,
            timeout: 1,
            to_client: true,
            to_backend: true,
        };
        rig.relay.liveness = Some(Box::new(Liveness::new(rules, 0)));
        let mut taken = 0;
        for _ in 0..500 {
            taken += rig.client.send_some(&frame);
            rig.turn();
            rig.now += 1;
            rig.expire(rig.now);
            rig.relay
                .send_text("a message of the gateway to a client that does not read");
            // One read, one ping, and the queue of the gateway's own messages.
            assert!(
                rig.relay.held() <= 64 + 14 + 16 * 1024,
                "{}",
                rig.relay.held()
            );
        }
        assert!(taken <= 3 * 64, "{taken} bytes were taken in");
    }
}
