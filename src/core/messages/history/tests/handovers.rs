//! A history that processes hand over to one another, beside one of a single process.

use super::*;

/// The new process gets a message less than so much later than the old one.
const LATER: u64 = 5;

#[derive(Clone, Debug)]
enum Event {
    Publish {
        groups: Vec<u8>,
        later: u64,
    },
    Interrupt {
        group: u8,
    },
    InterruptAll,
    /// With messages that only the new process gets, before those that both get meanwhile, the new
    /// one so much later, and after them.
    HandOver {
        before: Vec<u8>,
        meanwhile: Vec<(u8, u64)>,
        after: Vec<u8>,
    },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let publish = (prop::collection::vec(0_u8..4, 1..3), 0_u64..40);
    let publish = publish.prop_map(|(groups, later)| Event::Publish { groups, later });
    let alone = || prop::collection::vec(0_u8..4, 0..4);
    let meanwhile = prop::collection::vec((0_u8..4, 0_u64..LATER), 0..4);
    let hand_over = (alone(), meanwhile, alone());
    let hand_over = hand_over.prop_map(|(before, meanwhile, after)| Event::HandOver {
        before,
        meanwhile,
        after,
    });
    let event = prop_oneof![
        12 => publish,
        2 => (0_u8..4).prop_map(|group| Event::Interrupt { group }),
        1 => Just(Event::InterruptAll),
        3 => hand_over,
    ];
    prop::collection::vec(event, 1..50)
}

/// A message that was published.
struct Sent {
    groups: Vec<u8>,
    /// The ids that processes of the chain gave it, and that of the single one.
    ids: Vec<HistoryId>,
    alone: HistoryId,
}

struct World {
    rules: Arc<[snapshot::History]>,
    bytes_max: usize,
    alone: History<u32>,
    current: History<u32>,
    mark: u32,
    now: u64,
    sent: Vec<Sent>,
}

fn names(groups: &[u8]) -> Vec<GroupName> {
    let name = |number: &u8| group(&format!("kept-{number}"));
    let names: BTreeSet<_> = groups.iter().map(name).collect();
    names.into_iter().collect()
}

/// Keeps a message in one history.
fn keep(history: &mut History<u32>, number: usize, groups: &[u8], now: u64) -> HistoryId {
    let id = history.next_id(now);
    let name = format!("~{number}").into();
    history.keep((id, Some(&name)), &names(groups), 1, &(number as u32), now);
    id
}

fn hand_over(
    old: &History<u32>,
    after: HistoryId,
    new: &mut History<u32>,
    sent: &[Sent],
    now: u64,
) {
    for carried in old.behind(after, usize::MAX) {
        let number = carried.message;
        let (name, groups) = (format!("~{number}").into(), &sent[number as usize].groups);
        new.adopt((&carried.ids, Some(&name)), &names(groups), 1, &number, now);
    }
}

impl World {
    fn new(messages: usize, age: u64, room: usize) -> Self {
        let bytes_max = room * (OVERHEAD + 1);
        let rules = history(messages, age, bytes_max).rules;
        let process = |mark| History::new(Arc::clone(&rules), bytes_max, 0, Some(mark));
        let (alone, current) = (process(1000), process(1));
        Self {
            rules,
            bytes_max,
            alone,
            current,
            mark: 1,
            now: 1,
            sent: Vec::new(),
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Publish { groups, later } => {
                self.now += later;
                let number = self.sent.len();
                let id = keep(&mut self.current, number, groups, self.now);
                self.publish(groups, vec![id]);
            }
            Event::Interrupt { group } => {
                for history in [&mut self.alone, &mut self.current] {
                    let now = history.next_id(self.now);
                    history.interrupt(&names(&[*group])[0], now);
                }
            }
            Event::InterruptAll => {
                for history in [&mut self.alone, &mut self.current] {
                    let now = history.next_id(self.now);
                    history.interrupt_all(now);
                }
            }
            Event::HandOver {
                before,
                meanwhile,
                after,
            } => self.succeed(before, meanwhile, after),
        }
    }

    fn publish(&mut self, groups: &[u8], ids: Vec<HistoryId>) {
        let alone = keep(&mut self.alone, self.sent.len(), groups, self.now);
        let groups = groups.to_vec();
        self.sent.push(Sent { groups, ids, alone });
    }

    /// The new process gets messages that the old one does not get.
    fn publish_to(&mut self, new: &mut History<u32>, groups: &[u8]) {
        for group in groups {
            self.now += LATER;
            let id = keep(new, self.sent.len(), &[*group], self.now);
            self.publish(&[*group], vec![id]);
        }
        self.now += LATER;
    }

    fn succeed(&mut self, before: &[u8], meanwhile: &[(u8, u64)], after: &[u8]) {
        self.mark += 1;
        let rules = Arc::clone(&self.rules);
        let mut new = History::new(rules, self.bytes_max, self.now, Some(self.mark));
        new.begin_handover();
        self.publish_to(&mut new, before);
        let (first, rest) = meanwhile.split_at(meanwhile.len() / 2);
        let mut sent_to = HistoryId::default();
        for part in [first, rest] {
            for (group, lag) in part {
                self.now += 1;
                let number = self.sent.len();
                let of_old = keep(&mut self.current, number, &[*group], self.now);
                let of_new = keep(&mut new, number, &[*group], self.now + lag);
                self.publish(&[*group], vec![of_old, of_new]);
            }
            // The second of these parts is behind the first one.
            hand_over(&self.current, sent_to, &mut new, &self.sent, self.now);
            sent_to = self.current.last();
        }
        self.publish_to(&mut new, after);
        complete(&self.current, &mut new);
        new.handed_over(self.now);
        self.current = new;
    }

    /// What a client in these groups gets that has this message last: of the chain for each of its
    /// ids, and of the single process.
    fn missed(&self, of: &[u8], last: usize) -> (Vec<Missed<u32>>, Missed<u32>) {
        let (mine, sent) = (names(of), &self.sent[last]);
        let ids = sent.ids.iter();
        let since = |id: &HistoryId| self.current.since(&mine, *id, usize::MAX, self.now);
        let alone = self.alone.since(&mine, sent.alone, usize::MAX, self.now);
        (ids.map(since).collect(), alone)
    }
}

proptest! {
    /// Hand-overs take nothing from clients that they are not told of.
    #[test]
    fn i1_what_was_missed_comes_once_or_a_gap_is_told_through_hand_overs(
        events in events(),
        messages in 1_usize..12,
        age in 1_u64..400,
        room in 1_usize..40,
        of in prop::collection::vec(0_u8..4, 1..4),
        last in any::<prop::sample::Index>(),
    ) {
        let mut world = World::new(messages, age, room);
        events.iter().for_each(|event| world.happen(event));
        prop_assume!(!world.sent.is_empty());
        let last = last.index(world.sent.len());
        let behind = world.sent.iter().enumerate().skip(last + 1);
        let mine = behind.filter(|(_, sent)| sent.groups.iter().any(|one| of.contains(one)));
        let expected: Vec<_> = mine.map(|(number, _)| number as u32).collect();
        for missed in world.missed(&of, last).0 {
            let mut came = missed.messages;
            // Two of the same millisecond may have come to the processes in either order.
            came.sort_unstable();
            match missed.gap {
                false => prop_assert_eq!(came, expected.clone()),
                true => prop_assert!(came.iter().all(|one| expected.contains(one))),
            }
        }
    }

    /// And where all is kept, a client learns of a gap only where a single process has one.
    #[test]
    fn i1_hand_overs_make_no_gap(
        events in events(),
        of in prop::collection::vec(0_u8..4, 1..4),
        last in any::<prop::sample::Index>(),
    ) {
        let mut world = World::new(1000, 1_000_000, 1000);
        events.iter().for_each(|event| world.happen(event));
        prop_assume!(!world.sent.is_empty());
        let (chain, alone) = world.missed(&of, last.index(world.sent.len()));
        for missed in chain {
            prop_assert_eq!(missed.gap, alone.gap);
        }
    }
}
