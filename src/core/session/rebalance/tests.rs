use proptest::prelude::*;

use super::*;

const RULES: Rules = Rules {
    age_min: Duration::from_secs(60),
    skew: 1.1,
    close: false,
    limit: usize::MAX,
};

const ONE: Place = Place {
    weight: 1,
    level: 0,
};

fn resident(n: u64, at: usize, home: usize) -> Resident {
    Resident {
        id: SessionId::new(n, 0),
        key: n,
        at,
        home: Some(home),
        age: Duration::from_secs(3_600),
        idle: Duration::from_secs(n % 60),
        movable: true,
        busy: false,
    }
}

/// Three members have 300 sessions, a fourth came and owns a quarter of the keys.
fn scaled_out() -> Vec<Resident> {
    let home = |n: u64| {
        if n.is_multiple_of(4) {
            3
        } else {
            usize::try_from(n % 3).unwrap()
        }
    };
    (0..300)
        .map(|n| resident(n, usize::try_from(n % 3).unwrap(), home(n)))
        .collect()
}

fn loads(residents: &[Resident], moves: &[Move], members: usize) -> Vec<usize> {
    let mut loads = vec![0; members];
    residents.iter().for_each(|one| loads[one.at] += 1);
    for one in moves {
        loads[one.from] -= 1;
        loads[one.to] += 1;
    }
    loads
}

#[test]
fn a_newcomer_is_filled_down_to_the_skew_and_no_further() {
    let residents = scaled_out();
    let moves = choose(&[ONE; 4], &residents, &RULES);
    assert_eq!(loads(&residents, &moves, 4), [82, 82, 82, 54]);
    assert!(moves.iter().all(|one| one.to == 3));
    let all = Rules { skew: 0.0, ..RULES };
    let moves = choose(&[ONE; 4], &residents, &all);
    assert_eq!(loads(&residents, &moves, 4), [75, 75, 75, 75]);
    let few = Rules { limit: 10, ..RULES };
    assert_eq!(choose(&[ONE; 4], &residents, &few).len(), 10);
}

#[test]
fn young_and_busy_sessions_and_their_companions_stay() {
    let check = |change: &dyn Fn(&mut Resident), rules: &Rules, expected: usize| {
        let mut residents = scaled_out();
        residents.iter_mut().for_each(change);
        assert_eq!(choose(&[ONE; 4], &residents, rules).len(), expected);
    };
    let all = Rules { skew: 0.0, ..RULES };
    check(&|_| (), &all, 75);
    check(&|one| one.age = Duration::from_secs(1), &all, 0);
    check(&|one| one.busy = true, &all, 0);
    check(&|one| one.home = None, &all, 0);
    check(&|one| one.movable = false, &all, 0);
    let close = Rules { close: true, ..all };
    check(&|one| one.movable = false, &close, 75);
    // One key: a session of it that may not go holds the others.
    check(
        &|one| {
            one.key = 0;
            one.home = Some(3);
            one.busy = one.id == SessionId::new(0, 0);
        },
        &all,
        200,
    );
}

#[test]
fn sessions_that_spilled_over_go_home_whatever_the_load() {
    // Two members of the first level came back; the two of the second have everything.
    let places = [0, 0, 1, 1].map(|level| Place { weight: 1, level });
    let residents: Vec<_> = (0..100)
        .map(|n| {
            let home = usize::try_from(n % 2).unwrap();
            resident(n, 2 + home, home)
        })
        .collect();
    let moves = choose(&places, &residents, &RULES);
    assert_eq!(loads(&residents, &moves, 4), [50, 50, 0, 0]);
    let few = Rules { limit: 30, ..RULES };
    assert_eq!(choose(&places, &residents, &few).len(), 30);
    // Within a level the skew counts, by the sessions of the level.
    let residents: Vec<_> = (0..100)
        .map(|n| resident(n, 0, usize::from(n < 50)))
        .collect();
    let moves = choose(&places, &residents, &RULES);
    assert_eq!(loads(&residents, &moves, 4), [55, 45, 0, 0]);
}

proptest! {
    #[test]
    fn everybody_goes_home_or_nowhere_and_nobody_gets_worse(
        places in prop::collection::vec((0_usize..5, 0_usize..5, 0_u64..40), 1..300),
        skew in prop_oneof![Just(0.0), 1.0_f64..2.0],
        limit in 0_usize..300,
    ) {
        // A key has one home.
        let residents: Vec<_> = (0..).zip(&places).map(|(n, (at, _, key))| {
            let home = usize::try_from(*key).unwrap() % 5;
            Resident { key: *key, ..resident(n, *at, home) }
        }).collect();
        let rules = Rules { skew, limit, ..RULES };
        let moves = choose(&[ONE; 5], &residents, &rules);
        prop_assert!(moves.len() <= limit);
        for one in &moves {
            let who = residents.iter().find(|who| who.id == one.id).unwrap();
            prop_assert_eq!((who.at, who.home), (one.from, Some(one.to)));
        }
        let (before, after) = (loads(&residents, &[], 5), loads(&residents, &moves, 5));
        if skew > 0.0 {
            prop_assert!(after.iter().max() <= before.iter().max());
        }
        prop_assert_eq!(&moves, &choose(&[ONE; 5], &residents, &rules), "a rehearsal tells the truth");
        if skew == 0.0 && limit >= residents.len() {
            let away = residents.iter().filter(|one| one.home != Some(one.at)).count();
            prop_assert_eq!(moves.len(), away);
        }
    }
}
