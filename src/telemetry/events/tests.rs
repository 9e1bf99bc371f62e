mod restored;

use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::base::session_id::SessionId;
use crate::base::traffic::Traffic;
use crate::core::session::details::{Details, Move};
use crate::core::session::record::{Cause, EndOrder, EndedBy, Ending};
use crate::core::session::request::{RequestFacts, RequestTexts};
use crate::core::session::resume::{Moves, ResumeReason};

const AT: SystemTime = SystemTime::UNIX_EPOCH;

fn emitted(kind: Kind) -> Emitted {
    Emitted {
        at: AT,
        kind,
        body: Body::Fields(Box::default()),
    }
}

fn store(events: [usize; 3]) -> Store {
    let bytes = 64 << 20;
    Store::new(7, Bounds { events, bytes })
}

/// A kind of each class.
const KINDS: [Kind; 3] = [Kind::SessionEnded, Kind::Refused, Kind::Order];

fn facts() -> Facts {
    Facts {
        id: SessionId::new(1, 2),
        listener: "edge".into(),
        route: "chat".into(),
        upstream: "chat-servers".into(),
        backend: "b1".into(),
        principal: Some("ann".into()),
        right: None,
        request: RequestFacts::new(
            RequestTexts {
                client: "[2001:db8::1]:5000",
                host: "chat.example.com",
                target: "/ws?token=***",
                foreign_id: None,
                subprotocol: None,
            },
            AT,
            Duration::from_millis(2),
        ),
        details: Arc::new(Details {
            moves: vec![Move {
                from: "b0".into(),
                to: "b1".into(),
                reason: ResumeReason::Draining,
                by: Some("alice".into()),
                at: AT,
                messages_lost: 0,
            }],
            ..Details::default()
        }),
        order: Some(Arc::new(EndOrder {
            reason: Some("test at 3".into()),
            operator: Some("alice".into()),
            revocation: None,
        })),
    }
}

fn record() -> Record {
    Record {
        facts: Arc::new(facts()),
        duration: Duration::from_secs(355),
        to_backend: Traffic::default(),
        to_client: Traffic::default(),
        published: Default::default(),
        moves: Moves::default(),
        ending: Ending {
            by: EndedBy::Gateway,
            cause: Cause::Kicked,
            close_code: Some(1008),
            clean: true,
        },
    }
}

const REFUSED: RequestRecord<'_> = RequestRecord {
    listener: "edge",
    route: Some("chat"),
    upstream: Some("chat-servers"),
    backend: None,
    principal: None,
    authenticator: Some("users"),
    client: "192.0.2.1:55000",
    method: "GET",
    host: Some("chat.example.com"),
    target: "/ws",
    started: AT,
    status: 401,
    duration: Duration::from_micros(42),
    bytes_in: 0,
    bytes_out: 97,
    refusal: Some("credential_expired"),
    detail: Some("authenticator `users`: the credential expired 4s ago"),
    request_id: Some("r-1"),
};

/// Everything that `collector` has kept.
fn all(events: &Events) -> Vec<EventView> {
    let filter = Filter::default();
    let mut cursor = events.resume(None, &filter).cursor;
    let mut views = Vec::new();
    loop {
        let batch = events.read(&mut cursor, &filter);
        views.extend(batch.events.iter().map(|sent| sent.event.view()));
        if !batch.more {
            return views;
        }
    }
}

#[test]
fn an_ended_session_says_who_ended_it_and_why() {
    let events = Events::new(7);
    let mut collector = events.collector().expect("the first");
    events.session_began(&Arc::new(facts()));
    events.session_moved(&Arc::new(facts()));
    events.session_ended(&record());
    collector.finish();
    let views = all(&events);
    let kinds: Vec<_> = views.iter().map(|view| view.kind).collect();
    let expected = [Kind::SessionBegan, Kind::SessionMoved, Kind::SessionEnded];
    assert_eq!(kinds, expected);
    let ended = &views[2].fields;
    assert_eq!(
        &*ended.text,
        "after 5m 55s: kicked by gateway, 1008, ordered by alice: test at 3"
    );
    assert_eq!(ended.operator.as_deref(), Some("alice"));
    assert_eq!(ended.cause.as_deref(), Some("kicked"));
    let moved = &views[1].fields;
    assert_eq!(moved.from.as_deref(), Some("b0"));
    assert_eq!(moved.to.as_deref(), Some("b1"));
    assert_eq!(moved.operator.as_deref(), Some("alice"));
    assert_eq!(views[2].id, "0000000000000007-3");
}

#[test]
fn only_requests_that_were_refused_leave_events() {
    let events = Events::new(7);
    let mut collector = events.collector().expect("the first");
    events.request_ended(&REFUSED);
    events.request_ended(&RequestRecord {
        refusal: None,
        ..REFUSED
    });
    collector.finish();
    let views = all(&events);
    assert_eq!(views.len(), 1);
    let fields = &views[0].fields;
    assert_eq!(fields.authenticator.as_deref(), Some("users"));
    let text = "401 authenticator `users`: the credential expired 4s ago";
    assert_eq!(&*fields.text, text);
}

#[test]
fn filters_know_sessions_clients_and_backends_left() {
    let events = Events::new(7);
    let mut collector = events.collector().expect("the first");
    events.session_moved(&Arc::new(facts()));
    events.request_ended(&REFUSED);
    collector.finish();
    let check = |filter: Filter, expected: usize| {
        let page = events.read_back(events.before(None), &filter, 10);
        assert_eq!(page.events.len(), expected, "{filter:?}");
    };
    let text = |text: &str| Some(text.to_owned());
    let none = Filter::default;
    for (client, expected) in [
        ("192.0.2.1", 1),
        ("192.0.2.1:55000", 1),
        ("2001:db8::1", 1),
        ("[2001:db8::1]:5000", 1),
        ("2001:db8:", 0),
        ("192.0.2", 0),
        ("", 0),
    ] {
        let client = text(client);
        check(Filter { client, ..none() }, expected);
    }
    for backend in ["b0", "b1"] {
        let backend = text(backend);
        check(Filter { backend, ..none() }, 1);
    }
    let request_id = Some(SessionId::new(1, 2).to_string());
    check(
        Filter {
            request_id,
            ..none()
        },
        1,
    );
    let request_id = text("r-1");
    check(
        Filter {
            request_id,
            ..none()
        },
        1,
    );
    let session = Some(SessionId::new(1, 2));
    check(Filter { session, ..none() }, 1);
    let kinds = vec![Kind::SessionMoved];
    check(Filter { kinds, ..none() }, 1);
    let reason = text("credential_expired");
    check(Filter { reason, ..none() }, 1);
    check(Filter::class(Class::Changes), 0);
    let since = Some(clock::wall() + Duration::from_secs(60));
    check(Filter { since, ..none() }, 0);
}

#[test]
fn i8_a_storm_of_sessions_or_refusals_evicts_no_change() {
    let mut store = store([10, 5, 10]);
    store.push(emitted(Kind::Order));
    for _ in 0..1000 {
        store.push(emitted(Kind::SessionEnded));
        store.push(emitted(Kind::Refused));
    }
    let fill = Class::ALL.map(|class| store.fill(class));
    assert_eq!(fill.map(|fill| fill.events), [10, 5, 1]);
    assert_eq!(fill.map(|fill| fill.evicted), [990, 995, 0]);
}

#[test]
fn i8_rings_are_bounded_by_bytes_too() {
    let mut store = Store::new(
        7,
        Bounds {
            events: [usize::MAX; 3],
            bytes: 1 << 20,
        },
    );
    for _ in 0..3_000 {
        let body = Body::Fields(Box::new(Fields::new("x".repeat(1_000))));
        store.push(Emitted {
            body,
            ..emitted(Kind::Order)
        });
    }
    let fill = store.fill(Class::Changes);
    assert!(fill.bytes <= 1 << 18, "{fill:?}");
    assert!(fill.events > 100 && fill.evicted > 2_000, "{fill:?}");
    store.set_bounds(Bounds {
        events: [0; 3],
        bytes: 0,
    });
    assert_eq!(store.fill(Class::Changes).bytes, 0);
}

#[test]
fn i8_a_full_queue_drops_events_and_says_how_many() {
    let events = Events::new(7);
    let mut collector = events.collector().expect("the first");
    assert!(events.collector().is_none(), "there is one collector");
    for _ in 0..WAITING_MAX[Class::Refusals as usize] + 3 {
        events.request_ended(&REFUSED);
    }
    assert_eq!(events.dropped(Class::Refusals), 3);
    for _ in 0..2 {
        collector.finish();
        let filter = Filter::class(Class::Changes);
        let page = events.read_back(events.before(None), &filter, 10);
        assert_eq!(page.events.len(), 1, "it is said once");
        assert_eq!(page.events[0].kind, Kind::EventsLost);
        assert_eq!(page.events[0].fields().events, Some(3));
    }
}

#[test]
fn ids_are_read_as_they_are_written_and_nothing_else_is() {
    let id = EventId {
        instance: 0xab,
        number: u64::MAX,
    };
    assert_eq!(id.to_string().parse(), Ok(id));
    for text in [
        "",
        "-",
        "1-1",
        "00000000000000AB-1",
        "00000000000000ab-",
        "+0000000000000ab-1",
        "00000000000000ab-18446744073709551616",
        "00000000000000ab-+1",
        "00000000000000ab-1-1",
    ] {
        assert!(text.parse::<EventId>().is_err(), "{text}");
    }
}

#[test]
fn i12_an_id_from_nowhere_is_harmless() {
    let mut store = store([5; 3]);
    store.push(emitted(Kind::Order));
    let filter = Filter::default();
    for (instance, number, left) in [(7, u64::MAX, 0), (7, 0, 1), (8, u64::MAX, 1), (8, 0, 1)] {
        let id = EventId { instance, number };
        let mut cursor = store.resume(Some(id), &filter).cursor;
        assert_eq!(store.read(&mut cursor, &filter).events.len(), left, "{id}");
        let page = store.read_back(store.before(Some(id)), &filter, 5);
        assert!(page.events.len() <= 1);
    }
}

#[test]
fn the_past_is_read_backwards_in_pages() {
    let mut store = store([1000, 1000, 1000]);
    for n in 0..900 {
        store.push(emitted(KINDS[n % 3]));
    }
    let filter = Filter {
        kinds: vec![Kind::SessionEnded, Kind::Order],
        ..Filter::default()
    };
    let (mut seen, mut next) = (Vec::new(), Some(store.before(None)));
    while let Some(before) = next {
        let page = store.read_back(before, &filter, 7);
        assert!(page.events.len() <= 7);
        seen.extend(page.events.iter().map(|event| event.id.number));
        // As over HTTP: by the id.
        next = page.next.map(|before| store.before(before.id));
    }
    let expected = (1..=900).rev().filter(|number| number % 3 != 2);
    assert!(seen.into_iter().eq(expected));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push(usize),
    Read,
    Resume,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..3_usize).prop_map(Step::Push),
        2 => Just(Step::Read),
        1 => Just(Step::Resume),
    ]
}

/// What a reader got.
#[derive(Default)]
struct Got {
    numbers: Vec<u64>,
    lost: u64,
}

impl Got {
    fn take(&mut self, store: &Store, cursor: &mut Cursor, filter: &Filter) {
        loop {
            let batch = store.read(cursor, filter);
            self.lost += batch.lost.map_or(0, |lost| lost.events.expect("known"));
            self.numbers
                .extend(batch.events.iter().map(|sent| sent.event.id.number));
            if !batch.more {
                return;
            }
        }
    }
}

proptest! {
    /// Against the obvious twin: a list of everything that was pushed.
    #[test]
    fn each_event_comes_at_most_once_and_what_is_missing_is_told(
        steps in proptest::collection::vec(step(), 0..400),
        bounds in proptest::array::uniform3(0..12_usize),
        classes in proptest::sample::subsequence(Class::ALL.to_vec(), 1..=3),
    ) {
        let mut store = store(bounds);
        let filter = Filter { classes: classes.clone(), ..Filter::default() };
        let whole = classes.len() == 3;
        // One stays connected, one is cut off now and then.
        let (mut steady, mut unsteady) = (Got::default(), Got::default());
        let mut cursors = [store.resume(None, &filter).cursor; 2];
        let (mut pushed, mut missed) = (Vec::new(), 0);
        for step in steps.into_iter().chain([Step::Read]) {
            match step {
                Step::Push(class) => {
                    let event = store.push(emitted(KINDS[class]));
                    if classes.contains(&Class::ALL[class]) {
                        pushed.push(event.id.number);
                    }
                }
                Step::Read => {
                    steady.take(&store, &mut cursors[0], &filter);
                    unsteady.take(&store, &mut cursors[1], &filter);
                    unsteady.lost += std::mem::take(&mut missed);
                    // It kept up, so that all events are accounted for.
                    let known = steady.numbers.len() as u64 + steady.lost;
                    prop_assert_eq!(known, pushed.len() as u64);
                }
                Step::Resume => {
                    let resumed = store.resume(Some(cursors[1].id()), &filter);
                    let kept = store.resume(Some(cursors[1].id()), &filter).cursor;
                    prop_assert_eq!(resumed.cursor, kept);
                    cursors[1] = resumed.cursor;
                    // It is told with the next events.
                    missed = resumed.lost.map_or(0, |lost| lost.events.unwrap_or(1 << 32));
                    prop_assert!(whole || missed == 0 || missed == 1 << 32);
                }
            }
        }
        for got in [&steady, &unsteady] {
            prop_assert!(got.numbers.is_sorted_by(|one, next| one < next), "at most once");
            prop_assert!(got.numbers.iter().all(|number| pushed.contains(number)));
            let missing = pushed.len() - got.numbers.len();
            prop_assert!(missing as u64 <= got.lost, "{} missing", missing);
        }
        if whole {
            let missing = (pushed.len() - unsteady.numbers.len()) as u64;
            prop_assert_eq!(missing, unsteady.lost);
        }
    }
}
