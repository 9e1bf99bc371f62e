mod handed;
mod handovers;

use proptest::prelude::*;

use super::*;
use crate::core::messages::history::twins::LAG_MAX;

fn group(name: &str) -> GroupName {
    GroupName::parse(name).expect("a name")
}

fn history(messages: usize, age: u64, bytes_max: usize) -> History<u32> {
    let rule = snapshot::History {
        groups: vec!["group:kept-*".parse().expect("a scope")],
        messages,
        age: Duration::from_millis(age),
    };
    History::new([rule].into(), bytes_max, 0, None)
}

/// The new process has all messages of the old one.
fn complete(old: &History<u32>, new: &mut History<u32>) {
    let (floors, head) = old.completion(old.last()).expect("no further message");
    for (group, floor) in floors {
        new.adopt_floor(group, floor);
    }
    new.adopt_head(head);
}

#[test]
fn only_groups_with_a_rule_are_kept() {
    let rules = history(10, 1000, 1 << 20).rules;
    let target = |text: &str| text.parse::<Target>().expect("a target");
    let targets = [
        "group:kept-b",
        "group:other",
        "principal:kept-a",
        "group:kept-a",
        "all",
    ];
    let kept = History::<u32>::kept_of(&rules, &targets.map(target));
    assert_eq!(kept, [group("kept-a"), group("kept-b")]);
}

#[test]
fn i8_the_bytes_of_all_groups_are_bounded() {
    let mut history = history(1000, 100_000, 10 * (OVERHEAD + 100));
    for number in 0..100 {
        let id = history.next_id(number);
        let name = group(&format!("kept-{}", number % 7));
        history.keep((id, None), &[name], 100, &0, number);
    }
    assert_eq!(history.order.len(), 10);
    assert_eq!(history.bytes, 10 * (OVERHEAD + 100));
    assert!(history.groups.len() <= 7);
}

#[test]
fn an_id_of_another_gateway_and_an_interruption_are_gaps() {
    let rules = history(10, 100_000, 1 << 20).rules;
    let gateway = |tag| History::<u32>::new(Arc::clone(&rules), 1 << 20, 0, Some(tag));
    let (mut one, other) = (gateway(1), gateway(2));
    let mine = [group("kept-a")];
    let mut keep = |millis| {
        let id = one.next_id(millis);
        one.keep((id, None), &mine, 1, &0, millis);
        id
    };
    let ids = [keep(5), keep(5), keep(4), keep(6)];
    assert!(
        ids.is_sorted() && ids.iter().all(|id| mark_of(*id) == 1),
        "{ids:?}"
    );
    assert!(!one.since(&mine, ids[0], 10, 9).gap);
    assert!(
        other.since(&mine, ids[0], 10, 9).gap,
        "an id of another gateway"
    );
    one.interrupt(&mine[0], HistoryId::at(7));
    assert!(
        one.since(&mine, ids[3], 10, 9).gap,
        "nothing came for a while"
    );
    let id = one.next_id(8);
    one.keep((id, None), &mine, 1, &0, 8);
    assert!(!one.since(&mine, id, 10, 9).gap);
    one.interrupt_all(HistoryId::at(9));
    assert!(one.since(&mine, id, 10, 9).gap);
}

/// Two processes of a gateway get the same messages of the broker while one hands over to the
/// other. Ids are (tag, milliseconds, number).
#[test]
fn i1_what_both_processes_of_a_handover_got_is_missed_once() {
    let rules = history(100, 100_000, 1 << 20).rules;
    let gateway = |tag| History::<u32>::new(Arc::clone(&rules), 1 << 20, 0, Some(tag));
    let (mut old, mut new) = (gateway(1), gateway(2));
    new.begin_handover();
    let mine = [group("kept-a")];
    let name = |number: u32| Arc::<str>::from(format!("~{number}"));
    let keep = |history: &mut History<u32>, number, millis| {
        let id = history.next_id(millis);
        history.keep((id, Some(&name(number))), &mine, 1, &number, millis);
        id
    };
    // The new process gets them earlier or later than the old one; the last one alone.
    let of_old: Vec<_> = (0..4)
        .map(|one| keep(&mut old, one, 10 + u64::from(one)))
        .collect();
    let of_new: Vec<_> = (1..4)
        .map(|one| keep(&mut new, one, 9 + u64::from(one) * 2))
        .collect();
    for carried in old.behind(HistoryId::default(), usize::MAX) {
        let name = name(carried.message);
        new.adopt((&carried.ids, Some(&name)), &mine, 1, &carried.message, 20);
    }
    let late = keep(&mut old, 4, 20);
    new.adopt((&[late], Some(&name(4))), &mine, 1, &4, 20);
    keep(&mut new, 4, 20);
    complete(&old, &mut new);
    new.handed_over(20);
    let missed = |history: &History<u32>, since| {
        let missed = history.since(&mine, since, 10, 30);
        assert!(!missed.gap, "{since}");
        missed.messages
    };
    for (got, id) in of_old.iter().enumerate() {
        let rest: Vec<_> = (got as u32 + 1..5).collect();
        assert_eq!(missed(&new, *id), rest, "a session of the old process");
    }
    for (got, id) in of_new.iter().enumerate() {
        let rest: Vec<_> = (got as u32 + 2..5).collect();
        assert_eq!(missed(&new, *id), rest, "a session of the new process");
    }
    let next = keep(&mut new, 5, 20 + LAG_MAX + 1);
    keep(&mut new, 6, 20 + LAG_MAX + 1);
    assert_eq!(missed(&new, next), [6]);
    assert_eq!(missed(&new, late), [5, 6]);
    // Sessions that stay with the old process get further messages under ids of its own.
    let foreign = keep(&mut old, 5, 20 + LAG_MAX + 1);
    assert!(new.since(&mine, foreign, 10, 30).gap);
    assert!(new.twins.is_none());
}

/// Without a mark of its own an id is one of the log.
#[test]
fn an_id_of_a_gateway_is_a_gap_in_the_log() {
    let mine = [group("kept-a")];
    let mut history = history(10, 100_000, 1 << 20);
    let id = history.next_id(5);
    history.keep((id, None), &mine, 1, &0, 5);
    assert!(!history.since(&mine, id, 10, 9).gap);
    let other = Lineage::new(0).next_id(id, 6);
    assert!(history.since(&mine, other, 10, 9).gap);
}

/// Messages of the old process come behind newer ones, and the oldest are too much.
#[test]
fn i8_what_is_adopted_is_dropped_in_order() {
    let rules = history(2, 100_000, 1 << 20).rules;
    let gateway = |mark| History::<u32>::new(Arc::clone(&rules), 1 << 20, 0, Some(mark));
    let (old, mut new) = (gateway(1), gateway(2));
    let mine = [group("kept-a")];
    let ids: Vec<_> = [10, 20, 30].map(|at| old.next_id(at)).into();
    for id in &ids[1..] {
        new.keep((*id, None), &mine, 1, &(id.millis as u32), 30);
    }
    new.adopt((&ids[..1], None), &mine, 1, &10, 30);
    let behind = new.behind(HistoryId::default(), usize::MAX);
    let kept: Vec<_> = behind.iter().map(|one| one.message).collect();
    assert_eq!(kept, [20, 30]);
    let (floors, head) = new.completion(ids[2]).expect("the newest");
    assert_eq!(floors, [(mine[0].clone(), ids[0])]);
    assert_eq!(head.lineage.last().map(|own| own.last), Some(ids[2]));
    assert_eq!(new.completion(ids[1]), None, "one more is to be sent");
}

/// What was published, as a list.
#[derive(Clone, Debug)]
struct Step {
    groups: Vec<u8>,
    later: u64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (prop::collection::vec(0_u8..4, 1..3), 0_u64..40);
    let step = step.prop_map(|(groups, later)| Step { groups, later });
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// A client gets what it missed once and in order, or is told that something is missing.
    #[test]
    fn what_was_missed_comes_once_or_a_gap_is_told(
        steps in steps(),
        messages in 1_usize..12,
        age in 1_u64..400,
        room in 1_usize..40,
        of in prop::collection::btree_set(0_u8..4, 1..4),
        seen in any::<prop::sample::Index>(),
        page in 1_usize..5,
    ) {
        let mut history = history(messages, age, room * (OVERHEAD + 1));
        let name = |number: u8| group(&format!("kept-{number}"));
        let mut now = 1;
        let mut published: Vec<(HistoryId, u32, Vec<u8>)> = vec![];
        for (number, step) in steps.iter().enumerate() {
            now += step.later;
            let mut groups: Vec<_> = step.groups.iter().copied().map(name).collect();
            groups.sort_unstable();
            groups.dedup();
            let id = history.next_id(now);
            prop_assert!(published.last().is_none_or(|(last, ..)| *last < id));
            history.keep((id, None), &groups, 1, &(number as u32), now);
            published.push((id, number as u32, step.groups.clone()));
        }
        let (since, ..) = published[seen.index(published.len())];
        let mine: Vec<_> = of.iter().copied().map(name).collect();
        let Missed { messages, gap, more } = history.since(&mine, since, usize::MAX, now);
        prop_assert!(!more);
        // The same in pages.
        let (mut paged, mut from) = (vec![], since);
        loop {
            let Missed { messages, more, .. } = history.since(&mine, from, page, now);
            for number in messages {
                from = published[number as usize].0;
                paged.push(number);
            }
            if !more {
                break;
            }
        }
        prop_assert_eq!(&paged, &messages);
        let behind = published.iter().filter(|(id, ..)| *id > since);
        let for_me = behind.filter(|(_, _, groups)| groups.iter().any(|one| of.contains(one)));
        let expected: Vec<_> = for_me.map(|(_, number, _)| *number).collect();
        match gap {
            false => prop_assert_eq!(messages, expected),
            true => {
                let mut rest = expected.iter();
                prop_assert!(messages.iter().all(|one| rest.any(|other| other == one)));
            }
        }
    }
}
