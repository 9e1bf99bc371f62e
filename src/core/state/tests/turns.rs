//! Gateways that change one value in turns, keys that the store refuses, and keys that are over.

use super::*;

/// A gateway that has something to write all the time, and another one that asks once. Both are as
/// far from the store.
fn a_busy_gateway_leaves_others_their_turn(merges: bool) {
    const ROUND_TRIP: u32 = 10;
    let mut store = Store::default();
    let mut gateways = [Gateway::of(1, merges), Gateway::of(2, merges)];
    let began = gateways[0].now;
    // What is under way of each: when it is at the store, and then when it is back.
    let mut requests: [Option<(u32, Request<usize>)>; 2] = Default::default();
    let mut answers: [Option<(u32, (StateKey, Answer))>; 2] = Default::default();
    for time in 0..40 * ROUND_TRIP {
        // Its next session begins before the last one is written.
        gateways[0].ledger.hold(sessions());
        if time == 20 * ROUND_TRIP + 3 {
            gateways[1].ask(sessions(), Ask::Session { max: 9999 });
        }
        for (at, gateway) in gateways.iter_mut().enumerate() {
            gateway.now = began + Duration::from_millis(u64::from(time));
            if let Some((_, request)) = requests[at].take_if(|(there, _)| *there == time) {
                answers[at] = Some((time + ROUND_TRIP / 2, store.serve(&request)));
            }
            if let Some((_, (key, answer))) = answers[at].take_if(|(back, _)| *back == time) {
                gateway.take(key, answer);
            }
            if let Some(request) = gateway.ledger.next(gateway.now) {
                requests[at] = Some((time + ROUND_TRIP / 2, request));
            }
        }
        if gateways[1].verdicts.contains_key(&1) {
            let rounds = (time - 20 * ROUND_TRIP).div_ceil(ROUND_TRIP);
            assert!(rounds <= 4, "it took {rounds} round trips");
            let written = store.stored(sessions()).document.share(1);
            assert!(
                written > 10 * ROUND_TRIP,
                "the busy one wrote only {written}"
            );
            return;
        }
    }
    panic!("it never got its turn");
}

#[test]
fn a_busy_gateway_leaves_others_their_turn_where_values_are_swapped() {
    a_busy_gateway_leaves_others_their_turn(false);
}

#[test]
fn a_busy_gateway_leaves_others_their_turn_where_the_store_merges() {
    a_busy_gateway_leaves_others_their_turn(true);
}

#[test]
fn what_waits_for_a_rest_is_given_back_when_the_store_is_lost() {
    let (mut store, mut one) = (Store::default(), Gateway::new(1));
    one.ask(sessions(), Ask::Session { max: 5 });
    let request = one.ledger.next(one.now).expect("an attempt");
    let (key, answer) = store.serve(&request);
    one.now += Duration::from_millis(10);
    one.take(key, answer);
    let asked = one.ask(sessions(), Ask::Session { max: 5 });
    assert!(one.ledger.next(one.now).is_none(), "it rests");
    assert_eq!(
        one.ledger.rests_until(),
        Some(one.now + Duration::from_millis(10))
    );
    assert_eq!(one.ledger.lost(&[]), [asked]);
}

#[test]
fn no_key_rests_because_the_store_hung() {
    let (mut store, mut one) = (Store::default(), Gateway::new(1));
    one.ask(sessions(), Ask::Session { max: 5 });
    let request = one.ledger.next(one.now).expect("an attempt");
    let (key, answer) = store.serve(&request);
    one.now += Duration::from_secs(2);
    one.take(key, answer);
    one.ask(sessions(), Ask::Session { max: 5 });
    assert!(one.ledger.next(one.now).is_some());
}

#[test]
fn a_key_that_the_store_refuses_holds_up_no_other_one() {
    for merges in [false, true] {
        let (mut store, mut one) = (Store::default(), Gateway::of(1, merges));
        let asked = one.ask(sessions(), Ask::Session { max: 5 });
        one.ledger.next(one.now).expect("an attempt");
        assert_eq!(one.ledger.refused(sessions(), one.now), [asked]);
        // It is counted here, and not tried again and again.
        one.ledger.hold(sessions());
        one.ledger.next(one.now).expect("an attempt");
        assert!(one.ledger.refused(sessions(), one.now).is_empty());
        one.ledger.look_after(9, one.now);
        assert!(one.ledger.next(one.now).is_none());
        assert_eq!(one.backend(&mut store, "a", None), "a");
        // With the next session the store is right again.
        assert_eq!(one.session(&mut store, 2), Verdict::Granted);
        assert_eq!(store.stored(sessions()).document.share(1), 2);
    }
}

#[test]
fn i8_what_comes_and_goes_while_the_store_is_gone_is_not_remembered() {
    let mut ledger = Ledger::<usize>::new(1, LEASE);
    for n in 0..100_000_u32 {
        let kind = [KeyKind::Sessions, KeyKind::Stick][n as usize % 2];
        let key = StateKey::new(kind, &[&n.to_be_bytes()]);
        match kind {
            KeyKind::Stick => ledger.stick(key, "a", n % 4 == 1, LEASE),
            _ => ledger.hold(key),
        }
        ledger.release(key);
    }
    assert!(ledger.len() <= 4, "{} keys", ledger.len());
}
