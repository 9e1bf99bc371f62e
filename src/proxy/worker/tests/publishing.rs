//! Published messages, groups and presence with a hundred thousand sessions.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use tokio::sync::oneshot;

use crate::base::group::GroupName;
use crate::base::message::Message;
use crate::base::session_id::SessionId;
use crate::base::target::Target;
use crate::core::messages::delivery::{Publication, Recipient};
use crate::core::messages::index::Membership;
use crate::io::carrier::Carrier;
use crate::io::net::socket::Socket;
use crate::live::{Delivery, MessageCommand, PresenceNote, RosterAsk, SLICE_MAX, WorkerCommand};
use crate::proxy::session::delivery;
use crate::proxy::session::registry::Sessions;
use crate::proxy::tests::Fixture;
use crate::proxy::tests::session;
use crate::proxy::worker::commands::carry_out;
use crate::proxy::worker::tests::crowd::{CROWD, Crowd, Times, measured};

/// Sessions with sockets; the others are the same ones under other ids.
const SOCKETS: usize = if cfg!(debug_assertions) { 250 } else { 4_000 };
/// Sessions in all. Fewer show whether slices hold, where the times do not count.
const MANY: usize = if cfg!(debug_assertions) {
    10_000
} else {
    CROWD
};
/// Bytes of a message.
const PAYLOAD: usize = 64;

fn lobby() -> GroupName {
    GroupName::parse("lobby").expect("a name")
}

/// Sessions of clients over TCP, in the group `lobby`, and the far ends.
fn with_clients(fixture: &Fixture) -> (Rc<Sessions>, Vec<TcpStream>) {
    let sessions = fixture.sessions();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    let (mut clients, mut begun) = (Vec::new(), Vec::new());
    for _ in 0..SOCKETS {
        let client = TcpStream::connect(address).expect("it listens");
        let (near, _) = listener.accept().expect("it connects");
        for socket in [&near, &client] {
            socket.set_nonblocking(true).expect("a socket");
            socket.set_nodelay(true).expect("a socket");
        }
        let near = tokio::net::TcpStream::from_std(near).expect("a runtime");
        let member = Membership::for_good(lobby());
        let mut granted = session::local(&sessions);
        granted.memberships = vec![member];
        let id = granted.facts.id;
        session::begin_on(&sessions, granted, Carrier::from(Socket::Tcp(near)));
        begun.push(sessions.find(id).expect("it has begun"));
        clients.push(client);
    }
    for number in 0..MANY - SOCKETS {
        let id = SessionId::new(number as u64, 1);
        let session = Rc::clone(&begun[number % SOCKETS]);
        sessions.insert_as(id, session);
        sessions.index.join_as(id, Membership::for_good(lobby()));
    }
    (sessions, clients)
}

/// Publishes a message and lets the worker's task deliver it, turn by turn.
fn publish(times: &mut Times, name: &'static str, sessions: &Rc<Sessions>, to: &str) {
    let publication = Publication {
        id: None,
        to: vec![to.parse::<Target>().expect("a target")],
        except: Vec::new(),
        side: Recipient::Client,
        message: Message::Binary(vec![7; PAYLOAD].into()),
        expires: None,
    };
    let (sender, mut answer) = oneshot::channel();
    let command = MessageCommand::Deliver {
        delivery: Arc::new(Delivery::from(publication)),
        answer: sender,
    };
    carry_out(sessions, WorkerCommand::Messages(command));
    let mut task = pin!(delivery::run(Rc::clone(sessions)));
    let mut cx = Context::from_waker(Waker::noop());
    let mut turns = 0;
    let counts = loop {
        let polled = times.turn(name, sessions, |_| task.as_mut().poll(&mut cx));
        assert!(polled.is_pending(), "it runs for as long as the worker");
        turns += 1;
        if let Ok(counts) = answer.try_recv() {
            break counts;
        }
    };
    // Sessions share sockets here, which fill up where there are very many.
    let came = counts.delivered + counts.queued;
    assert_eq!((came, counts.dropped), (MANY as u64, 0), "{to}: {counts:?}");
    assert!(turns >= MANY / SLICE_MAX, "{to}: {turns} turns");
}

/// Reads what came, so that the sockets take more.
fn drain(clients: &mut [TcpStream]) {
    let mut buffer = vec![0; 64 * 1024];
    for client in clients {
        while client.read(&mut buffer).is_ok_and(|count| count > 0) {}
    }
}

#[test]
fn no_turn_delivers_a_message_to_more_than_a_slice_of_a_hundred_thousand_sessions() {
    measured(async |fixture, times| {
        let (sessions, mut clients) = with_clients(fixture);
        session::settle().await;
        for (name, to) in [
            ("publish to all", "all"),
            ("publish to a route", "route:chat"),
            ("publish to a group", "group:lobby"),
        ] {
            publish(times, name, &sessions, to);
            drain(&mut clients);
        }
    });
}

#[test]
fn a_group_of_a_hundred_thousand_sessions_is_made_and_shown_slice_by_slice() {
    measured(async |fixture, times| {
        let messages = fixture.worker.live().messages().expect("set");
        let mut notes = messages.presence.take_notes().expect("the only one");
        let mut crowd = Crowd::of_its_own(fixture, times).await;
        let mut ids = crowd.sessions.ids();
        ids.drain(..CROWD - MANY);
        for id in &ids {
            let joined = crowd.carry_out("join a group", |answer| {
                WorkerCommand::Messages(MessageCommand::Join {
                    id: *id,
                    group: lobby(),
                    ttl: None,
                    metadata: None,
                    answer,
                })
            });
            assert!(joined.is_some_and(|joined| joined.is_ok()));
        }
        let count = ids.len();
        let members = crowd.walk("list the members of a group", |slice, answer| {
            WorkerCommand::Messages(MessageCommand::Members {
                group: lobby(),
                slice,
                answer,
            })
        });
        let listed: usize = members.iter().map(|slice| slice.members.len()).sum();
        assert_eq!(listed, crowd.distinct());
        let groups = crowd.walk("list the groups", |slice, answer| {
            WorkerCommand::Messages(MessageCommand::Groups { slice, answer })
        });
        assert_eq!(groups.len(), CROWD.div_ceil(SLICE_MAX));
        assert!(groups.iter().flatten().any(|name| *name == lobby()));
        let (mut after, mut reported) = (None, 0);
        loop {
            let roster = MessageCommand::Roster {
                group: lobby(),
                asked: RosterAsk {
                    node: "edge-1".into(),
                    snapshot: 1,
                },
                after,
            };
            crowd.turn("presence: members of a group", |sessions| {
                carry_out(sessions, WorkerCommand::Messages(roster));
            });
            let note = notes.try_recv().expect("a slice");
            let PresenceNote::Slice { members, next, .. } = note else {
                panic!("not a slice: {note:?}");
            };
            reported += members.len();
            after = next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(reported, listed);
        for id in &ids[..count / 10] {
            crowd.turn("leave a group", |sessions| {
                sessions.index.leave(*id, &lobby())
            });
        }
    });
}
