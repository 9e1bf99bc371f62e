//! A tapped session is the same session, and what is measured of pings.

use proptest::prelude::*;

use super::random::{Op, World, op};
use super::*;
use crate::core::relay::tap::tests::Witness;

/// What came of a world: what each side got, in order, and how it ended.
type Outcome = (
    Vec<usize>,
    Vec<usize>,
    Vec<usize>,
    Vec<usize>,
    Option<Ending>,
);

fn outcome(width: usize, ops: &[Op], tapped_at: Option<usize>) -> Outcome {
    let mut world = World::new(width);
    let witness = Witness::default();
    for (place, op) in ops.iter().enumerate() {
        if world.ending.is_some() {
            break;
        }
        if tapped_at == Some(place) {
            world.rig.relay.tap(Box::new(witness.clone()), Some(50));
        }
        world.does(*op);
    }
    world.finish();
    world.check();
    for (from, opcode, .., payload, withheld) in &*witness.seen.lock().expect("no panic") {
        let payload = payload.as_deref();
        assert_eq!(payload.is_none(), *withheld, "{from:?}");
        let renewal = payload.is_some_and(|payload| payload.starts_with(b"1!"));
        assert!(!(renewal && *opcode == 1), "I11: a credential is shown");
    }
    (
        world.client.got.clone(),
        world.before.clone(),
        world.client.notified.clone(),
        world.heard.clone(),
        world.ending,
    )
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn i10_a_tap_changes_nothing_in_a_session(
        width in prop_oneof![1_usize..40, 40_usize..2_000],
        ops in prop::collection::vec(op(), 0..80),
        at in 0_usize..40,
    ) {
        prop_assert_eq!(outcome(width, &ops, None), outcome(width, &ops, Some(at)));
    }
}

#[test]
fn a_tap_that_begins_inside_a_frame_sees_the_following_ones() {
    let mut rig = Rig::new(1_000);
    let first = from_client(0x81, b"one");
    rig.client_sends(&first[..7]);
    let witness = Witness::default();
    rig.relay.tap(Box::new(witness.clone()), None);
    assert!(rig.relay.tapped());
    rig.client_sends(&first[7..]);
    rig.client_sends(&from_client(0x82, b"two"));
    rig.backend_sends(&from_backend(0x81, b"three"));
    let seen = witness.seen.lock().expect("no panic");
    let seen: Vec<_> = seen.iter().map(|one| (one.0, one.1, one.4)).collect();
    assert_eq!(seen, [(Side::Client, 2, 3), (Side::Backend, 1, 5)]);
    rig.relay.untap("enough");
    assert!(!rig.relay.tapped());
    assert_eq!(*witness.ended.lock().expect("no panic"), Some("enough"));
}

#[test]
fn the_round_trip_of_a_ping_is_by_the_drivers_clock() {
    let mut setup = setup();
    setup.keepalive = Some(keepalive(true, false));
    let mut rig = Rig::with(64, setup);
    let due = rig.relay.due().expect("a ping is due");
    rig.expire(due);
    assert!(rig.relay.stamp_needed());
    rig.relay.stamp(1_000);
    rig.pump();
    let ping = rig.client.take();
    assert_eq!((ping[0], rig.relay.stamp_needed()), (0x89, false));
    rig.client_sends(&from_client(0x8A, &ping[2..]));
    assert!(rig.relay.stamp_needed());
    assert_eq!(rig.relay.round_trip(Side::Client), None);
    rig.relay.stamp(1_250);
    assert_eq!(rig.relay.round_trip(Side::Client), Some(250));
    assert_eq!(rig.relay.round_trip(Side::Backend), None);
}

#[test]
fn activity_is_of_each_side() {
    let mut rig = Rig::new(64);
    rig.now += 5;
    rig.client_sends(&from_client(0x81, b"a"));
    let after = rig.now;
    rig.now += 5;
    rig.backend_sends(&from_backend(0x81, b"b"));
    assert_eq!(rig.relay.active_from(Side::Client), after);
    assert_eq!(rig.relay.active_from(Side::Backend), rig.now);
    assert_eq!(rig.relay.active_at(), rig.now);
}
