//! Where messages are missing after one hand-over.

use super::*;

/// A process that started then, with so much room and these rules.
fn process(rules: (usize, u64, usize), mark: u32, start: u64) -> History<u32> {
    let (messages, age, bytes_max) = rules;
    let rules = history(messages, age, bytes_max).rules;
    History::new(rules, bytes_max, start, Some(mark))
}

const ROOMY: (usize, u64, usize) = (10, 100_000, 1 << 20);

/// Keeps a message that is its time.
fn keep_at(history: &mut History<u32>, groups: &[GroupName], now: u64) -> HistoryId {
    let id = history.next_id(now);
    history.keep((id, None), groups, 1, &(now as u32), now);
    id
}

/// A message that came to the new process makes no room for one that the old one still has.
#[test]
fn i1_what_is_dropped_while_it_is_handed_over_is_a_gap() {
    let rules = (10, 100_000, 2 * (OVERHEAD + 1));
    let (mut old, mut new) = (process(rules, 1, 0), process(rules, 2, 40));
    new.begin_handover();
    let (mine, other) = ([group("kept-a")], [group("kept-b")]);
    let fresh = old.last();
    keep_at(&mut old, &mine, 10);
    keep_at(&mut old, &other, 20);
    keep_at(&mut new, &other, 50);
    for carried in old.behind(HistoryId::default(), usize::MAX) {
        let groups = if carried.message == 10 { &mine } else { &other };
        new.adopt((&carried.ids, None), groups, 1, &carried.message, 50);
    }
    complete(&old, &mut new);
    assert!(new.since(&mine, fresh, 10, 60).gap, "10 is dropped");
    let missed = new.since(&other, fresh, 10, 60);
    assert_eq!((missed.messages, missed.gap), (vec![20, 50], false));
}

/// Nothing is left of the old process' last message.
#[test]
fn i1_a_clock_that_is_set_back_takes_no_message_from_a_client() {
    let rules = (10, 100, 1 << 20);
    let (mut old, mut new) = (process(rules, 1, 1000), process(rules, 2, 500));
    let mine = [group("kept-a")];
    let last = old.next_id(1000);
    old.keep((last, None), &mine, 1, &0, 5000);
    complete(&old, &mut new);
    keep_at(&mut new, &mine, 600);
    let missed = new.since(&mine, last, 10, 700);
    assert_eq!((missed.messages, missed.gap), (vec![600], false));
}

/// Without its end a hand-over has no floors either.
#[test]
fn i1_after_half_a_hand_over_clients_learn_of_a_gap() {
    let (mut old, mut new) = (process(ROOMY, 1, 0), process(ROOMY, 2, 40));
    let mine = [group("kept-a")];
    let id = keep_at(&mut old, &mine, 10);
    new.adopt((&[id], None), &mine, 1, &10, 50);
    new.adopt_floor(mine[0].clone(), HistoryId::default());
    new.handed_over(50);
    assert!(new.since(&mine, id, 10, 60).gap, "whose id?");
    assert!(new.since(&mine, HistoryId::at(39), 10, 60).gap);
    assert!(!new.since(&mine, new.last(), 10, 60).gap);
}

#[test]
fn i1_what_was_before_the_first_process_is_a_gap_after_it() {
    let (mut old, mut new) = (process(ROOMY, 1, 1000), process(ROOMY, 2, 2000));
    let mine = [group("kept-a")];
    let id = keep_at(&mut old, &mine, 1010);
    new.adopt((&[id], None), &mine, 1, &1010, 2000);
    complete(&old, &mut new);
    for groups in [&mine, &[group("kept-b")]] {
        let time = |text| HistoryId::parse_since(text).expect("a time");
        let gap = |text| new.since(groups, time(text), 10, 2010).gap;
        assert!(gap("1000") && !gap("1001"), "{groups:?}");
    }
}

#[test]
fn i1_a_group_of_which_nothing_is_left_is_a_gap_in_the_next_process() {
    let rules = (10, 100, 1 << 20);
    let (mine, other) = ([group("kept-a")], [group("kept-b")]);
    for published in [false, true] {
        let (mut old, mut new) = (process(rules, 1, 0), process(rules, 2, 290));
        let ids = [10, 20].map(|at| keep_at(&mut old, &mine, at));
        let last = keep_at(&mut old, &other, 250);
        new.adopt((&[last], None), &other, 1, &250, 300);
        if published {
            // To the new process only.
            keep_at(&mut new, &mine, 300);
        }
        complete(&old, &mut new);
        assert!(new.since(&mine, ids[0], 10, 310).gap, "20 is missing");
        assert!(!new.since(&mine, ids[1], 10, 310).gap);
        assert!(!new.since(&other, last, 10, 310).gap);
    }
}

/// The old process' message is here before the broker delivers it.
#[test]
fn i1_a_message_that_came_late_to_the_new_process_is_behind_what_its_clients_had_then() {
    let mine = [group("kept-a")];
    let names = [0, 1].map(|number: u32| Arc::<str>::from(format!("~{number}")));
    for (messages, then) in [(10, false), (2, true), (1, false)] {
        let rules = (messages, 100_000, 1 << 20);
        let (old, mut new) = (process(rules, 1, 0), process(rules, 2, 0));
        new.begin_handover();
        let of_old = [10, 20].map(|at| old.next_id(at));
        let first = new.next_id(25);
        new.keep((first, Some(&names[0])), &mine, 1, &0, 25);
        for (number, id) in of_old.iter().enumerate() {
            let name = Some(&names[number]);
            new.adopt((&[*id], name), &mine, 1, &(number as u32), 26);
        }
        let second = new.next_id(30);
        new.keep((second, Some(&names[1])), &mine, 1, &1, 30);
        if then {
            keep_at(&mut new, &mine, 35);
        }
        let missed = new.since(&mine, first, 10, 40);
        match messages {
            10 => assert_eq!((missed.messages, missed.gap), (vec![1], false)),
            _ => assert!(missed.gap, "it had to go: {missed:?}"),
        }
        assert!(!new.since(&mine, second, 10, 40).gap);
    }
}

/// It is dropped before the broker delivers it, and nothing else of its group is here.
#[test]
fn i1_a_message_that_comes_after_it_was_dropped_is_a_gap() {
    let mine = [group("kept-a")];
    let rules = (10, 100, 1 << 20);
    let (old, mut new) = (process(rules, 1, 0), process(rules, 2, 150));
    new.begin_handover();
    let (before, name) = (new.last(), "~0".into());
    new.adopt((&[old.next_id(20)], Some(&name)), &mine, 1, &0, 160);
    let late = new.next_id(170);
    new.keep((late, Some(&name)), &mine, 1, &0, 170);
    complete(&old, &mut new);
    assert!(new.since(&mine, before, 10, 180).gap);
    assert!(!new.since(&mine, late, 10, 180).gap);
}
