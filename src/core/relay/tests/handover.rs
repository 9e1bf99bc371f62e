//! A session that is handed over at any moment, beside its twin that never was.

use proptest::prelude::*;

use super::random::{World, op};
use super::*;

/// The same session in another process, whose worker's clock shows another time: its state goes
/// through text, its streams stay open.
fn handed_over(relay: &Machine, now: Tick, then: Tick) -> Option<Machine> {
    let state = relay.state(now)?;
    let text = serde_json::to_string(&state).expect("plain data");
    let state: RelayState = serde_json::from_str(&text).expect("what was written is read");
    assert_eq!(serde_json::to_string(&state).expect("plain data"), text);
    let machine = Machine::from_state(state, relay.attached(), ENTROPY, then);
    Some(machine.expect("a sound state"))
}

impl World {
    fn is_handed_over(&mut self) {
        // Another clock, which may stand before or behind this one.
        let then = (1 << 28) + self.rig.now % 977 * 13;
        if let Some(relay) = handed_over(&self.rig.relay, self.rig.now, then) {
            self.rig.relay = relay;
            self.rig.now = then;
        }
    }

    fn outcome(&self) -> impl PartialEq + std::fmt::Debug {
        (
            self.ending,
            self.before.clone(),
            self.client.got.clone(),
            (self.client.notified.clone(), self.heard.clone()),
            self.rig.relay.moves(),
            (self.rig.relay.to_backend(), self.rig.relay.to_client()),
        )
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn a_session_handed_over_at_any_byte_behaves_like_one_that_was_not(
        width in prop_oneof![1_usize..40, 40_usize..2_000],
        ops in prop::collection::vec((op(), any::<bool>()), 0..120),
    ) {
        let (mut twin, mut moved) = (World::new(width), World::new(width));
        for (op, hand_over) in ops {
            if twin.ending.is_some() {
                break;
            }
            if hand_over {
                moved.is_handed_over();
            }
            twin.does(op);
            moved.does(op);
            prop_assert_eq!(twin.ending, moved.ending);
            prop_assert_eq!(twin.rig.relay.held(), moved.rig.relay.held());
            let since = |world: &World| world.rig.relay.due().map(|at| at.saturating_sub(world.rig.now));
            prop_assert_eq!(since(&twin), since(&moved));
        }
        if moved.ending.is_none() {
            moved.is_handed_over();
        }
        twin.finish();
        moved.finish();
        moved.check();
        prop_assert_eq!(format!("{:?}", twin.outcome()), format!("{:?}", moved.outcome()));
    }
}

#[test]
fn timers_keep_their_remaining_time_in_another_process() {
    let mut rig = Rig::new(64);
    rig.relay.times = Times {
        idle: Some(600),
        lifetime_at: Some(500),
        expires_at: Some(400),
        close: 50,
    };
    let state = rig.relay.state(100).expect("it lives");
    let moved = Machine::from_state(state, true, ENTROPY, 5_000).expect("a sound state");
    let expected = Times {
        idle: Some(600),
        lifetime_at: Some(5_400),
        expires_at: Some(5_300),
        close: 50,
    };
    assert_eq!((moved.times, moved.active_at()), (expected, 4_900));
}

/// The state of a session in the middle of everything. If this changes, so does the format between
/// processes: raise `io::handover::STATE`, and read the format before it or raise `STATE_OLDEST`.
#[test]
fn the_format_of_the_state_is_that_of_its_version() {
    let mut setup = setup();
    setup.client_early = from_client(0x81, b"early");
    setup.hold = Some(300);
    let mut rig = Rig::with(64, setup);
    let half = &from_backend(0x82, &[7; 100])[..50];
    rig.backend.send(half);
    rig.turn();
    rig.now = 20;
    let order = order(1008, "kicked", Cause::Kicked);
    assert!(rig.relay.close(&order, 20));
    let state = rig.relay.state(30).expect("it lives");
    let text = serde_json::to_string_pretty(&state).expect("plain data") + "\n";
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/vectors/relay-state-1.json"
    );
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &text).expect("a file");
    }
    let golden = std::fs::read_to_string(path).expect("a file");
    assert_eq!(text, golden);
    assert!(serde_json::from_str::<RelayState>(&golden).is_ok());
    let more = golden.replacen('{', "{\"more\":1,", 1);
    assert!(
        serde_json::from_str::<RelayState>(&more).is_err(),
        "an unknown field is an error"
    );
}

#[test]
fn a_state_that_contradicts_itself_is_refused() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/vectors/relay-state-1.json"
    );
    let golden = std::fs::read_to_string(path).expect("a file");
    let check = |from: &str, to: &str, backend: bool| {
        assert!(golden.contains(from), "{from}");
        let state = serde_json::from_str(&golden.replacen(from, to, 1)).expect("still a state");
        let machine = Machine::from_state(state, backend, ENTROPY, 0);
        assert!(machine.is_err(), "{to}");
    };
    check("\"sent\": 0", "\"sent\": 1000", true);
    check("\"carry_len\": 0", "\"carry_len\": 200", true);
    check("\"backend\": true", "\"backend\": true", false);
}
