//! The index against plain sets.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::base::clock;

const BOUNDS: GroupBounds = GroupBounds {
    per_session: 3,
    per_worker: 20,
};

impl TargetIndex {
    fn is_member(&self, id: SessionId, group: &GroupName) -> bool {
        self.groups_of(id).iter().any(|one| one.group == *group)
    }
}

fn id(number: u64) -> SessionId {
    SessionId::new(number, 0)
}

fn name(number: u8) -> GroupName {
    GroupName::parse(&format!("g{number}")).expect("a name")
}

fn membership(group: u8, expires: Option<Instant>) -> Membership {
    Membership {
        group: name(group),
        expires,
        metadata: None,
    }
}

#[test]
fn subscriptions_are_found_by_name_and_type_and_counted_with_groups() {
    let subscription = |name: &str, message_type| Subscription {
        name: name.into(),
        message_type,
    };
    let mut index = TargetIndex::default();
    let (auto, binary) = (
        subscription("a", MessageType::Auto),
        subscription("a", MessageType::Binary),
    );
    let edge = |edge| {
        Ok(Change {
            changed: true,
            edge,
        })
    };
    assert_eq!(index.subscribe(id(1), auto.clone(), BOUNDS), edge(true));
    assert_eq!(index.subscribe(id(2), auto.clone(), BOUNDS), edge(false));
    assert_eq!(index.subscribe(id(3), binary.clone(), BOUNDS), edge(true));
    let again = index.subscribe(id(1), binary.clone(), BOUNDS);
    assert_eq!(again, Ok(Change::default()), "it has the name already");
    assert_eq!(index.subscribers(&auto, None, 9).ids, [id(1), id(2)]);
    assert_eq!(index.subscribers(&auto, Some(id(1)), 9).ids, [id(2)]);
    assert_eq!(index.subscribers(&binary, None, 9).ids, [id(3)]);
    for number in 4..21 {
        assert!(index.subscribe(id(number), auto.clone(), BOUNDS).is_ok());
    }
    let refused = index.subscribe(id(21), auto.clone(), BOUNDS);
    assert_eq!(refused, Err(JoinError::Node));
    assert_eq!(
        index.join(id(1), membership(0, None), BOUNDS),
        Err(JoinError::Node)
    );
    assert_eq!(index.unsubscribe_all(id(3)), ["a".into()]);
    for number in (1..21).filter(|number| *number != 3) {
        let over = index.unsubscribe_all(id(number));
        assert_eq!(over.is_empty(), number != 20);
    }
    assert!(index.is_empty() && index.subscribers.is_empty());
    assert!(index.subscriptions.is_empty());
}

#[test]
fn i8_groups_of_a_session_and_of_a_worker_are_bounded() {
    let mut index = TargetIndex::default();
    for group in 0..3 {
        assert!(index.join(id(1), membership(group, None), BOUNDS).is_ok());
    }
    let refused = index.join(id(1), membership(9, None), BOUNDS);
    assert_eq!(refused, Err(JoinError::Session(3)));
    let again = index.join(id(1), membership(2, None), BOUNDS);
    assert_eq!(again, Ok(Change::default()), "a member joins again");
    for session in 2..7 {
        for group in 0..3 {
            index
                .join(id(session), membership(group, None), BOUNDS)
                .ok();
        }
    }
    assert_eq!(
        (index.len(), index.join(id(9), membership(0, None), BOUNDS)),
        (
            18,
            Ok(Change {
                changed: true,
                edge: false
            })
        )
    );
    index
        .join(id(9), membership(1, None), BOUNDS)
        .expect("the last one");
    assert_eq!(
        index.join(id(9), membership(2, None), BOUNDS),
        Err(JoinError::Node)
    );
    assert!(!index.is_member(id(9), &name(2)));
}

#[test]
fn a_large_group_is_read_in_slices() {
    let mut index = TargetIndex::default();
    let bounds = GroupBounds {
        per_worker: 1000,
        ..BOUNDS
    };
    for session in 0..25 {
        index
            .join(id(session), membership(0, None), bounds)
            .expect("in bounds");
    }
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let slice = index.group("g0", after, 10);
        assert!(slice.ids.len() <= 10);
        all.extend(slice.ids);
        after = slice.next;
        // A session that joins behind the slice is still found, and one that left does no harm.
        index.leave(id(9), &name(0));
        if after.is_none() {
            break;
        }
    }
    assert_eq!(all, (0..25).map(id).collect::<Vec<_>>());
    assert_eq!(
        index.group("g1", None, 10),
        MembersSlice {
            ids: Vec::new(),
            next: None
        }
    );
}

#[derive(Clone, Debug)]
enum Step {
    Join(u64, u8, Option<u64>),
    Leave(u64, u8),
    End(u64),
    Principal(u64, u8),
    Expire(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let life = prop::option::of(0_u64..20);
    prop_oneof![
        (0_u64..6, 0_u8..4, life).prop_map(|(one, group, life)| Step::Join(one, group, life)),
        (0_u64..6, 0_u8..4).prop_map(|(one, group)| Step::Leave(one, group)),
        (0_u64..6).prop_map(Step::End),
        (0_u64..6, 0_u8..3).prop_map(|(one, subject)| Step::Principal(one, subject)),
        (0_u64..20).prop_map(Step::Expire),
    ]
}

proptest! {
    /// Whatever joins, leaves and expires, the index has exactly the members of a plain model, the
    /// edges are reported exactly where a name gets its first or loses its last session, and
    /// nothing is left behind.
    #[test]
    fn the_index_has_what_a_plain_set_has(steps in prop::collection::vec(step(), 0..80)) {
        let began = clock::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut index = TargetIndex::default();
        let mut model: BTreeMap<(u8, u64), Option<Instant>> = BTreeMap::new();
        let mut subjects: BTreeSet<(u8, u64)> = BTreeSet::new();
        let of = |model: &BTreeMap<(u8, u64), _>, group: u8| model.keys().filter(|key| key.0 == group).count();
        for step in steps {
            match step {
                Step::Join(one, group, life) => {
                    let joined = index.join(id(one), membership(group, life.map(at)), BOUNDS);
                    let own = model.keys().filter(|key| key.1 == one).count();
                    let known = model.contains_key(&(group, one));
                    if !known && own >= BOUNDS.per_session {
                        prop_assert_eq!(joined, Err(JoinError::Session(own)));
                        continue;
                    }
                    let edge = of(&model, group) == 0;
                    prop_assert_eq!(joined, Ok(Change { changed: !known, edge }));
                    model.insert((group, one), life.map(at));
                }
                Step::Leave(one, group) => {
                    let left = index.leave(id(one), &name(group));
                    let changed = model.remove(&(group, one)).is_some();
                    let edge = changed && of(&model, group) == 0;
                    prop_assert_eq!(left, Change { changed, edge });
                }
                Step::End(one) => {
                    let left = index.leave_all(id(one));
                    let before = model.len();
                    model.retain(|key, _| key.1 != one);
                    prop_assert_eq!(left.len(), before - model.len());
                    for subject in 0..3 {
                        let last = subjects.remove(&(subject, one)) && !subjects.iter().any(|key| key.0 == subject);
                        prop_assert_eq!(index.remove_principal(&subject.to_string(), id(one)), last);
                    }
                }
                Step::Principal(one, subject) => {
                    let first = !subjects.iter().any(|key| key.0 == subject);
                    subjects.insert((subject, one));
                    prop_assert_eq!(index.add_principal(&subject.to_string().into(), id(one)), first);
                }
                Step::Expire(now) => {
                    let over = index.expire(at(now), usize::MAX);
                    let before = model.len();
                    model.retain(|_, expires| expires.is_none_or(|expires| expires > at(now)));
                    prop_assert_eq!(over.len(), before - model.len());
                }
            }
            prop_assert_eq!(index.len(), model.len());
            for group in 0..4 {
                let members: Vec<_> = model.keys().filter(|key| key.0 == group).map(|key| id(key.1)).collect();
                prop_assert_eq!(index.group_size(name(group).as_str()), members.len());
                prop_assert_eq!(index.group(name(group).as_str(), None, 100).ids, members);
            }
            for subject in 0..3_u8 {
                let members: Vec<_> = subjects.iter().filter(|key| key.0 == subject).map(|key| id(key.1)).collect();
                prop_assert_eq!(index.principal(&subject.to_string(), None, 100).ids, members);
            }
        }
        for one in 0..6 {
            index.leave_all(id(one));
        }
        prop_assert!(index.is_empty() && index.groups.is_empty());
        prop_assert!(index.memberships.is_empty() && index.expiring.is_empty());
    }
}

#[test]
fn i8_a_worker_is_subscribed_to_a_bounded_number_of_names() {
    let bounds = GroupBounds {
        per_worker: usize::MAX,
        ..BOUNDS
    };
    let named = |n: usize| Subscription {
        name: format!("room.{n}").into(),
        message_type: MessageType::Auto,
    };
    let mut index = TargetIndex::default();
    for n in 0..NAMES_MAX {
        assert!(index.subscribe(id(n as u64), named(n), bounds).is_ok());
    }
    let one_more = id(NAMES_MAX as u64);
    let refused = index.subscribe(one_more, named(NAMES_MAX), bounds);
    assert_eq!(refused, Err(JoinError::Names));
    // One that is there already costs the broker nothing.
    assert!(index.subscribe(one_more, named(7), bounds).is_ok());
    index.unsubscribe_all(id(0));
    assert!(index.subscribe(one_more, named(NAMES_MAX), bounds).is_ok());
}
