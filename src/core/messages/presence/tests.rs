//! A roster against a model: nodes with members, and a broker that loses, doubles and reorders.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::base::clock;

const SECOND: Duration = Duration::from_secs(1);

fn member(number: u8) -> Member {
    Member {
        id: id(number),
        principal: None,
        route: "chat".into(),
        ttl_ms: None,
        metadata: None,
    }
}

fn id(number: u8) -> SessionId {
    SessionId::new(1, number.into())
}

fn group() -> GroupName {
    GroupName::parse("lobby").expect("a name")
}

fn name(node: usize) -> Arc<str> {
    format!("node-{node}").into()
}

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    Join(usize, u8),
    Leave(usize, u8),
    /// A member goes from one process to another; what the two send arrives in any order.
    Move(usize, usize, u8),
    Die(usize),
    /// The next part on the way is delivered, lost, doubled, or overtaken by the one behind it.
    Deliver,
    Lose,
    Double,
    Overtake,
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    let (node, number) = (0_usize..3, 0_u8..12);
    prop_oneof![
        4 => (node.clone(), number.clone()).prop_map(|(node, number)| Step::Join(node, number)),
        3 => (node.clone(), number.clone()).prop_map(|(node, number)| Step::Leave(node, number)),
        1 => (node.clone(), node.clone(), number)
            .prop_map(|(from, to, number)| Step::Move(from, to, number)),
        1 => node.prop_map(Step::Die),
        8 => Just(Step::Deliver),
        1 => Just(Step::Lose),
        1 => Just(Step::Double),
        1 => Just(Step::Overtake),
        2 => Just(Step::Tick),
    ]
}

/// A node: its members, and the stream to the watcher.
#[derive(Default)]
struct Node {
    members: BTreeSet<u8>,
    streams: Streams,
    dead: bool,
}

struct World {
    nodes: Vec<Node>,
    /// On the way, with the place of the sender.
    way: Vec<(usize, Part)>,
    roster: Roster,
    /// What a client has that applies each change.
    client: BTreeMap<SessionId, Arc<Member>>,
    now: Instant,
}

impl World {
    fn new() -> Self {
        Self {
            nodes: (0..3).map(|_| Node::default()).collect(),
            way: Vec::new(),
            roster: Roster::default(),
            client: BTreeMap::new(),
            now: clock::now(),
        }
    }

    fn watcher() -> Arc<str> {
        "watcher".into()
    }

    fn send(&mut self, node: usize, items: Vec<Item>) {
        let streams = &mut self.nodes[node].streams;
        if let Some(place) = streams.next(&group(), &Self::watcher()) {
            let group = group();
            self.way.push((
                node,
                Part {
                    group,
                    place,
                    items,
                },
            ));
        }
    }

    /// The watcher's question, or its renewal, arrives at a node.
    fn watch(&mut self, node: usize, again: bool) {
        if self.nodes[node].dead {
            return;
        }
        let now = self.now;
        let streams = &mut self.nodes[node].streams;
        match streams.watch(&group(), &Self::watcher(), again, now) {
            Watched::Begins(_) => {
                let members: Vec<_> = self.nodes[node].members.iter().copied().collect();
                for some in members.chunks(2) {
                    let items = some.iter().map(|number| Item::Member(member(*number)));
                    self.send(node, items.chain([Item::More]).collect());
                }
                self.send(node, vec![Item::Whole]);
            }
            Watched::GoesOn(place) => {
                let (group, items) = (group(), Vec::new());
                self.way.push((
                    node,
                    Part {
                        group,
                        place,
                        items,
                    },
                ));
            }
            Watched::Refused => panic!("there is room"),
        }
    }

    fn deliver(&mut self, node: usize, part: Part) {
        if self.nodes[node].dead {
            return;
        }
        let changes = self.roster.take(&name(node), part, self.now);
        self.apply(changes);
    }

    fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Join(member) => drop(self.client.insert(member.id, member)),
                Change::Leave(member) => {
                    assert!(self.client.remove(&member.id).is_some(), "it was there");
                }
            }
        }
        let shown: Vec<_> = self.roster.page(None, usize::MAX);
        let client: Vec<_> = self.client.values().cloned().collect();
        assert_eq!(shown, client, "changes and members agree");
    }

    fn tick(&mut self) {
        self.now += SECOND;
        let changes = self.roster.expire(self.now);
        self.apply(changes);
        for node in self.roster.to_ask(self.now) {
            let place = (0..3).find(|place| name(*place) == node);
            self.watch(place.expect("a node"), true);
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Join(node, number) => {
                let elsewhere = self.nodes.iter().any(|one| one.members.contains(&number));
                if !elsewhere && !self.nodes[node].dead {
                    self.nodes[node].members.insert(number);
                    self.send(node, vec![Item::Member(member(number))]);
                }
            }
            Step::Leave(node, number) => {
                if self.nodes[node].members.remove(&number) {
                    let (id, moved) = (id(number), false);
                    self.send(node, vec![Item::Left { id, moved }]);
                }
            }
            Step::Move(from, to, number) => {
                if from != to && !self.nodes[to].dead && self.nodes[from].members.remove(&number) {
                    self.nodes[to].members.insert(number);
                    let (id, moved) = (id(number), true);
                    self.send(from, vec![Item::Left { id, moved }]);
                    self.send(to, vec![Item::Member(member(number))]);
                }
            }
            Step::Die(node) => {
                let node_name = name(node);
                let one = &mut self.nodes[node];
                one.dead = true;
                one.members.clear();
                let changes = self.roster.gone(&node_name);
                self.apply(changes);
            }
            Step::Deliver | Step::Double => {
                if let Some((node, part)) = pop(&mut self.way) {
                    if matches!(step, Step::Double) {
                        self.way.push((node, part.clone()));
                    }
                    self.deliver(node, part);
                }
            }
            Step::Lose => drop(pop(&mut self.way)),
            Step::Overtake => {
                if self.way.len() > 1 {
                    self.way.swap(0, 1);
                }
            }
            Step::Tick => self.tick(),
        }
    }
}

fn pop(way: &mut Vec<(usize, Part)>) -> Option<(usize, Part)> {
    (!way.is_empty()).then(|| way.remove(0))
}

proptest! {
    /// Whatever happens, a client that applies each change has the members that the roster shows;
    /// and when the broker is well again, the roster has the members of all live nodes.
    #[test]
    fn a_roster_comes_to_what_is(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        for node in 0..3 {
            world.roster.expect(&name(node), world.now);
            world.watch(node, false);
        }
        for step in steps {
            world.take(step);
        }
        // The broker is well again: all arrives, and each renewal shows how far the streams are.
        for _ in 0..15 {
            for node in 0..3 {
                world.watch(node, false);
            }
            while let Some((node, part)) = pop(&mut world.way) {
                world.deliver(node, part);
            }
            world.tick();
        }
        let is: BTreeSet<_> = world.nodes.iter().flat_map(|node| &node.members).copied().collect();
        let shown: BTreeSet<_> = world.client.keys().copied().collect();
        prop_assert_eq!(shown, is.into_iter().map(id).collect::<BTreeSet<_>>());
        prop_assert_eq!(world.roster.missing(), 0);
    }
}

#[test]
fn a_hand_over_is_no_leave_and_join() {
    let mut world = World::new();
    for node in 0..2 {
        world.roster.expect(&name(node), world.now);
        world.watch(node, false);
    }
    world.take(Step::Join(0, 7));
    while let Some((node, part)) = pop(&mut world.way) {
        world.deliver(node, part);
    }
    world.take(Step::Move(0, 1, 7));
    let [(_, leave), (_, join)] = <[_; 2]>::try_from(std::mem::take(&mut world.way)).expect("two");
    let now = world.now;
    for order in [[(0, &leave), (1, &join)], [(1, &join), (0, &leave)]] {
        let mut roster = Roster::default();
        roster.expect(&name(0), now);
        roster.expect(&name(1), now);
        let held = Part {
            group: group(),
            place: Place {
                snapshot: 1,
                part: 0,
            },
            items: vec![Item::Member(member(7)), Item::Whole],
        };
        assert_eq!(roster.take(&name(0), held, now).len(), 1);
        let whole = Part {
            group: group(),
            place: Place {
                snapshot: 1,
                part: 0,
            },
            items: vec![Item::Whole],
        };
        roster.take(&name(1), whole, now);
        for (node, part) in order {
            let mut part = part.clone();
            part.place = Place {
                snapshot: 1,
                part: 1,
            };
            assert_eq!(roster.take(&name(node), part, now), []);
        }
        assert_eq!(roster.gone(&name(0)), [], "its new process has it");
        assert_eq!(roster.expire(now + SECOND * 60), []);
        assert_eq!(roster.gone(&name(1)), [Change::Leave(Arc::new(member(7)))]);
    }
}

#[test]
fn a_member_that_no_process_has_leaves_after_a_time() {
    let (mut roster, now) = (Roster::default(), clock::now());
    roster.expect(&name(0), now);
    let part = |part, items| Part {
        group: group(),
        place: Place { snapshot: 1, part },
        items,
    };
    roster.take(
        &name(0),
        part(0, vec![Item::Member(member(7)), Item::Whole]),
        now,
    );
    let (id, moved) = (id(7), true);
    let left = roster.take(&name(0), part(1, vec![Item::Left { id, moved }]), now);
    assert_eq!(left, []);
    assert_eq!(roster.expire(now + SECOND * 9), []);
    let left = roster.expire(now + SECOND * 10);
    assert_eq!(left, [Change::Leave(Arc::new(member(7)))]);
    assert!(roster.is_empty());
}

/// Of a stream in its first snapshot.
fn first(part: u64, items: Vec<Item>) -> Part {
    Part {
        group: group(),
        place: Place { snapshot: 1, part },
        items,
    }
}

#[test]
fn a_snapshot_that_does_not_go_on_is_asked_for_again_whoever_joins() {
    let (mut roster, mut now) = (Roster::default(), clock::now());
    roster.expect(&name(0), now);
    roster.take(
        &name(0),
        first(0, vec![Item::Member(member(0)), Item::More]),
        now,
    );
    assert_eq!(roster.to_ask(now + SECOND), Vec::<Arc<str>>::new());
    for second in 1..=4 {
        now += SECOND;
        let joins = vec![Item::Member(member(second))];
        roster.take(&name(0), first(second.into(), joins), now);
        let asked = roster.to_ask(now);
        assert_eq!(asked.len(), usize::from(second % 2 == 0), "{second}");
    }
}

#[test]
fn members_that_were_left_out_are_asked_for_when_there_is_room() {
    let (mut roster, now) = (Roster::default(), clock::now());
    roster.expect(&name(0), now);
    roster.set_room(8);
    let members = (0..12).map(|number| Item::Member(member(number)));
    let items = members.chain([Item::Whole]).collect();
    roster.take(&name(0), first(0, items), now);
    assert!(roster.is_cut() && roster.len() == 8);
    let left = |number| Item::Left {
        id: id(number),
        moved: false,
    };
    roster.take(&name(0), first(1, vec![left(0)]), now);
    roster.set_room(1);
    roster.reopen();
    assert!(
        roster.is_cut() && roster.to_ask(now).is_empty(),
        "hardly any room"
    );
    roster.take(&name(0), first(2, vec![left(1)]), now);
    roster.set_room(2);
    roster.reopen();
    assert!(!roster.is_cut());
    assert_eq!(roster.to_ask(now), [name(0)]);
    assert_eq!(roster.len(), 6, "what is known stays");
}

#[test]
fn i8_members_and_streams_are_bounded() {
    let (mut roster, now) = (Roster::default(), clock::now());
    roster.expect(&name(0), now);
    for number in 0..=roster::MEMBERS_MAX as u64 {
        let items = vec![Item::Member(Member {
            id: SessionId::new(number, 0),
            ..member(0)
        })];
        let place = Place {
            snapshot: 1,
            part: number,
        };
        let group = group();
        roster.take(
            &name(0),
            Part {
                group,
                place,
                items,
            },
            now,
        );
    }
    assert!(roster.is_cut() && roster.len() == roster::MEMBERS_MAX);
    let mut streams = Streams::default();
    let mut refused = 0;
    for number in 0..10_001 {
        let node: Arc<str> = number.to_string().into();
        let watched = streams.watch(&group(), &node, false, now);
        refused += usize::from(watched == Watched::Refused);
    }
    assert_eq!(refused, 1);
    streams.expire(now + SECOND * 20);
    assert_eq!((streams.groups().count(), streams.all().count()), (0, 0));
    assert!(matches!(
        streams.watch(&group(), &name(0), false, now),
        Watched::Begins(_)
    ));
}

#[test]
fn a_part_of_an_older_snapshot_is_ignored() {
    let (mut roster, now) = (Roster::default(), clock::now());
    roster.expect(&name(0), now);
    let of_second = Part {
        place: Place {
            snapshot: 2,
            part: 0,
        },
        ..first(0, vec![Item::Member(member(1)), Item::Whole])
    };
    assert_eq!(roster.take(&name(0), of_second, now).len(), 1);
    // Its number is the next one, but in the stream before.
    let late = first(1, vec![Item::Member(member(2))]);
    assert_eq!(roster.take(&name(0), late, now), []);
    assert_eq!(roster.len(), 1);
}
