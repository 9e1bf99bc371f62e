use std::rc::Rc;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::*;
use crate::io::handover::STATE_DETAILS;
use crate::io::net::socket::BACKEND_KEEPALIVE;
use crate::proxy::session::handover::pack;
use crate::proxy::session::registry::Sessions;
use crate::proxy::tests::session::{self, ROUTES, settle};
use crate::proxy::tests::{Fixture, run};

/// A session whose backend is at the other end of a TCP connection.
struct OverTcp {
    session: Rc<Session>,
    client: UnixStream,
    backend: TcpStream,
}

impl OverTcp {
    async fn begin(sessions: &Rc<Sessions>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let near = TcpStream::connect(address).await.expect("it listens");
        let (backend, _) = listener.accept().await.expect("a connection");
        let mut granted = session::local(sessions);
        granted.carrier = Carrier::from(Socket::Tcp(near));
        let id = granted.facts.id;
        let (near, client) = UnixStream::pair().expect("sockets");
        session::begin_on(sessions, granted, Carrier::from(Socket::Unix(near)));
        settle().await;
        Self {
            session: sessions.find(id).expect("it has begun"),
            client,
            backend,
        }
    }

    /// Whether the socket towards the backend has the options; all of them or none.
    fn is_tuned(&self) -> bool {
        let relay = self.session.relay.borrow();
        let socket = relay.streams().1.expect("a backend").socket();
        let socket = SockRef::from(socket.expect("a socket"));
        let kept = socket.keepalive().expect("an option");
        let unsent = socket.tcp_notsent_lowat().expect("an option");
        assert_eq!(
            kept,
            unsent == UNSENT_MAX,
            "one without the other: {unsent}"
        );
        if kept {
            let time = socket.tcp_keepalive_time().expect("an option");
            let interval = socket.tcp_keepalive_interval().expect("an option");
            let retries = socket.tcp_keepalive_retries().expect("an option");
            assert_eq!(time, BACKEND_KEEPALIVE);
            assert_eq!((interval, retries), (Duration::from_secs(10), 3));
        }
        kept
    }
}

#[test]
fn a_backend_gets_the_options_after_five_seconds() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let one = OverTcp::begin(&sessions).await;
        let began = fixture.worker.tick();
        sessions.expire(began + 50);
        assert!(!one.is_tuned());
        sessions.expire(began + 51);
        assert!(one.is_tuned());
        assert_eq!(one.session.armed.get(), Tick::MAX, "nothing else is due");
    });
}

#[test]
fn what_is_due_earlier_stays_so() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let one = OverTcp::begin(&sessions).await;
        let now = fixture.worker.tick();
        assert_eq!(one.session.tuning_due(now, Some(now + 7)), Some(now + 7));
        assert_eq!(one.session.tuning_due(now, Some(now + 700)), Some(now + 51));
        assert_eq!(one.session.tuning_due(now, None), Some(now + 51));
    });
}

#[test]
fn i8_a_client_that_sends_much_does_not_fill_the_system_before() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let mut one = OverTcp::begin(&sessions).await;
        let mut send = async |payload: u16| {
            let mut frame = vec![0x82, 0x80 | 126];
            frame.extend(payload.to_be_bytes());
            frame.resize(frame.len() + 4 + usize::from(payload), 0);
            one.client.write_all(&frame).await.expect("open");
            let mut read = vec![0; frame.len()];
            one.backend.read_exact(&mut read).await.expect("open");
        };
        send(60_000).await;
        settle().await;
        send(10_000).await;
        settle().await;
        assert!(one.is_tuned(), "70,000 bytes went to the backend");
    });
}

#[test]
fn i8_a_client_that_sends_little_waits_for_the_wheel() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let mut one = OverTcp::begin(&sessions).await;
        let sent = one.client.write_all(session::FROM_CLIENT).await;
        sent.expect("open");
        let mut read = [0; session::FROM_CLIENT.len()];
        one.backend.read_exact(&mut read).await.expect("open");
        settle().await;
        assert!(!one.is_tuned());
    });
}

#[test]
fn i1_the_next_process_gets_a_backend_that_has_the_options() {
    let fixture = Fixture::new(ROUTES);
    run(async {
        let sessions = fixture.sessions();
        let one = OverTcp::begin(&sessions).await;
        let batch = pack(&sessions, None, 10, STATE_DETAILS);
        assert_eq!(batch.transfers.len(), 1);
        assert!(one.is_tuned());
    });
}
