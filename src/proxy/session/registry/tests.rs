use super::*;
use crate::base::names::UpstreamName;
use crate::core::session::record::Cause;
use crate::live::MoveAnswer;
use crate::proxy::session::live_session::Ownership;
use crate::proxy::session::orders;
use crate::proxy::tests::session::{self, Ends, ROUTES};
use crate::proxy::tests::{Fixture, run};

const KICK: fn() -> CloseOrder = || CloseOrder {
    code: 1008,
    reason: "kicked".into(),
    cause: Cause::Kicked,
};

fn leave(resume: ResumeReason) -> LeaveOrder {
    LeaveOrder {
        code: 1012,
        reason: "drained".into(),
        cause: Cause::Drained,
        resume,
        operator: None,
    }
}

/// A session that ends after `idle` ticks of silence.
async fn idle(sessions: &Rc<Sessions>, idle: Tick) -> Ends {
    let (mut granted, backend) = session::granted(sessions, 0);
    granted.setup.times.idle = Some(idle);
    session::begin(sessions, (granted, backend)).await
}

/// A session that may move to another backend.
async fn movable(sessions: &Rc<Sessions>, member: usize, key: Option<&[u8]>) -> Ends {
    let (mut granted, backend) = session::granted(sessions, member);
    granted.setup.hold = Some(1024);
    granted.key = key.map(Into::into);
    session::begin(sessions, (granted, backend)).await
}

#[test]
fn a_silent_session_ends_at_its_time_and_not_before() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let ends = idle(&sessions, 10).await;
        let began = fixture.worker.tick();
        sessions.expire(began + 9);
        assert!(!ends.closing());
        sessions.expire(began + 10);
        assert!(ends.closing());
    });
}

#[test]
fn a_session_that_was_active_meanwhile_is_brought_up_again() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let mut ends = idle(&sessions, 10).await;
        let began = fixture.worker.tick();
        fixture.pass(6);
        ends.talk().await;
        sessions.expire(began + 10);
        assert!(!ends.closing(), "it was active at 6");
        sessions.expire(began + 15);
        assert!(!ends.closing());
        sessions.expire(began + 16);
        assert!(ends.closing());
    });
}

#[test]
fn a_shorter_time_brings_a_session_up_earlier() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let ends = idle(&sessions, 100).await;
        let began = fixture.worker.tick();
        ends.session.relay_mut().set_expiry(Some(began + 5));
        sessions.arm(&ends.session);
        sessions.expire(began + 5);
        assert!(ends.closing());
    });
}

/// A crowd that connected at the same time, after a hand-over for example, is due at the same time.
#[test]
fn i12_a_crowd_that_is_due_at_once_is_looked_at_slice_by_slice() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        for _ in 0..2 * SLICE_MAX + 20 {
            session::without_sockets(&sessions, |granted| granted.setup.times.idle = Some(10));
        }
        session::settle().await;
        let now = fixture.worker.tick() + 10;
        let closing = || {
            let all = sessions.all();
            let closing = all.iter().filter(|one| one.relay.borrow().closing());
            closing.count()
        };
        sessions.take_looked();
        for (ended, more) in [
            (SLICE_MAX, true),
            (2 * SLICE_MAX, true),
            (2 * SLICE_MAX + 20, false),
        ] {
            assert_eq!(sessions.expire(now), more);
            assert!(sessions.take_looked() <= SLICE_MAX);
            assert_eq!(closing(), ended);
        }
        assert!(!sessions.expire(now + 1), "each was brought up once");
    });
}

#[test]
fn i1_a_held_session_is_neither_ended_nor_moved() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let ends = idle(&sessions, 10).await;
        ends.session.ownership.set(Ownership::Held);
        sessions.expire(fixture.worker.tick() + 20);
        let all = sessions.all();
        assert_eq!(sessions.close(&all, &KICK(), None), 0);
        let counts = sessions.leave(&[ends.session.id], &leave(ResumeReason::Draining));
        assert_eq!(counts, LeaveCounts::default());
        assert!(!ends.closing());
    });
}

#[test]
fn a_session_is_closed_once_and_keeps_its_first_order() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let (one, other) = (
            session::ordinary(&sessions).await,
            session::ordinary(&sessions).await,
        );
        let given = |reason: &str| {
            Arc::new(EndOrder {
                reason: Some(reason.into()),
                ..EndOrder::default()
            })
        };
        let first = [Rc::clone(&one.session)];
        assert_eq!(sessions.close(&first, &KICK(), Some(&given("first"))), 1);
        let all = sessions.all();
        assert_eq!(sessions.close(&all, &KICK(), Some(&given("second"))), 1);
        for (ends, reason) in [(&one, "first"), (&other, "second")] {
            assert!(ends.closing());
            assert_eq!(ends.session.facts().order, Some(given(reason)));
        }
        assert_eq!(sessions.close(&all, &KICK(), None), 0);
    });
}

#[test]
fn sessions_that_can_move_leave_and_others_are_closed() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let moves = movable(&sessions, 0, None).await;
        let stays = session::ordinary(&sessions).await;
        let unknown = fixture.worker.name_request();
        let ids = [moves.session.id, stays.session.id, unknown];
        let order = leave(ResumeReason::Draining);
        let counts = sessions.leave(&ids, &order);
        assert_eq!((counts.moving, counts.closing), (1, 1));
        assert!(!moves.closing() && stays.closing());
        let again = sessions.leave(&ids, &order);
        assert_eq!(again, LeaveCounts::default(), "both have begun");
    });
}

#[test]
fn a_rebalancing_leaves_a_session_at_its_home() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let table = fixture.worker.live().table();
        let upstream = table
            .upstream(&UpstreamName::from("chat"))
            .expect("configured");
        let now = crate::base::clock::now();
        let home = upstream.pick_for_session(Some(b"ann"), &[], now, 0);
        let home = home.expect("two are eligible");
        let order = leave(ResumeReason::Rebalanced);
        let at_home = movable(&sessions, home, Some(b"ann")).await;
        let counts = sessions.leave(&[at_home.session.id], &order);
        assert_eq!(counts, LeaveCounts::default());
        let away = movable(&sessions, 1 - home, Some(b"ann")).await;
        assert_eq!(sessions.leave(&[away.session.id], &order).moving, 1);
        let keyless = movable(&sessions, 0, None).await;
        let counts = sessions.leave(&[keyless.session.id], &order);
        assert_eq!(counts, LeaveCounts::default());
    });
}

#[test]
fn a_slice_holds_what_the_query_takes() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let mut ids = Vec::new();
        for member in [0, 1, 0] {
            let granted = session::granted(&sessions, member);
            ids.push((session::begin(&sessions, granted).await, member));
        }
        let backend = ids[0].0.session.facts().backend.to_string();
        let query = SessionQuery {
            backend: Some(backend),
            ..SessionQuery::default()
        };
        let sliced = sessions.slice(&query, Slice::first(None));
        assert_eq!((sliced.answer.len(), sliced.next), (2, None));
        let one = SessionQuery {
            id: Some(ids[1].0.session.id),
            ..SessionQuery::default()
        };
        assert_eq!(sessions.slice(&one, Slice::first(None)).answer.len(), 1);
        let neither = SessionQuery {
            id: one.id,
            ..query
        };
        let found = sessions.slice(&neither, Slice::first(None));
        assert!(found.answer.is_empty());
    });
}

#[test]
fn i6_sessions_that_are_cut_end_with_one_record_each() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let _ends = (
            session::ordinary(&sessions).await,
            session::ordinary(&sessions).await,
        );
        assert_eq!(sessions.cut(Slice::first(None)), Sliced::whole(2));
        session::settle().await;
        assert_eq!(sessions.len(), 0);
    });
    assert_eq!(fixture.records().len(), 2);
}

/// What one command looks at, counted in sessions: a worker serves its clients between two.
#[test]
fn i12_a_list_is_made_of_short_turns_however_many_sessions_there_are() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let mut ends = Vec::new();
        for _ in 0..SLICE_MAX + 20 {
            ends.push(session::ordinary(&sessions).await);
        }
        let everything = SessionQuery::default();
        let (mut slice, mut seen, mut turns) = (Slice::first(None), Vec::new(), 0);
        loop {
            let found = sessions.slice(&everything, slice);
            let samples = sessions.samples(&found.answer, SortKey::InFlight);
            assert!(samples.len() <= SLICE_MAX, "{}", samples.len());
            seen.extend(samples.iter().map(|sample| sample.id));
            turns += 1;
            slice.after = found.next;
            if slice.after.is_none() {
                break;
            }
        }
        assert_eq!((seen.len(), turns), (ends.len(), 2));
        // A request for many at once gets no more either.
        assert_eq!(sessions.views_of(&seen).len(), SLICE_MAX);
    });
}

#[test]
fn a_move_of_one_session_is_refused_where_it_is_not_possible() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let order = LeaveOrder {
            operator: Some("alice".into()),
            ..leave(ResumeReason::Moved)
        };
        let fixed = session::ordinary(&sessions).await;
        let moves = |ends: &Ends, to: Option<&str>| {
            let to = to.map(Into::into);
            orders::move_one(&sessions, ends.session.id, to, &order)
        };
        let not_movable = Some(MoveAnswer::NotMovable("chat".into()));
        assert_eq!(moves(&fixed, None), not_movable);
        let movable = movable(&sessions, 0, None).await;
        let own = movable.session.facts().backend.clone();
        let none = Some(MoveAnswer::NoBackend("chat".into()));
        assert_eq!(moves(&movable, Some(&own)), none);
        assert_eq!(moves(&movable, Some("nowhere:1")), none);
        assert_eq!(moves(&movable, None), Some(MoveAnswer::Begun(own)));
        assert_eq!(moves(&movable, None), Some(MoveAnswer::Moving));
        let details = Arc::clone(&movable.session.facts().details);
        let order = details.order(ResumeReason::Moved).expect("it is under way");
        assert_eq!(order.by.as_deref(), Some("alice"));
    });
}
