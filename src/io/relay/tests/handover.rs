//! A relay that is handed over at any moment, beside its twin that never was.

use super::random::{World, op};
use super::*;

/// The same relay in another process, whose worker's clock says something else: its state goes
/// through text, its streams stay open.
fn handed_over(
    relay: Relay<DuplexStream>,
    now: Tick,
    then: Tick,
) -> Result<Relay<DuplexStream>, Box<Relay<DuplexStream>>> {
    let Some(state) = relay.state(now) else {
        return Err(Box::new(relay));
    };
    let text = serde_json::to_string(&state).expect("plain data");
    let state: RelayState = serde_json::from_str(&text).expect("what was written is read");
    assert_eq!(serde_json::to_string(&state).expect("plain data"), text);
    let Relay {
        client, backend, ..
    } = relay;
    Ok(Relay::from_state(client, backend, state, then).expect("a sound state"))
}

impl World {
    fn is_handed_over(&mut self) {
        let relay = std::mem::replace(&mut self.relay, Rig::new(1).relay);
        // Another clock, which may stand before or behind this one.
        let then = (1 << 28) + self.now % 977 * 13;
        self.relay = match handed_over(relay, self.now, then) {
            Ok(relay) => {
                self.now = then;
                relay
            }
            Err(cut) => *cut,
        };
    }

    fn outcome(&self) -> impl PartialEq + std::fmt::Debug {
        (
            self.ending,
            self.before.clone(),
            self.client.got.clone(),
            (self.client.told.clone(), self.heard.clone()),
            self.relay.moves(),
            (self.relay.to_backend(), self.relay.to_client()),
        )
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_relay_handed_over_at_any_byte_behaves_as_one_that_was_not(
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
            prop_assert_eq!(twin.relay.held(), moved.relay.held());
            let since = |world: &World| world.relay.due().map(|at| at.saturating_sub(world.now));
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

#[tokio::test]
async fn what_time_will_bring_comes_at_the_same_moment_elsewhere() {
    let mut rig = Rig::new(64);
    rig.relay.times = Times {
        idle: Some(600),
        lifetime_at: Some(500),
        expires_at: Some(400),
        close: 50,
    };
    let state = rig.relay.state(100).expect("it lives");
    let streams = (duplex(1).0, Some(duplex(1).0));
    let moved = Relay::from_state(streams.0, streams.1, state, 5_000).expect("a sound state");
    let expected = Times {
        idle: Some(600),
        lifetime_at: Some(5_400),
        expires_at: Some(5_300),
        close: 50,
    };
    assert_eq!((moved.times, moved.active_at()), (expected, 4_900));
}

/// Of a session in the middle of everything. If this changes, so does what processes write to each
/// other: raise `io::handover::STATE`, and read what the one before wrote or raise `STATE_OLDEST`.
#[tokio::test]
async fn the_states_form_is_what_its_version_says() {
    let mut rig = Rig::with(64, RULES, from_client(0x81, b"early"));
    rig.relay.allow_moves(300);
    let half = &from_backend(0x82, &[7; 100])[..50];
    rig.backend.write_all(half).await.expect("room");
    rig.turn().await;
    rig.now = 20;
    let order = CloseOrder {
        code: 1008,
        reason: "kicked".into(),
        cause: Cause::Kicked,
    };
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
        "nothing is dropped in silence"
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
        let backend = backend.then(|| duplex(1).0);
        assert!(
            Relay::from_state(duplex(1).0, backend, state, 0).is_err(),
            "{to}"
        );
    };
    check("\"sent\": 0", "\"sent\": 1000", true);
    check("\"carry_len\": 0", "\"carry_len\": 200", true);
    check("\"backend\": true", "\"backend\": true", false);
}
