use proptest::prelude::*;

use super::*;
use crate::core::balance::LevelHealth;
use crate::core::balance::tests::members as named;

const BY_KEY: [Policy; 3] = [Policy::ConsistentHash, Policy::Rendezvous, Policy::Maglev];
const NOT_BY_KEY: [Policy; 3] = [Policy::LeastSessions, Policy::RoundRobin, Policy::RandomTwo];
const SHARE_MIN: f64 = 0.7;

/// A world with members of several levels, as a test defines it.
#[derive(Clone)]
struct World {
    members: Vec<Placed>,
    standing: Vec<Standing>,
    verdicts: Vec<Result<(), Passed>>,
    awake: Vec<f64>,
    sessions: Vec<u64>,
}

impl World {
    /// One member for each preference, all well.
    fn new(preferences: &[(u8, bool)]) -> Self {
        let count = preferences.len();
        let members = named(&vec![1; count]).into_iter().zip(preferences);
        let members = members.map(|((id, weight), (priority, elsewhere))| {
            let preference = Preference {
                priority: *priority,
                elsewhere: *elsewhere,
            };
            (id, weight, preference)
        });
        Self {
            members: members.collect(),
            standing: vec![Standing::Well; count],
            verdicts: vec![Ok(()); count],
            awake: vec![1.0; count],
            sessions: vec![0; count],
        }
    }

    /// `own` members in the node's zone, and `others`.
    fn zones(own: usize, others: usize) -> Self {
        let preferences: Vec<_> = (0..own + others).map(|index| (0, index >= own)).collect();
        Self::new(&preferences)
    }

    fn break_down(&mut self, index: usize) {
        self.standing[index] = Standing::Unwell;
        self.verdicts[index] = Err(Passed::Unhealthy);
    }

    fn take_out(&mut self, index: usize) {
        self.standing[index] = Standing::Out;
        self.verdicts[index] = Err(Passed::Draining);
    }

    fn levels(&self, policy: Policy) -> Levels {
        Levels::new(policy, None, &self.members)
    }

    /// With the levels, which decide what is passed on.
    fn seen<'w>(&'w self, levels: &'w Levels) -> Seen<'w> {
        Seen {
            world: self,
            levels,
        }
    }
}

struct Seen<'w> {
    world: &'w World,
    levels: &'w Levels,
}

impl Members for Seen<'_> {
    fn len(&self) -> usize {
        self.world.members.len()
    }

    fn sessions(&self, index: usize) -> u64 {
        self.world.sessions[index]
    }

    fn verdict(&self, index: usize) -> Result<(), Passed> {
        self.world.verdicts[index]
    }

    fn awake(&self, index: usize) -> f64 {
        self.world.awake[index]
    }

    fn standing(&self, index: usize) -> Standing {
        self.world.standing[index]
    }

    fn passes_on(&self, level: usize) -> f64 {
        health(self.world, self.levels, level).passes_on(SHARE_MIN)
    }
}

fn health(world: &World, levels: &Levels, level: usize) -> LevelHealth {
    let mut health = LevelHealth::default();
    for index in levels.members(level) {
        health.weight += u64::from(world.standing[index] != Standing::Out);
        health.well += u64::from(world.standing[index] == Standing::Well);
    }
    health
}

/// Where each of `count` keys goes.
fn placed(world: &World, policy: Policy, count: u32) -> Vec<Option<usize>> {
    let levels = world.levels(policy);
    let seen = world.seen(&levels);
    let pick = |key: u32| {
        let random = mixed(7, u64::from(key));
        levels.pick_noting(Some(&key.to_le_bytes()), &seen, random, |_, _| {})
    };
    (0..count).map(pick).collect()
}

fn in_level(world: &World, placed: &[Option<usize>], level: usize) -> f64 {
    let levels = world.levels(Policy::ConsistentHash);
    let there = placed.iter().flatten();
    let there = there.filter(|index| levels.of(**index) == level).count();
    there as f64 / placed.len() as f64
}

#[test]
fn members_stand_in_levels_by_priority_and_then_by_zone() {
    let world = World::new(&[(1, false), (0, true), (0, false), (1, true), (0, false)]);
    let levels = world.levels(Policy::ConsistentHash);
    let of: Vec<_> = (0..5).map(|index| levels.of(index)).collect();
    assert_eq!(of, [2, 1, 0, 3, 0]);
    assert_eq!(levels.members(0).collect::<Vec<_>>(), [2, 4]);
    let second = Preference {
        priority: 0,
        elsewhere: true,
    };
    assert_eq!((levels.count(), levels.preference(1)), (4, second));
    let shares = levels.shares();
    assert!((shares[2] + shares[4] - 1.0).abs() < 1e-9, "{shares:?}");
    assert_eq!(World::new(&[]).levels(Policy::Maglev).count(), 1);
}

#[test]
fn i8_there_are_no_more_levels_than_bits() {
    let preferences: Vec<_> = (0..100)
        .map(|priority| (priority, priority % 2 == 1))
        .collect();
    let levels = World::new(&preferences).levels(Policy::RoundRobin);
    assert_eq!((levels.count(), levels.of(31), levels.of(99)), (32, 31, 31));
}

#[test]
fn one_level_is_its_balancer() {
    let mut world = World::zones(5, 0);
    world.break_down(1);
    world.break_down(2);
    for policy in BY_KEY {
        let plain: Vec<_> = world
            .members
            .iter()
            .map(|(id, weight, _)| (id.clone(), *weight))
            .collect();
        let balancer = Balancer::new(policy, None, &plain);
        let levels = world.levels(policy);
        let seen = world.seen(&levels);
        for key in 0..500_u32 {
            let key = key.to_le_bytes();
            let walk = levels.walk(Some(&key), &seen, 0);
            assert_eq!(walk.steps, balancer.walk(Some(&key), &seen, 0));
            assert_eq!(walk.passed_on, 0);
            assert_eq!(levels.owner(&key, &seen), balancer.owner(&key, &seen));
        }
    }
}

#[test]
fn the_first_level_has_everything_while_it_is_well() {
    for policy in BY_KEY.into_iter().chain(NOT_BY_KEY) {
        let mut world = World::zones(10, 20);
        assert_eq!(in_level(&world, &placed(&world, policy, 500), 0), 1.0);
        // Three of ten may be missing, and it does not matter what happens elsewhere.
        for index in [0, 1, 2, 15, 16, 17] {
            world.break_down(index);
        }
        assert_eq!(
            in_level(&world, &placed(&world, policy, 500), 0),
            1.0,
            "{policy:?}"
        );
        world.take_out(3);
        world.break_down(4);
        let part = in_level(&world, &placed(&world, policy, 4_000), 0);
        let expected = (5.0 / 9.0) / SHARE_MIN;
        assert!(
            (part - expected).abs() < 0.05,
            "{policy:?}: {part}, not {expected}"
        );
    }
}

#[test]
fn a_level_that_is_gone_passes_everything_on_and_the_last_resort_is_anything_that_lives() {
    for policy in BY_KEY.into_iter().chain(NOT_BY_KEY) {
        let mut world = World::new(&[(0, false), (0, false), (0, true), (1, false), (1, true)]);
        let only = |world: &World, level| in_level(world, &placed(world, policy, 200), level);
        world.break_down(0);
        world.take_out(1);
        assert_eq!(only(&world, 1), 1.0, "{policy:?}: the other zone");
        world.verdicts[2] = Err(Passed::Full);
        assert_eq!(only(&world, 2), 1.0, "{policy:?}: the next priority");
        world.break_down(3);
        world.break_down(4);
        assert!(
            placed(&world, policy, 50).iter().all(Option::is_none),
            "{policy:?}"
        );
        world.verdicts[0] = Ok(());
        let all: Vec<_> = placed(&world, policy, 50);
        assert!(all.iter().all(|one| *one == Some(0)), "{policy:?}: {all:?}");
    }
}

#[test]
fn a_walk_shows_the_member_that_is_not_well_and_which_levels_passed_the_key_on() {
    let mut world = World::zones(2, 2);
    world.break_down(0);
    world.break_down(1);
    let levels = world.levels(Policy::ConsistentHash);
    let walk = levels.walk(Some(b"k"), &world.seen(&levels), 0);
    assert_eq!(walk.passed_on, 1);
    let [first, second] = &walk.steps[..] else {
        panic!("{walk:?}");
    };
    assert_eq!(
        (levels.of(first.index), first.verdict),
        (0, Err(Passed::Unhealthy))
    );
    assert_eq!((levels.of(second.index), second.verdict), (1, Ok(())));
}

#[test]
fn a_zone_that_wakes_up_takes_its_keys_one_after_the_other() {
    let mut world = World::zones(3, 3);
    let home = placed(&world, Policy::ConsistentHash, 1_000);
    for index in 0..3 {
        world.break_down(index);
    }
    let away = placed(&world, Policy::ConsistentHash, 1_000);
    let mut before = 0.0;
    for awake in [0.1, 0.4, 0.8] {
        let mut waking = World::zones(3, 3);
        waking.awake[..3].fill(awake);
        let now = placed(&waking, Policy::ConsistentHash, 1_000);
        let part = in_level(&waking, &now, 0);
        assert!(
            (part - awake).abs() < 0.06 && part > before,
            "{part} of {awake}"
        );
        before = part;
        for key in 0..1_000 {
            assert!(
                now[key] == home[key] || now[key] == away[key],
                "no third place"
            );
        }
    }
    // Where nobody is awake, one in slow start takes it.
    let mut alone = World::zones(3, 0);
    alone.awake.fill(0.0);
    assert!(
        placed(&alone, Policy::ConsistentHash, 50)
            .iter()
            .all(Option::is_some)
    );
}

#[test]
fn a_full_zone_spills_to_the_next_by_the_keys_order_there() {
    let mut world = World::zones(2, 3);
    world.verdicts[..2].fill(Err(Passed::Full));
    let full = placed(&world, Policy::ConsistentHash, 300);
    world.verdicts[..2].fill(Ok(()));
    world.break_down(0);
    world.break_down(1);
    assert_eq!(full, placed(&world, Policy::ConsistentHash, 300));
}

fn standings() -> impl Strategy<Value = Vec<(u8, bool, bool)>> {
    // Priority, zone, health.
    prop::collection::vec((0_u8..3, any::<bool>(), prop::bool::weighted(0.6)), 2..14)
}

fn world(of: &[(u8, bool, bool)]) -> World {
    let preferences: Vec<_> = of.iter().map(|one| (one.0, one.1)).collect();
    let mut world = World::new(&preferences);
    for (index, (.., well)) in of.iter().enumerate() {
        if !well {
            world.break_down(index);
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn i2_gateways_with_the_same_zone_and_health_place_alike(of in standings()) {
        for policy in BY_KEY {
            let one = placed(&world(&of), policy, 100);
            prop_assert_eq!(&one, &placed(&world(&of), policy, 100));
            // A key that is placed is placed at home.
            let world = world(&of);
            let levels = world.levels(policy);
            for (key, place) in (0_u32..).zip(one) {
                let owner = levels.owner(&key.to_le_bytes(), &world.seen(&levels));
                prop_assert_eq!(owner, place);
            }
        }
    }

    #[test]
    fn i3_a_member_that_breaks_down_moves_its_own_keys_and_those_of_the_broken_only(
        of in standings(),
        which in any::<prop::sample::Index>(),
    ) {
        let before = world(&of);
        let which = which.index(of.len());
        let mut after = before.clone();
        after.break_down(which);
        for policy in BY_KEY {
            let all_well = world(&of.iter().map(|one| (one.0, one.1, true)).collect::<Vec<_>>());
            let home = placed(&all_well, policy, 100);
            let (old, new) = (placed(&before, policy, 100), placed(&after, policy, 100));
            for key in 0..100 {
                let at_home = old[key] == home[key] && old[key] != Some(which);
                prop_assert!(!at_home || new[key] == old[key], "a key at home moved");
            }
            // It returns, and all is as it was.
            prop_assert_eq!(old, placed(&before, policy, 100));
        }
    }

    #[test]
    fn something_that_may_take_it_is_always_found(of in standings(), random in any::<u64>()) {
        let world = world(&of);
        let any = world.verdicts.iter().any(Result::is_ok);
        for policy in BY_KEY.into_iter().chain(NOT_BY_KEY) {
            let levels = world.levels(policy);
            let seen = world.seen(&levels);
            let steps = levels.walk(None, &seen, random).steps;
            let picked = levels.pick_noting(None, &seen, random, |_, _| {});
            prop_assert_eq!(picked.is_some(), any);
            if policy != Policy::RoundRobin {
                let taken = steps.last().filter(|step| step.verdict.is_ok());
                prop_assert_eq!(taken.map(|step| step.index), picked);
            }
        }
    }
}
