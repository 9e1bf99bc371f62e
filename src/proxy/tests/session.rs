//! Live sessions of unit tests: both ends are unix sockets of the test.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::base::clock;
use crate::base::names::{AuthenticatorName, UpstreamName};
use crate::base::right::Right;
use crate::base::session_id::SessionId;
use crate::core::session::record::Facts;
use crate::core::session::request::{RequestFacts, RequestTexts};
use crate::core::wire::tracker::{Extensions, Rules};
use crate::io::carrier::Carrier;
use crate::io::net::socket::Socket;
use crate::io::relay::{Setup, Times};
use crate::proxy::backend::lease::BackendLease;
use crate::proxy::clock::TICK;
use crate::proxy::context::connection_lease::ConnectionLease;
use crate::proxy::context::permits::SessionPermits;
use crate::proxy::session::begin::{ClientEnd, GrantedSession, start};
use crate::proxy::session::live_session::Session;
use crate::proxy::session::registry::Sessions;
use crate::proxy::tests::Fixture;

/// A masked text frame "hi".
pub(crate) const FROM_CLIENT: &[u8] = &[0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2];
/// The same of a backend.
pub(crate) const FROM_BACKEND: &[u8] = &[0x81, 2, b'h', b'i'];

/// The routes of most sessions.
pub(crate) const ROUTES: &str = r#"
    [upstreams.chat]
    backends = ["127.0.0.1:9101", "127.0.0.1:9102"]
    [authenticators.guests]
    type = "anonymous"
    [[routes]]
    name = "chat"
    path = "/ws/{room}"
    upstream = "chat"
    authenticate = ["programs"]
    on_backend_loss = "reconnect"
    renew = "/renew"
    expiry = { renewal = "renew ", renewed = "renewed", refused = "no: {reason}" }
"#;

/// A live session and the far ends of its connections.
pub(crate) struct Ends {
    pub(crate) session: Rc<Session>,
    pub(crate) client: UnixStream,
    pub(crate) backend: UnixStream,
}

/// The session that the backend `member` of `chat` granted to the principal `bot`; a test changes
/// what it needs.
pub(crate) fn granted(sessions: &Sessions, member: usize) -> (GrantedSession, UnixStream) {
    let (near, far) = UnixStream::pair().expect("sockets");
    let carrier = Carrier::from(Socket::Unix(near));
    (granted_on(sessions, member, carrier), far)
}

fn granted_on(sessions: &Sessions, member: usize, carrier: Carrier) -> GrantedSession {
    let worker = sessions.worker();
    let table = worker.live().table();
    let upstream = table.upstream(&UpstreamName::from("chat"));
    let upstream = upstream.expect("it is configured");
    let backend = BackendLease::take(worker, upstream, &upstream.members[member], true);
    let rules = Rules {
        frame_bytes: u64::MAX,
        message_bytes: u64::MAX,
        extensions: Extensions::None,
    };
    let times = Times {
        idle: None,
        lifetime_at: None,
        expires_at: None,
        close: 50,
    };
    let id = worker.name_request();
    GrantedSession {
        memberships: Vec::new(),
        since: None,
        events: None,
        subscriptions: Vec::new(),
        facts: Facts {
            id,
            listener: "edge".into(),
            route: "chat".into(),
            upstream: "chat".into(),
            backend: backend.backend().clone(),
            principal: Some("bot".into()),
            right: Some(Arc::new(right("programs", "bot"))),
            request: RequestFacts::new(
                RequestTexts {
                    client: "192.0.2.7",
                    host: "chat.example.com",
                    target: "/ws/lobby",
                    foreign_id: Some("r-1"),
                    subprotocol: None,
                },
                clock::wall(),
                Duration::ZERO,
            ),
            order: None,
            details: Arc::default(),
        },
        backend,
        key: None,
        carrier,
        resumption: None,
        setup: Setup::plain(rules, times),
        permits: SessionPermits::default(),
    }
}

/// The same whose backend is the gateway itself, without a socket.
pub(crate) fn local(sessions: &Sessions) -> GrantedSession {
    granted_on(sessions, 0, Carrier::Local(Box::default()))
}

/// Begins a session whose two ends are in the process, so that there may be more of them than the
/// system has descriptors for. Its client takes no frames.
pub(crate) fn without_sockets(
    sessions: &Rc<Sessions>,
    change: impl FnOnce(&mut GrantedSession),
) -> SessionId {
    let mut granted = local(sessions);
    change(&mut granted);
    let id = granted.facts.id;
    begin_on(sessions, granted, Carrier::Local(Box::default()));
    id
}

/// Begins a session of this client.
pub(crate) fn begin_on(sessions: &Rc<Sessions>, granted: GrantedSession, client: Carrier) {
    let worker = sessions.worker();
    let end = ClientEnd {
        unsent: Vec::new(),
        carrier: client,
        early: Vec::new(),
        lease: ConnectionLease::take(&worker.shared, 0, &worker.load),
    };
    start(sessions, granted, end);
}

/// A right without an end.
pub(crate) fn right(authenticator: &str, subject: &str) -> Right {
    Right {
        authenticator: AuthenticatorName::from(authenticator),
        subject: subject.into(),
        token_id: None,
        origin_id: None,
        issued: None,
        expires: None,
        leeway: Duration::ZERO,
    }
}

/// Begins a session, and lets its task run once.
pub(crate) async fn begin(
    sessions: &Rc<Sessions>,
    (granted, backend): (GrantedSession, UnixStream),
) -> Ends {
    let (near, client) = UnixStream::pair().expect("sockets");
    let id = granted.facts.id;
    begin_on(sessions, granted, Carrier::from(Socket::Unix(near)));
    let session = sessions.find(id).expect("it has begun");
    settle().await;
    Ends {
        session,
        client,
        backend,
    }
}

/// Begins an ordinary session.
pub(crate) async fn ordinary(sessions: &Rc<Sessions>) -> Ends {
    begin(sessions, granted(sessions, 0)).await
}

/// Lets every task run until none of them can go on.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

impl Ends {
    /// Sends a message each way, and checks that both arrive.
    pub(crate) async fn talk(&mut self) {
        self.client.write_all(FROM_CLIENT).await.expect("open");
        let mut read = [0; 8];
        self.backend.read_exact(&mut read).await.expect("open");
        assert_eq!(read, FROM_CLIENT);
        self.backend.write_all(FROM_BACKEND).await.expect("open");
        let mut read = [0; 4];
        self.client.read_exact(&mut read).await.expect("open");
        assert_eq!(read, FROM_BACKEND);
    }

    /// Whether its end has begun.
    pub(crate) fn closing(&self) -> bool {
        self.session.relay.borrow().closing()
    }
}

/// Whether nothing can be read from this stream now.
pub(crate) fn is_silent(stream: &UnixStream) -> bool {
    let mut byte = [0; 1];
    let read = stream.try_read(&mut byte);
    read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

impl Fixture {
    /// The worker's sessions; none yet.
    pub(crate) fn sessions(&self) -> Rc<Sessions> {
        Sessions::new(Rc::clone(&self.worker))
    }

    /// Moves the worker's clock on by this many ticks from its begin.
    pub(crate) fn pass(&self, ticks: u32) {
        let clock = &self.worker.clock;
        clock.advance(clock.began() + TICK * ticks);
    }
}
