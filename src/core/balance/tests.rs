//! What all policies keep, above all I2 and I3.

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

const POLICIES: [Policy; 6] = [
    Policy::ConsistentHash,
    Policy::Rendezvous,
    Policy::Maglev,
    Policy::LeastSessions,
    Policy::RoundRobin,
    Policy::RandomTwo,
];
const BY_KEY: [Policy; 3] = [Policy::ConsistentHash, Policy::Rendezvous, Policy::Maglev];

/// Members `b00000`, `b00001`, … with these weights.
pub(super) fn members(weights: &[u32]) -> Vec<(BackendId, u32)> {
    let named = |(index, weight): (usize, &u32)| {
        let id = BackendId::from(format!("b{index:05}").as_str());
        (id, *weight)
    };
    weights.iter().enumerate().map(named).collect()
}

/// Members as a test defines them.
struct Fake {
    sessions: Vec<u64>,
    verdicts: Vec<Result<(), Passed>>,
}

impl Fake {
    fn well(count: usize) -> Self {
        Self {
            sessions: vec![0; count],
            verdicts: vec![Ok(()); count],
        }
    }

    fn without(count: usize, index: usize) -> Self {
        let mut fake = Self::well(count);
        fake.verdicts[index] = Err(Passed::Unhealthy);
        fake
    }
}

impl Members for Fake {
    fn len(&self) -> usize {
        self.verdicts.len()
    }

    fn sessions(&self, index: usize) -> u64 {
        self.sessions[index]
    }

    fn verdict(&self, index: usize) -> Result<(), Passed> {
        self.verdicts[index]
    }
}

fn keys(count: u32) -> impl Iterator<Item = [u8; 4]> {
    (0..count).map(u32::to_le_bytes)
}

/// Who holds each of `count` keys while all are well, by name.
fn holders(policy: Policy, members: &[(BackendId, u32)], count: u32) -> Vec<BackendId> {
    let balancer = Balancer::new(policy, None, members);
    let well = Fake::well(members.len());
    let holder = |key: [u8; 4]| balancer.pick(Some(&key), &well, 0).expect("all are well");
    keys(count)
        .map(|key| members[holder(key)].0.clone())
        .collect()
}

#[derive(Deserialize)]
struct Vectors {
    policy: String,
    members: BTreeMap<String, u32>,
    walks_by_hex_key: BTreeMap<String, Vec<String>>,
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(byte).collect()
}

/// The vectors are made by another implementation (`placement.py` beside them), from the
/// documentation alone. They never change.
#[test]
fn i2_keys_go_where_the_golden_vectors_say() {
    let text = include_str!("../../../tests/vectors/placement.json");
    let groups: Vec<Vectors> = serde_json::from_str(text).expect("the vectors are JSON");
    assert_eq!(groups.len(), 21, "three policies, seven sets of members");
    for group in groups {
        let policy = BY_KEY
            .into_iter()
            .find(|policy| serde_json::to_value(policy).expect("a name") == group.policy)
            .expect("a policy by key");
        let members: Vec<_> = group
            .members
            .iter()
            .map(|(id, weight)| (BackendId::from(id.as_str()), *weight))
            .collect();
        let balancer = Balancer::new(policy, None, &members);
        let mut none = Fake::well(members.len());
        none.verdicts.fill(Err(Passed::Disabled));
        for (key, expected) in group.walks_by_hex_key {
            let walk = balancer.walk(Some(&unhex(&key)), &none, 7);
            assert_eq!(walk.len(), members.len(), "everybody is asked");
            let found: Vec<_> = walk.iter().map(|step| &*members[step.index].0).collect();
            let ids: Vec<_> = group.members.keys().collect();
            assert_eq!(
                found[..expected.len()],
                expected,
                "{policy:?} of {ids:?}, key {key}"
            );
        }
    }
}

fn weights() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(1_u32..8, 2..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Read from right to left: adding one moves keys only to it.
    #[test]
    fn i3_taking_one_away_moves_only_its_keys(weights in weights(), gone in any::<prop::sample::Index>()) {
        let before = members(&weights);
        let gone = gone.index(before.len());
        let mut after = before.clone();
        let (gone, _) = after.remove(gone);
        for policy in [Policy::ConsistentHash, Policy::Rendezvous] {
            let pairs = holders(policy, &before, 300).into_iter().zip(holders(policy, &after, 300));
            for (before, after) in pairs {
                prop_assert!(before == after || before == gone, "{:?}: {} to {}", policy, before, after);
            }
        }
    }

    #[test]
    fn i3_a_greater_weight_moves_keys_only_to_it(weights in weights(), chosen in any::<prop::sample::Index>()) {
        let light = members(&weights);
        let mut heavy = light.clone();
        let chosen = &mut heavy[chosen.index(light.len())];
        chosen.1 += 3;
        let chosen = chosen.0.clone();
        for policy in [Policy::ConsistentHash, Policy::Rendezvous] {
            let pairs = holders(policy, &light, 300).into_iter().zip(holders(policy, &heavy, 300));
            for (light, heavy) in pairs {
                prop_assert!(light == heavy || heavy == chosen, "{:?}: {} to {}", policy, light, heavy);
            }
        }
    }

    /// Health is never built in, so a member that returns has exactly its own keys again; and while
    /// it is away they are where a gateway that never knew it would put them (but for maglev).
    #[test]
    fn i3_an_unhealthy_member_lends_only_its_own_keys(weights in weights(), ill in any::<prop::sample::Index>()) {
        let all = members(&weights);
        let ill = ill.index(all.len());
        let mut rest = all.clone();
        rest.remove(ill);
        for policy in BY_KEY {
            let balancer = Balancer::new(policy, None, &all);
            let (well, fewer) = (Fake::well(all.len()), Fake::without(all.len(), ill));
            let reduced = holders(policy, &rest, 300);
            for (key, reduced) in keys(300).zip(reduced) {
                let own = balancer.pick(Some(&key), &well, 0).expect("all are well");
                let lent = balancer.pick(Some(&key), &fewer, 0).expect("one is well");
                prop_assert!(lent != ill);
                prop_assert!(own == ill || own == lent, "{:?}", policy);
                if policy != Policy::Maglev {
                    prop_assert_eq!(&all[lent].0, &reduced);
                }
                prop_assert_eq!(balancer.pick(Some(&key), &well, 1), Some(own));
            }
        }
    }

    /// One implementation serves both; this checks it against its documentation.
    #[test]
    fn a_walk_ends_where_the_pick_does(
        states in prop::collection::vec((1_u32..20, 0_u64..9, 0_u8..4), 0..12),
        bounded in prop::option::of(1.0_f64..2.0),
        key in prop::option::of(prop::collection::vec(any::<u8>(), 0..9)),
        random in any::<u64>(),
    ) {
        let weights: Vec<_> = states.iter().map(|(weight, ..)| *weight).collect();
        let fake = Fake {
            sessions: states.iter().map(|(_, sessions, _)| *sessions).collect(),
            verdicts: states
                .iter()
                .map(|(.., state)| if *state == 0 { Err(Passed::Draining) } else { Ok(()) })
                .collect(),
        };
        for policy in POLICIES {
            let balancer = Balancer::new(policy, bounded, &members(&weights));
            for _ in 0..3 {
                let mut walk = balancer.walk(key.as_deref(), &fake, random);
                let picked = balancer.pick(key.as_deref(), &fake, random);
                let last = walk.last().filter(|step| step.verdict.is_ok());
                prop_assert_eq!(last.map(|step| step.index), picked);
                prop_assert_eq!(picked.is_some(), fake.verdicts.contains(&Ok(())));
                for step in &walk {
                    let expected = fake.verdict(step.index);
                    let over = step.verdict == Err(Passed::OverBound) && bounded.is_some();
                    prop_assert!(step.verdict == expected || (over && expected.is_ok()));
                }
                walk.sort_by_key(|step| step.index);
                walk.dedup_by_key(|step| step.index);
                prop_assert!(picked.is_some() || walk.len() == states.len());
            }
        }
    }

    #[test]
    fn bounded_load_holds_against_one_hot_key(
        weights in prop::collection::vec(1_u32..8, 1..10),
        percent in 100_u32..200,
    ) {
        let bound = f64::from(percent) / 100.0;
        let total: u32 = weights.iter().sum();
        let balancer = Balancer::new(Policy::ConsistentHash, Some(bound), &members(&weights));
        let mut fake = Fake::well(weights.len());
        for session in 1_u32..=60 {
            let picked = balancer.pick(Some(b"hot"), &fake, 0).expect("all are well");
            fake.sessions[picked] += 1;
            let most = bound * f64::from(session * weights[picked]) / f64::from(total);
            prop_assert!(fake.sessions[picked] as f64 <= (most - 1e-9).ceil());
        }
    }
}

#[test]
fn i3_adding_one_of_many_moves_about_its_share() {
    let (before, after) = (members(&[1; 50]), members(&[1; 51]));
    let new = &after[50].0;
    let count = 10_200;
    for policy in BY_KEY {
        let pairs = holders(policy, &before, count)
            .into_iter()
            .zip(holders(policy, &after, count));
        let (mut to_it, mut others) = (0, 0);
        for (before, after) in pairs {
            to_it += u32::from(after == *new);
            others += u32::from(after != *new && after != before);
        }
        // Its share is 200 keys.
        assert!((120..=280).contains(&to_it), "{policy:?}: {to_it}");
        let stray = if policy == Policy::Maglev {
            count / 50
        } else {
            0
        };
        assert!(others <= stray, "{policy:?}: {others}");
    }
}

/// The bounds that the documentation of the policies states: shares as parts of what the weight
/// asks for.
#[test]
fn shares_follow_weights_for_two_to_a_thousand_members() {
    let check = |policy, weights: &[u32], low: f64, high: f64| {
        let shares = Balancer::new(policy, None, &members(weights)).shares();
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        assert!(
            (shares.iter().sum::<f64>() - 1.0).abs() < 1e-9,
            "{policy:?}"
        );
        for (share, weight) in shares.iter().zip(weights) {
            let part = share * total / f64::from(*weight);
            let count = weights.len();
            assert!((low..=high).contains(&part), "{policy:?}, {count}: {part}");
        }
    };
    for count in [2, 3, 10, 100, 1000] {
        let equal = vec![1; count];
        let mixed: Vec<_> = (0..count).map(|index| 1 + index as u32 % 4).collect();
        for weights in [equal, mixed] {
            check(Policy::ConsistentHash, &weights, 0.65, 1.35);
            check(Policy::Maglev, &weights, 0.96, 1.04);
            check(Policy::Rendezvous, &weights, 1.0 - 1e-9, 1.0 + 1e-9);
        }
    }
    check(Policy::ConsistentHash, &[1, 100], 0.75, 1.25);
    check(Policy::Maglev, &[1, 1000], 0.97, 1.03);
}

/// Those without arcs or places to count, by what they do.
#[test]
fn picks_follow_weights() {
    let weights = [1, 2, 3, 6];
    for policy in POLICIES {
        let balancer = Balancer::new(policy, None, &members(&weights));
        let mut fake = Fake::well(4);
        let count = 12_000;
        for key in keys(count) {
            let random = mixed(5, u64::from(u32::from_le_bytes(key)));
            let picked = balancer
                .pick(Some(&key), &fake, random)
                .expect("all are well");
            fake.sessions[picked] += 1;
        }
        let slack = if policy == Policy::ConsistentHash {
            0.25
        } else {
            0.06
        };
        for (sessions, weight) in fake.sessions.iter().zip(weights) {
            let part = *sessions as f64 / f64::from(count / 12 * weight);
            assert!(
                (part - 1.0).abs() < slack,
                "{policy:?}: {:?}",
                fake.sessions
            );
        }
    }
}

#[test]
fn without_a_key_every_request_is_placed_alone() {
    for policy in BY_KEY {
        let balancer = Balancer::new(policy, None, &members(&[1; 4]));
        let fake = Fake::well(4);
        let mut held = [0; 4];
        for n in 0..400 {
            let random = mixed(1, n);
            held[balancer.pick(None, &fake, random).expect("all are well")] += 1;
        }
        assert!(
            held.iter().all(|held| (50..150).contains(held)),
            "{policy:?}: {held:?}"
        );
    }
}

#[test]
fn least_sessions_counts_for_the_weight_and_breaks_ties_at_random() {
    let check = |weights: &[u32], sessions: &[u64], expected: &[usize]| {
        let balancer = Balancer::new(Policy::LeastSessions, None, &members(weights));
        let mut fake = Fake::well(weights.len());
        fake.sessions.copy_from_slice(sessions);
        let mut found: Vec<_> = (0..200)
            .map(|random| balancer.pick(None, &fake, random).expect("all are well"))
            .collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, expected, "{weights:?} {sessions:?}");
    };
    check(&[1, 1, 1], &[3, 2, 4], &[1]);
    check(&[1, 1, 1], &[2, 3, 2], &[0, 2]);
    check(&[1, 3], &[1, 4], &[1]);
    check(&[1, 3], &[0, 0], &[1]);
    check(&[1, 3], &[0, 2], &[0, 1]);
}

#[test]
fn a_round_gives_each_member_one_turn_even_if_some_are_skipped() {
    let balancer = Balancer::new(Policy::RoundRobin, None, &members(&[1; 4]));
    let mut fake = Fake::well(4);
    let picks = |fake: &Fake, count| {
        let mut picks: Vec<_> = (0..count)
            .map(|random| balancer.pick(None, fake, random).expect("somebody is well"))
            .collect();
        picks.sort_unstable();
        picks
    };
    assert_eq!(picks(&fake, 4), [0, 1, 2, 3]);
    assert_eq!(picks(&fake, 8), [0, 0, 1, 1, 2, 2, 3, 3]);
    fake.verdicts[1] = Err(Passed::Draining);
    assert_eq!(picks(&fake, 6), [0, 0, 2, 2, 3, 3]);
}

#[test]
fn random_two_prefers_the_emptier() {
    let balancer = Balancer::new(Policy::RandomTwo, None, &members(&[1; 3]));
    let mut fake = Fake::well(3);
    fake.sessions = vec![9, 0, 5];
    let mut held = [0; 3];
    for random in 0..300 {
        held[balancer.pick(None, &fake, random).expect("all are well")] += 1;
    }
    // The fullest loses against either; the emptiest is drawn in two pairs of three.
    assert_eq!(held[0], 0);
    assert!((160..240).contains(&held[1]), "{held:?}");
}

/// No member is eligible; counts the calls.
struct Closed(Cell<usize>);

impl Members for Closed {
    fn len(&self) -> usize {
        1000
    }

    fn sessions(&self, _: usize) -> u64 {
        0
    }

    fn verdict(&self, _: usize) -> Result<(), Passed> {
        self.0.set(self.0.get() + 1);
        Err(Passed::Disabled)
    }
}

#[test]
fn a_pick_without_eligible_members_gives_up_early_and_a_walk_shows_all() {
    for policy in POLICIES {
        let balancer = Balancer::new(policy, Some(1.5), &members(&[1; 1000]));
        let closed = Closed(Cell::new(0));
        assert_eq!(balancer.pick(Some(b"k"), &closed, 1), None);
        assert_eq!(closed.0.get(), HOPELESS + 1000, "{policy:?}");
        assert_eq!(balancer.walk(Some(b"k"), &closed, 1).len(), 1000);
        let mut one = Fake::well(1000);
        one.verdicts.fill(Err(Passed::Disabled));
        one.verdicts[700] = Ok(());
        assert_eq!(balancer.pick(Some(b"k"), &one, 1), Some(700), "{policy:?}");
    }
}

#[test]
fn the_bound_is_a_share_of_what_eligible_members_have() {
    let balancer = Balancer::new(Policy::ConsistentHash, Some(1.0), &members(&[1; 3]));
    let mut fake = Fake::without(3, 0);
    fake.sessions = vec![100, 2, 0];
    for key in keys(20) {
        assert_eq!(
            balancer.pick(Some(&key), &fake, 0),
            Some(2),
            "half of 2 + 1 is 2 at most"
        );
    }
}

/// Each is empty when the sessions are summed up, and full when it is looked at again.
struct Filling(Cell<u64>);

impl Members for Filling {
    fn len(&self) -> usize {
        2
    }

    fn sessions(&self, _: usize) -> u64 {
        self.0.replace(self.0.get() + 10)
    }

    fn verdict(&self, _: usize) -> Result<(), Passed> {
        Ok(())
    }
}

#[test]
fn with_all_over_the_bound_the_first_takes_it() {
    let balancer = Balancer::new(Policy::ConsistentHash, Some(1.0), &members(&[1, 1]));
    let walk = balancer.walk(Some(b"k"), &Filling(Cell::new(0)), 0);
    let verdicts: Vec<_> = walk.iter().map(|step| step.verdict).collect();
    assert_eq!(
        verdicts,
        [Err(Passed::OverBound), Err(Passed::OverBound), Ok(())]
    );
    assert_eq!(walk[2].index, walk[0].index);
}
