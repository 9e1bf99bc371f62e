//! Bytes of both directions, while nothing ends.

use proptest::prelude::*;

use super::*;

#[test]
fn i8_a_reader_that_stops_makes_its_sender_stop() {
    let mut rig = Rig::new(64);
    let message = from_client(0x82, &[7; 100]);
    let mut written = 0;
    for _ in 0..200 {
        match rig.client.send_some(&message) {
            0 => break,
            some => written += some,
        }
        rig.turn();
    }
    // Two stream buffers of 64 bytes, and one read of the gateway's.
    assert!(written <= 3 * 64, "{written} bytes were taken in");
    assert!(
        rig.relay.held() <= 64,
        "{} bytes are held",
        rig.relay.held()
    );
}

#[test]
fn early_bytes_of_the_client_are_forwarded_first() {
    let early = from_client(0x81, b"early bird");
    let mut setup = setup();
    setup.client_early = early[..7].to_vec();
    let mut rig = Rig::with(1024, setup);
    rig.client.send(&early[7..]);
    rig.turn();
    assert_eq!(rig.backend.take(), early);
}

/// Sends both streams through a relay of this width, in whatever pieces fit.
fn relayed(width: usize, up: &[u8], down: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut rig = Rig::new(width);
    let (mut came_up, mut came_down) = (Vec::new(), Vec::new());
    let (mut sent_up, mut sent_down, mut idle) = (0, 0, 0);
    while came_up.len() < up.len() || came_down.len() < down.len() {
        sent_up += rig.client.send_some(&up[sent_up..]);
        sent_down += rig.backend.send_some(&down[sent_down..]);
        assert_eq!(rig.turn(), None);
        let before = (came_up.len(), came_down.len());
        came_up.extend(rig.backend.take());
        came_down.extend(rig.client.take());
        let moved = before != (came_up.len(), came_down.len());
        idle = if moved { 0 } else { idle + 1 };
        // A header that is not complete moves nothing.
        assert!(idle < 32, "it is stuck");
    }
    (came_up, came_down)
}

proptest! {
    #![proptest_config(cases(64))]

    /// I10 over streams of any width: what comes out is what went in, byte for byte, in both
    /// directions.
    #[test]
    fn i10_payload_is_never_changed(
        width in 1_usize..200,
        up in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..20),
        down in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..20),
    ) {
        let up: Vec<u8> = up.iter().flat_map(|payload| from_client(0x82, payload)).collect();
        let down: Vec<u8> = down.iter().flat_map(|payload| from_backend(0x82, payload)).collect();
        let (came_up, came_down) = relayed(width, &up, &down);
        prop_assert_eq!(came_up, up);
        prop_assert_eq!(came_down, down);
    }
}
