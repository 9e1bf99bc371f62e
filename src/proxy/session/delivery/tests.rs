use std::io::Read as _;
use std::os::unix::net::UnixStream as StdStream;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use metrics::Counter;
use socket2::{Domain, Socket as RawSocket, Type};
use tokio::net::UnixStream;

use super::*;
use crate::base::clock;
use crate::base::group::GroupName;
use crate::base::history_id::HistoryId;
use crate::base::message::Message;
use crate::core::messages::delivery::Publication;
use crate::core::messages::index::{GroupBounds, Membership};
use crate::io::carrier::Carrier;
use crate::io::net::socket::Socket;
use crate::live::{MessagesSetup, PresenceFeed, RecordedAt};
use crate::proxy::session::live_session::Ownership;
use crate::proxy::tests::session::{self, ROUTES, is_silent};
use crate::proxy::tests::{Fixture, run as run_as_worker};

fn publication(text: &str) -> Publication {
    Publication {
        id: None,
        to: vec![Target::All],
        except: Vec::new(),
        side: Recipient::Client,
        message: Message::Text(text.into()),
        expires: None,
    }
}

/// A message to all sessions waits for the worker.
fn publish(sessions: &Sessions, text: &str) -> oneshot::Receiver<DeliveryCounts> {
    publish_at(sessions, text, None)
}

/// The same for one that came at this time, to the process before this one too.
fn publish_at(
    sessions: &Sessions,
    text: &str,
    came: Option<Instant>,
) -> oneshot::Receiver<DeliveryCounts> {
    let delivery = Delivery::from(publication(text)).that_came(came);
    let (answer, counts) = oneshot::channel();
    sessions.delivery_queue.push(QueuedDelivery {
        delivery: Arc::new(delivery),
        answer,
    });
    counts
}

/// Publishes messages on the fixture's gateway.
fn with_messages(fixture: &Fixture) -> Rc<Sessions> {
    fixture.worker.live().set_messages(MessagesSetup {
        prefix: "sessile".into(),
        bounds: GroupBounds {
            per_session: 10,
            per_worker: 10,
        },
        interest: None,
        replays: Some(Arc::default()),
        presence: Arc::new(PresenceFeed::publishing(Vec::new())),
        refused: Counter::noop(),
    });
    fixture.sessions()
}

async fn answered(
    mut answer: oneshot::Receiver<DeliveryCounts>,
    mut task: Pin<&mut impl Future<Output = ()>>,
) -> DeliveryCounts {
    loop {
        match answer.try_recv() {
            Ok(counted) => return counted,
            Err(_) => step(task.as_mut()),
        }
    }
}

/// Both processes of a hand-over get the messages of the broker: what came before a session did
/// was for the process before.
#[test]
fn i1_a_session_that_came_behind_a_message_does_not_get_it_a_second_time() {
    let fixture = Fixture::new(ROUTES);
    run_as_worker(async {
        let sessions = with_messages(&fixture);
        let ends = session::ordinary(&sessions).await;
        let (before, now) = (clock::now(), || Some(clock::now()));
        sessions.index.note_adopted(ends.session.id);
        let mut task = pin!(run(Rc::clone(&sessions)));
        let early = publish_at(&sessions, "a", Some(before));
        assert_eq!(answered(early, task.as_mut()).await, counts(0, 0, 1));
        assert!(is_silent(&ends.client));
        let late = publish_at(&sessions, "b", now());
        assert_eq!(answered(late, task.as_mut()).await, counts(1, 0, 0));
        // One that no other process got.
        let own = publish(&sessions, "c");
        assert_eq!(answered(own, task.as_mut()).await, counts(1, 0, 0));
        let native = session::ordinary(&sessions).await;
        let all = publish_at(&sessions, "d", Some(before));
        assert_eq!(answered(all, task.as_mut()).await, counts(1, 0, 1));
        drop(native);
    });
}

/// The process that the session was to go to did not take it.
#[test]
fn i1_a_session_that_stays_after_all_asks_for_what_it_missed_meanwhile() {
    let fixture = Fixture::new(ROUTES);
    run_as_worker(async {
        let sessions = with_messages(&fixture);
        let ends = session::ordinary(&sessions).await;
        let (id, group) = (ends.session.id, GroupName::parse("a").expect("a name"));
        let joined = sessions
            .index
            .join(&ends.session, Membership::for_good(group.clone()));
        joined.expect("within the bounds");
        sessions.index.ask_again(id);
        ends.session.ownership.set(Ownership::Held);
        let recorded = RecordedAt {
            id: HistoryId::at(5),
            groups: vec![group.clone()],
            publication: publication("a"),
        };
        let (answer, counted) = oneshot::channel();
        let delivery = Arc::new(Delivery::recorded(recorded));
        sessions
            .delivery_queue
            .push(QueuedDelivery { delivery, answer });
        let mut task = pin!(run(Rc::clone(&sessions)));
        assert_eq!(answered(counted, task.as_mut()).await, counts(0, 0, 1));
        ends.session.ownership.set(Ownership::Stays);
        sessions.index.ask_again(id);
        let setup = fixture.worker.live().messages().expect("messages");
        let replays = setup.replays.as_ref().expect("a history");
        let asked = pin!(replays.next()).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(asked) = asked else {
            panic!("nothing is asked for");
        };
        assert_eq!((asked.id, asked.groups), (id, vec![group]));
        assert!(asked.since < HistoryId::at(5));
    });
}

/// Lets the worker's task go on until it lets others run.
fn step(task: Pin<&mut impl Future<Output = ()>>) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(
        task.poll(&mut cx).is_pending(),
        "it runs as long as the worker"
    );
}

fn counts(delivered: u64, queued: u64, dropped: u64) -> DeliveryCounts {
    DeliveryCounts {
        delivered,
        queued,
        dropped,
    }
}

/// A client's end that gets each write of the gateway as one packet.
fn packets() -> (Carrier, StdStream) {
    let (near, far) =
        RawSocket::pair(Domain::UNIX, Type::SEQPACKET.nonblocking(), None).expect("sockets");
    let [near, far] = [near, far].map(|end| StdStream::from(std::os::fd::OwnedFd::from(end)));
    let near = UnixStream::from_std(near).expect("a runtime");
    (Carrier::from(Socket::Unix(near)), far)
}

#[test]
fn messages_that_wait_together_leave_in_one_write_in_their_order() {
    let fixture = Fixture::new(ROUTES);
    run_as_worker(async {
        let sessions = fixture.sessions();
        let mut clients = Vec::new();
        for _ in 0..SLICE + 10 {
            let (near, far) = packets();
            session::begin_on(&sessions, session::local(&sessions), near);
            clients.push(far);
        }
        session::settle().await;
        let answers: Vec<_> = ["a", "b", "c"].map(|text| publish(&sessions, text)).into();
        let mut task = pin!(run(Rc::clone(&sessions)));
        for mut answer in answers {
            let counted = loop {
                match answer.try_recv() {
                    Ok(counted) => break counted,
                    Err(_) => step(task.as_mut()),
                }
            };
            assert_eq!(counted, counts(clients.len() as u64, 0, 0));
        }
        for client in &mut clients {
            let mut packet = [0; 64];
            let length = client.read(&mut packet).expect("a packet");
            assert_eq!(&packet[..length], b"\x81\x01a\x81\x01b\x81\x01c");
            assert!(client.read(&mut packet).is_err(), "nothing more");
        }
    });
}

#[test]
fn i1_nothing_is_written_to_a_session_that_was_held_or_closed_before_its_write() {
    let fixture = Fixture::new(ROUTES);
    run_as_worker(async {
        let sessions = fixture.sessions();
        let mut ends = Vec::new();
        for _ in 0..SLICE {
            ends.push(session::ordinary(&sessions).await);
        }
        let [mut first, mut second] = ["a", "b"].map(|text| publish(&sessions, text));
        let mut task = pin!(run(Rc::clone(&sessions)));
        // The first message is in all queues then.
        step(task.as_mut());
        ends[0].session.ownership.set(Ownership::Held);
        let order = CloseOrder {
            code: 1008,
            reason: "kicked".into(),
            cause: Cause::Kicked,
        };
        let now = fixture.worker.tick();
        assert!(ends[1].session.close(&order, None, now));
        let rest = SLICE as u64 - 2;
        let counted = [&mut first, &mut second].map(|answer| {
            loop {
                match answer.try_recv() {
                    Ok(counted) => break counted,
                    Err(_) => step(task.as_mut()),
                }
            }
        });
        assert_eq!(counted, [counts(rest, 1, 1), counts(rest, 0, 2)]);
        assert!(is_silent(&ends[0].client) && is_silent(&ends[1].client));
    });
}
