//! Plans of drains, step by step and against chance.

use proptest::prelude::*;

use super::*;

fn sessions(range: std::ops::Range<u64>) -> Vec<Candidate> {
    let one = |n| Candidate {
        id: SessionId::new(n, 0),
        idle: Duration::from_millis(n),
        movable: n.is_multiple_of(2),
        busy: false,
    };
    range.map(one).collect()
}

fn profile(tempo: Tempo, jitter: f64) -> Profile {
    Profile {
        tempo,
        jitter,
        deadline: None,
    }
}

#[test]
fn idle_ones_go_first() {
    let mut candidates = sessions(0..3);
    idle_first(&mut candidates);
    let order: Vec<_> = candidates.iter().map(|one| one.idle.as_millis()).collect();
    assert_eq!(order, [2, 1, 0]);
}

#[test]
fn a_plan_goes_as_configured() {
    let configured = Drain {
        tempo: Tempo::Pace(Pace::each_second(7.0)),
        jitter: 0.25,
        deadline: Some(Duration::from_secs(90)),
        ..Drain::default()
    };
    let expected = Profile {
        tempo: Tempo::Pace(Pace::each_second(7.0)),
        jitter: 0.25,
        deadline: Some(Duration::from_secs(90)),
    };
    assert_eq!(Profile::from(&configured), expected);
}

#[test]
fn chance_moves_each_within_its_slot_and_no_two_gateways_alike() {
    let moments = |jitter, seed| -> Vec<Millis> {
        let mut plan = Plan::new(
            profile(Tempo::Pace(Pace::each_second(1.0)), jitter),
            0,
            seed,
        );
        plan.survey(&sessions(0..20));
        let ordered = (0..20_000).filter(|now| !plan.due(*now).is_empty());
        ordered.collect()
    };
    assert_eq!(moments(0.0, 1), moments(0.0, 2));
    assert_ne!(moments(1.0, 1), moments(1.0, 2));
    for (slot, at) in (0..).zip(moments(1.0, 1)) {
        let slot = slot * 1_000;
        assert!((slot..=slot + 1_001).contains(&at), "{at} in {slot}");
    }
}

#[test]
fn a_pause_holds_everything_back_and_what_follows_goes_on_from_there() {
    let mut plan = Plan::new(profile(Tempo::Within(Duration::from_secs(10)), 0.0), 0, 7);
    plan.survey(&sessions(0..100));
    let mut ordered = 0;
    for now in (0..=5_000).step_by(100) {
        ordered += plan.due(now).len();
    }
    plan.pause(5_000);
    assert_eq!(plan.due(600_000), []);
    assert_eq!(plan.progress().until_done, None);
    plan.resume(600_000);
    assert!((49..=51).contains(&ordered), "{ordered}");
    for now in (600_000..=604_900).step_by(100) {
        ordered += plan.due(now).len();
    }
    assert!((98..=99).contains(&ordered), "{ordered}");
    ordered += plan.due(605_000).len();
    assert_eq!((ordered, plan.progress().left), (100, 0));
}

#[test]
fn at_the_deadline_all_remaining_sessions_leave() {
    let slow = Profile {
        deadline: Some(Duration::from_secs(10)),
        ..profile(Tempo::Pace(Pace::each_second(1.0)), 0.5)
    };
    let mut plan = Plan::new(slow, 0, 7);
    plan.survey(&sessions(0..100));
    let before: usize = (0..10).map(|second| plan.due(second * 1_000).len()).sum();
    assert!((8..=10).contains(&before), "{before}");
    let left = Duration::from_secs(1);
    assert_eq!(plan.progress().until_done, Some(left));
    assert_eq!(plan.due(10_000).len(), 100 - before);
    assert!(!plan.is_overdue());
    plan.due(15_000);
    assert!(plan.is_overdue());
}

#[test]
fn sessions_that_did_not_move_are_ordered_again() {
    let mut plan = Plan::new(profile(Tempo::Within(Duration::from_secs(1)), 0.0), 0, 7);
    plan.survey(&sessions(0..2));
    assert_eq!(plan.due(1_000).len(), 2);
    let progress = plan.progress();
    assert_eq!((progress.moved, progress.closed), (1, 1));
    plan.survey(&[Candidate {
        busy: true,
        ..sessions(0..1)[0]
    }]);
    assert!(!plan.is_done(), "it is on its way");
    plan.survey(&sessions(0..1));
    assert_eq!(plan.progress().moved, 0);
    assert_eq!(plan.due(1_100).len(), 1, "and the time is over");
    plan.survey(&[]);
    assert!(plan.is_done());
    assert_eq!(plan.progress().total, 2);
}

#[test]
fn sessions_that_ignored_their_order_do_not_count_and_make_room() {
    let mut plan = Plan::new(profile(Tempo::Pace(Pace::each_second(4.0)), 0.0), 0, 7);
    plan.survey(&sessions(0..20));
    let due = plan.due(1_000);
    assert_eq!(due.len(), 4, "two of them move");
    plan.were_told(&due, 1, 1);
    let progress = plan.progress();
    assert_eq!((progress.moved, progress.closed), (1, 1));
    assert_eq!(plan.due(1_000).len(), 2, "others go instead");
    let progress = plan.progress();
    assert_eq!((progress.moved, progress.closed), (2, 2));
}

#[test]
fn a_shutdown_is_shared_by_what_each_has() {
    let shutdown = Shutdown {
        delay: Duration::ZERO,
        grace: Duration::from_secs(30),
        per_second: Some(100.0),
        jitter: 0.5,
    };
    let tempo = Profile::of_shutdown(&shutdown, 30, 120).tempo;
    assert_eq!(tempo, Tempo::Pace(Pace::each_second(25.0)));
}

proptest! {
    #[test]
    fn a_pace_is_kept_within_five_percent(
        pace in 0.2_f64..500.0,
        jitter in 0.0_f64..=1.0,
        seed in any::<u64>(),
        steps in prop::collection::vec(1_u64..900, 50..200),
    ) {
        let mut plan = Plan::new(profile(Tempo::Pace(Pace::each_second(pace)), jitter), 0, seed);
        plan.survey(&sessions(0..100_000));
        let (mut now, mut ordered) = (0, 0_usize);
        for step in steps {
            now += step;
            ordered += plan.due(now).len();
            let ideal = pace * now as f64 / 1_000.0;
            let off = (ordered as f64 - ideal).abs();
            prop_assert!(off <= ideal * 0.05 + 1.0, "{ordered} instead of {ideal} after {now} ms");
        }
    }

    #[test]
    fn a_time_is_kept_and_filled_evenly(
        count in 1_u64..3_000,
        seconds in 2_u64..600,
        jitter in 0.0_f64..=1.0,
        seed in any::<u64>(),
    ) {
        let within = Duration::from_secs(seconds);
        let mut plan = Plan::new(profile(Tempo::Within(within), jitter), 0, seed);
        plan.survey(&sessions(0..count));
        let mut ordered = 0_usize;
        for now in (0..=seconds * 1_000).step_by(100) {
            ordered += plan.due(now).len();
            let ideal = count as f64 * now as f64 / (seconds as f64 * 1_000.0);
            let off = (ordered as f64 - ideal).abs();
            prop_assert!(off <= ideal * 0.05 + 1.0, "{ordered} instead of {ideal} after {now} ms");
        }
        prop_assert_eq!(ordered as u64, count);
    }

    #[test]
    fn sessions_may_come_and_go_and_each_is_told_once(
        changes in prop::collection::vec((0_u64..40, 0_u64..40), 20),
        seed in any::<u64>(),
    ) {
        let within = Duration::from_secs(20);
        let mut plan = Plan::new(profile(Tempo::Within(within), 0.5), 0, seed);
        let mut there = sessions(0..200);
        let (mut next, mut ordered) = (200, std::collections::HashSet::new());
        for (second, (come, go)) in (0..).zip(changes) {
            there.extend(sessions(next..next + come));
            next += come;
            there.drain(..usize::try_from(go).unwrap().min(there.len()));
            plan.survey(&there);
            for tenth in 0..10 {
                for one in plan.due(second * 1_000 + tenth * 100) {
                    prop_assert!(ordered.insert(one.id), "ordered twice");
                    there.retain(|other| other.id != one.id);
                }
            }
        }
        plan.survey(&there);
        let rest = plan.due(20_000);
        prop_assert_eq!(rest.len(), there.len());
        prop_assert!(rest.len() < 60, "{} are left to the last moment", rest.len());
    }
}

#[test]
fn what_is_due_may_be_taken_in_parts() {
    let mut plan = Plan::new(profile(Tempo::Within(Duration::ZERO), 0.0), 0, 1);
    plan.survey(&sessions(0..10));
    let parts: Vec<_> = (0..4).map(|_| plan.due_at_most(1, 4).len()).collect();
    assert_eq!(parts, [4, 4, 2, 0]);
    assert_eq!(plan.progress().left, 0);
}
