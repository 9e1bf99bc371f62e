use proptest::prelude::*;

use super::*;

const HOUR: u64 = 60 * 60 * 1000;
const START: u64 = 1_000_000 * HOUR;

/// Secrets that are all different.
fn fresh() -> impl FnMut() -> TicketSecret {
    let mut count = 0;
    move || {
        count += 1;
        TicketSecret::new([count; 32])
    }
}

fn sealing(set: &KeySet, now: u64) -> &TicketSecret {
    &set.keys()[set.sealing(now)].secret
}

fn opens(set: &KeySet, secret: &TicketSecret, now: u64) -> bool {
    let place = set.keys().iter().position(|key| key.secret == *secret);
    place.is_some_and(|place| set.opens(place, now))
}

#[test]
fn the_next_key_opens_a_whole_period_before_it_seals() {
    let set = KeySet::begin(START, fresh());
    let [first, next] = set.keys() else {
        panic!("two keys")
    };
    assert!(opens(&set, &next.secret, START));
    assert_eq!(sealing(&set, START), &first.secret);
    assert_eq!(sealing(&set, START + 6 * HOUR - 1), &first.secret);
    assert_eq!(sealing(&set, START + 6 * HOUR), &next.secret);
    assert!(opens(&set, &first.secret, START + 18 * HOUR - 1));
    assert!(!opens(&set, &first.secret, START + 18 * HOUR));
    assert!(
        opens(&set, &next.secret, START + 1000 * HOUR),
        "there is no other"
    );
}

#[test]
fn a_rotation_is_due_when_there_is_no_next_key_or_an_old_one_no_longer_opens() {
    let mut secrets = fresh();
    let set = KeySet::begin(START, &mut secrets);
    assert_eq!(set.rotated(START + 6 * HOUR, &mut secrets), None);
    let second = set.rotated(START + 7 * HOUR, &mut secrets).expect("due");
    assert_eq!(second.keys().len(), 3);
    assert_eq!(second.keys()[2].seals_from, START + 13 * HOUR);
    assert_eq!(second.rotated(START + 12 * HOUR, &mut secrets), None);
    let third = second
        .rotated(START + 18 * HOUR, &mut secrets)
        .expect("due");
    assert_eq!(
        third.keys()[0],
        second.keys()[1],
        "the first one was dropped"
    );
}

#[test]
fn the_operators_order_does_not_depend_on_the_time() {
    let ordered = |count| {
        let mut secrets = fresh();
        KeySet::ordered((0..count).map(|_| secrets()).collect())
    };
    for (count, expected) in [(1, 1), (2, 1), (3, 2), (5, 4)] {
        let set = ordered(count).expect("a set");
        assert_eq!(sealing(&set, START), &TicketSecret::new([expected; 32]));
        assert!((0..count).all(|place| set.opens(place, START)), "{count}");
    }
    assert_eq!(ordered(0), Err(KeySetFault::Empty));
    assert_eq!(ordered(SECRETS_MAX + 1), Err(KeySetFault::TooMany));
    let same = vec![TicketSecret::new([1; 32]); 2];
    assert_eq!(KeySet::ordered(same), Err(KeySetFault::Twice));
}

#[test]
fn keys_of_a_clock_that_was_far_ahead_do_not_stop_the_rotation() {
    let mut secrets = fresh();
    let ahead = KeySet::begin(START + 100_000 * HOUR, &mut secrets);
    let mended = ahead.rotated(START, &mut secrets).expect("due");
    assert_eq!(mended.keys()[0].seals_from, START);
    assert_eq!(mended.rotated(START, &mut secrets), None);
}

proptest! {
    /// Whatever gateways rotate at whatever times: what one of them has sealed, all that know
    /// of the rotations up to one period ago open for the lifetime of a ticket.
    #[test]
    fn a_gateway_that_is_a_period_behind_opens_what_the_others_seal(
        steps in proptest::collection::vec(0_u64..8 * HOUR, 1..40),
    ) {
        let mut secrets = {
            let mut count = 0_u64;
            move || {
                count += 1;
                let mut bytes = [0; 32];
                bytes[..8].copy_from_slice(&count.to_be_bytes());
                TicketSecret::new(bytes)
            }
        };
        let mut now = START;
        // The set in force since each time.
        let mut history = vec![(now, KeySet::begin(now, &mut secrets))];
        for step in steps {
            now += step;
            let set = history.last().expect("not empty").1.clone();
            let set = set.rotated(now, &mut secrets).unwrap_or(set);
            let sealed = sealing(&set, now).clone();
            history.push((now, set));
            let behind = history.iter().rfind(|(since, _)| *since + 6 * HOUR <= now);
            if let Some((_, behind)) = behind {
                // The key that seals was published with the rotation a period earlier at the
                // latest, unless nothing rotated for longer than that.
                let known = behind.keys().iter().any(|key| key.secret == sealed);
                prop_assert!(known, "at {now}");
            }
            for (since, past) in &history {
                let lately = now < since + 12 * HOUR;
                let current = &history.last().expect("not empty").1;
                prop_assert!(!lately || opens(current, sealing(past, *since), now));
            }
        }
    }
}
