//! Several gateways on one store, in every order.

use crate::base::clock;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

mod turns;

const LEASE: Duration = Duration::from_secs(30);

/// The obvious store.
#[derive(Default)]
struct Store {
    values: BTreeMap<StateKey, (Vec<u8>, u64)>,
    number: u64,
}

impl Store {
    fn stored(&self, key: StateKey) -> Stored {
        match self.values.get(&key) {
            Some((value, number)) => Stored::of(value, Version::Number(*number)),
            None => Stored::default(),
        }
    }

    /// What it answers to a request, and for which key.
    fn serve(&mut self, request: &Request<usize>) -> (StateKey, Answer) {
        match request {
            Request::Swap(swap) => (swap.key, self.swap(swap)),
            Request::Merge(merge) => (merge.key, self.merge(merge)),
            Request::Count(..) => panic!("no test counts"),
        }
    }

    fn merge(&mut self, merge: &Merge) -> Answer {
        let mut document = self.stored(merge.key).document;
        document.retain(|one| !merge.dead.contains(&one));
        document.set_share(merge.process, 0);
        let live = document.total() + u64::from(merge.own);
        let room = (merge.max as u64).saturating_sub(live);
        let granted = u64::from(merge.asked).min(room) as u32;
        document.set_share(merge.process, merge.own + granted);
        self.number += 1;
        match document.is_unshared() {
            true => drop(self.values.remove(&merge.key)),
            false => {
                let value = (document.write(), self.number);
                self.values.insert(merge.key, value);
            }
        }
        Answer::Merged(granted, self.stored(merge.key))
    }

    fn swap(&mut self, swap: &Swap) -> Answer {
        let now = self.stored(swap.key);
        if now.version != swap.expected {
            return Answer::Differs(now);
        }
        if swap.same {
            return Answer::Swapped(now);
        }
        match &swap.new {
            Some(value) => {
                self.number += 1;
                let value = (value.clone(), self.number);
                self.values.insert(swap.key, value);
            }
            None => drop(self.values.remove(&swap.key)),
        }
        Answer::Swapped(self.stored(swap.key))
    }
}

/// A gateway; what it asks has a number.
struct Gateway {
    ledger: Ledger<usize>,
    verdicts: HashMap<usize, Verdict>,
    asked: usize,
    merges: bool,
    /// Its time, which stands still unless a test moves it.
    now: Instant,
}

impl Gateway {
    /// A gateway whose store can only swap.
    fn new(process: u64) -> Self {
        Self::of(process, false)
    }

    fn of(process: u64, merges: bool) -> Self {
        let mut ledger = Ledger::new(process, LEASE);
        ledger.connected(merges);
        Self {
            ledger,
            verdicts: HashMap::new(),
            asked: 0,
            merges,
            now: clock::now(),
        }
    }

    fn ask(&mut self, key: StateKey, ask: Ask) -> usize {
        self.asked += 1;
        let asked = self.ledger.ask(key, ask, Duration::ZERO, self.asked);
        assert_eq!(asked, Ok(()));
        self.asked
    }

    /// One round trip; whether there was something to send.
    fn step(&mut self, store: &mut Store) -> bool {
        let Some(request) = self.ledger.next(self.now) else {
            return false;
        };
        let (key, answer) = store.serve(&request);
        self.take(key, answer);
        true
    }

    fn take(&mut self, key: StateKey, answer: Answer) {
        let verdicts = self.ledger.answered(key, answer, self.now);
        self.verdicts.extend(verdicts);
    }

    /// The store answers again.
    fn reconnect(&mut self) {
        self.ledger.connected(self.merges);
    }

    fn settle(&mut self, store: &mut Store) {
        while self.step(store) {}
    }

    fn backend(&mut self, store: &mut Store, own: &str, useless: Option<&str>) -> String {
        let ask = Ask::Backend {
            backend: own.into(),
            useless: useless.map(Into::into),
        };
        let asked = self.ask(stick(), ask);
        self.settle(store);
        match self.verdicts.remove(&asked) {
            Some(Verdict::Backend(backend)) => backend.into(),
            other => panic!("{other:?}"),
        }
    }

    fn session(&mut self, store: &mut Store, max: usize) -> Verdict {
        let asked = self.ask(sessions(), Ask::Session { max });
        self.settle(store);
        self.verdicts.remove(&asked).expect("a verdict")
    }
}

fn sessions() -> StateKey {
    StateKey::new(KeyKind::Sessions, &[b"chat", b"ann"])
}

fn stick() -> StateKey {
    StateKey::new(KeyKind::Stick, &[b"chat", b"ann"])
}

#[test]
fn a_crowd_is_answered_by_one_round_trip() {
    let (mut store, mut one) = (Store::default(), Gateway::new(1));
    let asked: Vec<_> = (0..50)
        .map(|_| one.ask(sessions(), Ask::Session { max: 20 }))
        .collect();
    assert!(one.step(&mut store) && !one.step(&mut store));
    let granted = asked
        .iter()
        .filter(|asked| one.verdicts[asked] == Verdict::Granted);
    assert_eq!(granted.count(), 20);
    assert_eq!(store.stored(sessions()).document.share(1), 20);
}

fn the_share_of_a_dead_gateway_does_not_count(merges: bool) {
    let mut store = Store::default();
    let (mut one, mut two) = (Gateway::of(1, merges), Gateway::of(2, merges));
    assert_eq!(one.session(&mut store, 1), Verdict::Granted);
    assert_eq!(two.session(&mut store, 1), Verdict::Full);
    assert_eq!(two.ledger.processes(), [1]);
    two.ledger.set_alive(1, false);
    assert_eq!(two.session(&mut store, 1), Verdict::Granted);
    assert_eq!(store.stored(sessions()).document.share(1), 0);
    // The first one was only paused: it finds out, and its session counts again.
    one.ledger.forgotten();
    one.ledger.look_after(9, clock::now());
    one.settle(&mut store);
    assert_eq!(store.stored(sessions()).document.total(), 2);
    assert_eq!(one.session(&mut store, 2), Verdict::Full);
}

#[test]
fn the_share_of_a_dead_gateway_does_not_count_where_values_are_swapped() {
    the_share_of_a_dead_gateway_does_not_count(false);
}

#[test]
fn the_share_of_a_dead_gateway_does_not_count_where_the_store_merges() {
    the_share_of_a_dead_gateway_does_not_count(true);
}

#[test]
fn what_a_store_forgets_is_written_again() {
    let (mut store, mut one) = (Store::default(), Gateway::new(1));
    assert_eq!(one.session(&mut store, 2), Verdict::Granted);
    one.backend(&mut store, "a", None);
    one.ledger.stick(stick(), "a", false, Duration::ZERO);
    one.settle(&mut store);
    assert_eq!(one.ledger.lost(&[]), Vec::<usize>::new());
    assert_eq!(
        one.ledger.ask(stick(), Ask::Session { max: 1 }, LEASE, 7),
        Err(7)
    );
    // Sessions begin and end meanwhile.
    one.ledger.hold(sessions());
    let mut store = Store::default();
    one.reconnect();
    one.ledger.look_after(9, clock::now());
    one.settle(&mut store);
    assert_eq!(store.stored(sessions()).document.share(1), 2);
    let kept = store.stored(stick()).document;
    assert_eq!((kept.backend.as_deref(), kept.share(1)), (Some("a"), 1));
}

#[test]
fn what_ends_while_the_store_is_gone_is_taken_out_when_it_is_back() {
    let (mut store, mut one) = (Store::default(), Gateway::new(1));
    assert_eq!(one.session(&mut store, 1), Verdict::Granted);
    one.ledger.lost(&[]);
    one.ledger.release(sessions());
    one.ledger.look_after(9, clock::now());
    one.reconnect();
    one.ledger.look_after(9, clock::now());
    one.settle(&mut store);
    assert!(store.values.is_empty());
    one.ledger.look_after(9, clock::now());
    assert!(one.ledger.is_empty());
}

#[test]
fn an_attempt_that_is_lost_leaves_nothing_behind() {
    for merges in [false, true] {
        let (mut store, mut one) = (Store::default(), Gateway::of(1, merges));
        one.ask(sessions(), Ask::Session { max: 1 });
        let request = one.ledger.next(one.now).expect("an attempt");
        let (key, _) = store.serve(&request);
        // It is done, and its answer is lost.
        assert_eq!(one.ledger.lost(&[key]), [1]);
        one.reconnect();
        one.ledger.look_after(9, clock::now());
        one.settle(&mut store);
        assert!(store.values.is_empty());
    }
}

#[test]
fn a_value_that_no_gateway_wrote_is_overwritten() {
    let (mut store, mut one) = (Store::default(), Gateway::new(1));
    store
        .values
        .insert(sessions(), (b"\xffnonsense".to_vec(), 5));
    assert_eq!(one.session(&mut store, 1), Verdict::Granted);
    assert_eq!(store.stored(sessions()).document.share(1), 1);
}

#[test]
fn a_sticky_key_has_one_backend_on_all_gateways() {
    let mut store = Store::default();
    let (mut one, mut two) = (Gateway::new(1), Gateway::new(2));
    assert_eq!(one.backend(&mut store, "a", None), "a");
    one.ledger.stick(stick(), "a", false, Duration::ZERO);
    one.settle(&mut store);
    assert_eq!(two.backend(&mut store, "b", None), "a");
    two.ledger.stick(stick(), "a", false, Duration::ZERO);
    two.settle(&mut store);
    assert_eq!(store.stored(stick()).document.total(), 2);
    // A backend that one gateway cannot use is replaced once.
    assert_eq!(two.backend(&mut store, "b", Some("a")), "b");
    assert_eq!(one.backend(&mut store, "c", Some("a")), "b");
    // A session that moves takes its key along.
    one.ledger.stick(stick(), "d", true, Duration::ZERO);
    one.settle(&mut store);
    assert_eq!(two.backend(&mut store, "b", None), "d");
    // The last session ends.
    for gateway in [&mut one, &mut two] {
        gateway.ledger.release(stick());
        gateway.ledger.release(stick());
        gateway.settle(&mut store);
    }
    assert!(store.values.is_empty());
}

#[test]
fn the_backend_of_dead_gateways_is_forgotten_unless_it_is_kept() {
    for (keep, expected) in [(Duration::ZERO, "b"), (LEASE, "a")] {
        let mut store = Store::default();
        let (mut one, mut two) = (Gateway::new(1), Gateway::new(2));
        one.ledger.stick(stick(), "a", false, keep);
        one.settle(&mut store);
        two.ledger.set_alive(1, false);
        let ask = Ask::Backend {
            backend: "b".into(),
            useless: None,
        };
        two.ledger
            .ask(stick(), ask, keep, 1)
            .expect("it is connected");
        two.settle(&mut store);
        assert_eq!(two.verdicts[&1], Verdict::Backend(expected.into()));
    }
}

#[test]
fn a_key_keeps_its_backend_after_its_last_session_as_long_as_its_route_has_it() {
    let (mut store, mut one) = (Store::default(), Gateway::new(1));
    let keep = Duration::from_secs(600);
    one.ledger.stick(stick(), "a", false, keep);
    one.settle(&mut store);
    one.ledger.release(stick());
    let Some(Request::Swap(swap)) = one.ledger.next(clock::now()) else {
        panic!("a swap");
    };
    assert_eq!((swap.kept, swap.new.is_some()), (keep, true));
}

/// A thing that happens to one of three gateways.
#[derive(Clone, Copy, Debug)]
enum Event {
    Ask,
    Release,
    /// A session that began without the store.
    Hold,
    /// Its next swap goes to the store.
    Send,
    /// The answer comes.
    Answer,
    LookAfter,
}

fn events() -> impl Strategy<Value = Vec<(usize, u8, Event)>> {
    let event = prop_oneof![
        4 => Just(Event::Ask),
        3 => Just(Event::Release),
        1 => Just(Event::Hold),
        5 => Just(Event::Send),
        5 => Just(Event::Answer),
        1 => Just(Event::LookAfter),
    ];
    prop::collection::vec((0_usize..3, 0_u8..2, event), 0..300)
}

proptest! {
    /// The store never holds more than the limit, except for sessions that began without it, and at
    /// the end it holds what the gateways have.
    #[test]
    fn limits_hold_over_all_gateways_in_every_order(
        events in events(),
        holds in any::<bool>(),
        merges in any::<bool>(),
    ) {
        const MAX: usize = 4;
        let mut store = Store::default();
        let mut gateways: Vec<_> = (1..=3).map(|one| Gateway::of(one, merges)).collect();
        let mut under_way: [Vec<(StateKey, Answer)>; 3] = Default::default();
        let key = |which: u8| StateKey::new(KeyKind::Sessions, &[&[which]]);
        for (at, which, event) in events {
            let (gateway, key) = (&mut gateways[at], key(which));
            match event {
                Event::Ask => {
                    gateway.ask(key, Ask::Session { max: MAX });
                }
                Event::Release if gateway.ledger.own(key) > 0 => gateway.ledger.release(key),
                Event::Release => {}
                Event::Hold if !holds => {}
                Event::Hold => gateway.ledger.hold(key),
                Event::Send => {
                    if let Some(request) = gateway.ledger.next(gateway.now) {
                        let (key, answer) = store.serve(&request);
                        let total = store.stored(key).document.total();
                        prop_assert!(holds || total <= MAX as u64);
                        under_way[at].push((key, answer));
                    }
                }
                Event::Answer if !under_way[at].is_empty() => {
                    let (key, answer) = under_way[at].remove(0);
                    gateway.take(key, answer);
                }
                Event::Answer => {}
                Event::LookAfter => {
                    gateway.ledger.look_after(3, clock::now());
                }
            }
        }
        for (gateway, answers) in gateways.iter_mut().zip(under_way) {
            for (key, answer) in answers {
                gateway.take(key, answer);
            }
        }
        for _ in 0..3 {
            for gateway in &mut gateways {
                gateway.settle(&mut store);
            }
        }
        for which in 0..2 {
            let document = store.stored(key(which)).document;
            for (process, gateway) in (1..).zip(&gateways) {
                prop_assert_eq!(document.share(process), gateway.ledger.own(key(which)));
            }
        }
    }

    /// Without sessions that began outside, the limit is exact: it is never passed, and a refusal
    /// means that it was reached.
    #[test]
    fn a_limit_is_exact(
        asks in prop::collection::vec((0_usize..3, any::<bool>()), 1..120),
        merges in any::<bool>(),
    ) {
        const MAX: usize = 5;
        let mut store = Store::default();
        let mut gateways: Vec<_> = (1..=3).map(|one| Gateway::of(one, merges)).collect();
        let mut live = 0;
        for (at, begins) in asks {
            if begins {
                let verdict = gateways[at].session(&mut store, MAX);
                prop_assert_eq!(verdict == Verdict::Granted, live < MAX);
                live += usize::from(live < MAX);
            } else if gateways[at].ledger.own(sessions()) > 0 {
                gateways[at].ledger.release(sessions());
                gateways[at].settle(&mut store);
                live -= 1;
            }
        }
    }
}
