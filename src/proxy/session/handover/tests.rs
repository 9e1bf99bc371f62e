use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::base::message::Message;
use crate::core::relay::client_frame;
use crate::io::handover::STATE_TLS;
use crate::io::relay::{QueueBounds, WhenFull};
use crate::proxy::tests::session::{self, FROM_CLIENT, ROUTES, is_silent, settle};
use crate::proxy::tests::{Fixture, run};

/// Goes on as before the hand-over; returns how many sessions went.
fn go_on(sessions: &Sessions) -> usize {
    let went = release(sessions, &[]);
    assert_eq!(resume(sessions, Slice::first(None)), Sliced::whole(()));
    went
}

#[test]
fn i1_a_held_session_moves_no_byte_until_it_is_released() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let mut ends = session::ordinary(&sessions).await;
        ends.talk().await;
        let batch = pack(&sessions, None, 10, STATE_DETAILS);
        assert_eq!((batch.transfers.len(), batch.staying.total()), (1, 0));
        assert_eq!(ends.session.ownership.get(), Ownership::Held);
        ends.client.write_all(FROM_CLIENT).await.expect("open");
        settle().await;
        assert!(is_silent(&ends.backend), "both processes would move it");
        assert!(!fixture.worker.keeps_connections());

        assert_eq!(release(&sessions, &[]), 0);
        settle().await;
        assert!(!is_silent(&ends.backend));
        assert_eq!(ends.session.ownership.get(), Ownership::Stays);
        assert!(!fixture.worker.keeps_connections(), "others may follow");
        let again = pack(&sessions, None, 10, STATE_DETAILS);
        assert_eq!((again.transfers.len(), again.staying.total()), (0, 1));
    });
}

/// A hand-over is called off when a message of it is too large: such a session stays instead.
#[test]
fn i1_a_session_with_too_much_waiting_stays_and_calls_no_hand_over_off() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let ends = session::ordinary(&sessions).await;
        let other = session::ordinary(&sessions).await;
        let bounds = QueueBounds {
            messages: usize::MAX,
            bytes: usize::MAX,
            when_full: WhenFull::DropNew,
        };
        let frame = client_frame(&Message::Binary(vec![0; SESSION_STATE_MAX].into()));
        let queued = ends
            .session
            .relay_mut()
            .send_frame(&frame, Tick::MAX, &bounds);
        queued.expect("it is queued");
        let batch = pack(&sessions, None, 10, STATE_DETAILS);
        let packed: Vec<_> = batch.transfers.iter().map(|one| one.id).collect();
        assert_eq!((packed, batch.staying.total()), (vec![other.session.id], 1));
        assert!(ends.session.is_here(), "it goes on");
    });
}

#[test]
fn after_a_hand_over_that_failed_everything_is_as_before() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let mut ends = session::ordinary(&sessions).await;
        pack(&sessions, None, 10, STATE_DETAILS);
        assert_eq!(go_on(&sessions), 0);
        assert_eq!(ends.session.ownership.get(), Ownership::Here);
        assert!(fixture.worker.keeps_connections());
        ends.talk().await;
    });
}

#[test]
fn i6_a_session_that_went_leaves_no_record_here() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let ends = session::ordinary(&sessions).await;
        let stays = session::ordinary(&sessions).await;
        pack(&sessions, None, 10, STATE_DETAILS);
        assert_eq!(release(&sessions, &[ends.session.id]), 1);
        assert!(sessions.find(ends.session.id).is_none());
        assert_eq!(stays.session.ownership.get(), Ownership::Stays);
        let live = fixture.worker.load.sessions.load(Ordering::Relaxed);
        assert_eq!(live, 1);
        drop(ends);
        settle().await;
        sessions.cut(Slice::first(None));
        settle().await;
    });
    assert_eq!(fixture.records().len(), 1, "of the one that stayed");
}

#[test]
fn batches_are_bounded_and_cover_every_session_once() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let mut ends = Vec::new();
        for _ in 0..5 {
            ends.push(session::ordinary(&sessions).await);
        }
        let (mut after, mut packed) = (None, Vec::new());
        for expected in [2, 2, 1] {
            let batch = pack(&sessions, after, 2, STATE_DETAILS);
            assert_eq!(batch.transfers.len(), expected);
            packed.extend(batch.transfers.iter().map(|one| one.id));
            after = batch.next;
        }
        assert_eq!(after, None);
        let mut ids: Vec<_> = ends.iter().map(|one| one.session.id).collect();
        ids.sort_unstable();
        assert_eq!(packed, ids);
    });
}

#[test]
fn a_transferred_session_goes_on_in_the_next_process() {
    let (old, new) = (Fixture::new(ROUTES), Fixture::new(ROUTES));
    run(async {
        let (from, to) = (old.sessions(), new.sessions());
        let mut ends = session::ordinary(&from).await;
        ends.talk().await;
        let batch = pack(&from, None, 10, STATE_DETAILS);
        let (go, wait) = oneshot::channel();
        let adopted = adopt(&to, batch.transfers, wait);
        assert_eq!(adopted.ready, [ends.session.id]);
        settle().await;
        assert_eq!(to.len(), 0, "the old process owns it until the word");
        release(&from, &adopted.ready);
        go.send(()).expect("it waits");
        settle().await;
        let session = to.find(ends.session.id).expect("it has begun");
        assert_eq!(
            session.facts().request.target(),
            ends.session.facts().request.target()
        );
        assert_eq!(new.worker.load.sessions.load(Ordering::Relaxed), 1);
        ends.talk().await;
        assert_eq!(session.relay.borrow().to_backend().text, 2);
    });
}

#[test]
fn without_the_order_no_session_begins() {
    let (old, new) = (Fixture::new(ROUTES), Fixture::new(ROUTES));
    run(async {
        let (from, to) = (old.sessions(), new.sessions());
        let mut ends = session::ordinary(&from).await;
        let batch = pack(&from, None, 10, STATE_DETAILS);
        let (go, wait) = oneshot::channel();
        adopt(&to, batch.transfers, wait);
        drop(go);
        settle().await;
        assert_eq!(to.len(), 0);
        let open = new.worker.load.connections.load(Ordering::Relaxed);
        assert_eq!(open, 0);
        go_on(&from);
        ends.talk().await;
    });
    let leaves_none = new.records();
    assert!(leaves_none.is_empty(), "{leaves_none:?}");
}

#[test]
fn transfers_that_are_not_understood_or_known_are_refused() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let _ends = (
            session::ordinary(&sessions).await,
            session::ordinary(&sessions).await,
        );
        let mut batch = pack(&sessions, None, 10, STATE_DETAILS);
        batch.transfers[0].state = b"{}".to_vec().into();
        let ids: Vec<_> = batch.transfers.iter().map(|one| one.id).collect();
        let (_go, wait) = oneshot::channel();
        let adopted = adopt(&sessions, batch.transfers, wait);
        assert!(adopted.ready.is_empty());
        let refused: Vec<_> = adopted.refused.iter().map(|(id, _)| *id).collect();
        assert_eq!(refused, ids);
        let why = |index: usize| &*adopted.refused[index].1;
        assert!(
            why(0).starts_with("its state cannot be parsed"),
            "{}",
            why(0)
        );
        assert_eq!(why(1), "a session with this id already exists here");
    });
}

#[test]
fn a_process_of_a_former_version_gets_the_session_without_its_details() {
    let (old, new) = (Fixture::new(ROUTES), Fixture::new(ROUTES));
    run(async {
        let (from, to) = (old.sessions(), new.sessions());
        let ends = session::ordinary(&from).await;
        let extensions = || Some(Box::<str>::from("permessage-deflate"));
        {
            let mut facts = ends.session.facts.borrow_mut();
            let details = &mut Arc::make_mut(&mut facts).details;
            Arc::make_mut(details).extensions = extensions();
        }
        let more = |transfer: &SessionTransfer| {
            let state: Value = serde_json::from_slice(&transfer.state).expect("JSON");
            state.get("more").cloned()
        };
        for reads in [STATE_TLS - 1, STATE_TLS] {
            let batch = pack(&from, None, 10, reads);
            assert_eq!(
                more(&batch.transfers[0]),
                None,
                "unknown fields are refused there"
            );
            go_on(&from);
        }
        let mut batch = pack(&from, None, 10, STATE_DETAILS);
        assert!(more(&batch.transfers[0]).is_some());
        // What is not understood of them does not cost the session.
        let mut state: Value = serde_json::from_slice(&batch.transfers[0].state).expect("JSON");
        let known = state["more"]["details"]["extensions"].clone();
        assert_eq!(known, "permessage-deflate");
        state["more"] = serde_json::json!({ "details": 7 });
        batch.transfers[0].state = serde_json::to_vec(&state).expect("JSON").into();
        let (go, wait) = oneshot::channel();
        let adopted = adopt(&to, batch.transfers, wait);
        assert_eq!(adopted.ready, [ends.session.id]);
        release(&from, &adopted.ready);
        go.send(()).expect("it waits");
        settle().await;
        let session = to.find(ends.session.id).expect("it has begun");
        assert_eq!(session.facts().details.extensions, None);
    });
}
