//! A gateway without sockets for clients: a real routing table and supervisor, and workers that
//! answer commands out of a list of sessions.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;

use crate::admin::fleet::client::FleetClient;
use crate::admin::{Desk, Gateway, ListenerView, server};
use crate::base::addr::{BackendAddr, ListenAddr, OwnAddresses};
use crate::base::clock;
use crate::base::secret::Secret;
use crate::base::session_id::SessionId;
use crate::base::traffic::Traffic;
use crate::config::snapshot::{Admin, AdminFleet, Token};
use crate::control::acme::{AcmeCertificates, Store};
use crate::control::load::LoadOptions;
use crate::control::revocations::RevocationStore;
use crate::control::scaling::ScalingWatch;
use crate::control::sources::Source;
use crate::control::sources::file::FileSource;
use crate::control::supervisor::{Configuration, Supervisor};
use crate::core::routing::RoutingTable;
use crate::core::session::orders::CloseOrder;
use crate::core::session::record::Facts;
use crate::core::session::request::{RequestFacts, RequestTexts};
use crate::core::session::resume::Moves;
use crate::io::net::listener::Inheritance;
use crate::live::{
    DirectionView, LeaveCounts, Live, LookCommand, Measured, Phase, Rights, SessionQuery,
    SessionSample, SessionView, Sliced, WorkerCommand, WorkerHandle,
};
use crate::telemetry::metrics::{Metrics, NodeMetrics, RouteMetrics};
use crate::telemetry::records::Records;

/// Two upstreams, three routes, a secret in each place that may hold one.
pub(crate) const CONFIG: &str = r#"
[node]
name = "edge-1"

[admin]
listen = "127.0.0.1:9900"
token = "hunter2"

[[listeners]]
name = "edge"
listen = ["127.0.0.1:8080"]

[upstreams.chat]
policy = "round_robin"
backends = [
    { address = "10.0.0.1:9000", zone = "a" },
    { address = "10.0.0.2:9000", weight = 3, state = "draining" },
]
probe = { type = "tcp" }

[upstreams.pages]
backends = ["10.0.0.3:80"]

[[routes]]
name = "rooms"
hosts = ["chat.example.com"]
path = "/ws/{room}"
upstream = "chat"
affinity = ["path:room"]

[[routes]]
name = "beta"
path = "/{*rest}"
headers = { authorization = "hunter2" }
upstream = "pages"

[[routes]]
name = "pages"
upstream = "pages"
affinity = ["cookie:sid", "client_address"]
"#;

/// Commands that a worker of the fixture received.
#[derive(Debug, Default)]
pub(crate) struct ReceivedCommands {
    pub(crate) gathers: usize,
    pub(crate) closes: Vec<CloseOrder>,
}

/// A gateway, and the commands that its workers received.
pub(crate) struct Fixture {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) received: Arc<Mutex<ReceivedCommands>>,
}

/// A ready gateway with this configuration and a worker for each list of sessions; on a runtime.
pub(crate) fn fixture(configuration: Configuration, workers: Vec<Vec<SessionView>>) -> Fixture {
    let loaded = configuration
        .load()
        .unwrap_or_else(|faults| panic!("{faults}"));
    let table = RoutingTable::compile(&loaded.snapshot, None, 1, clock::now());
    let live = Live::new(table.into());
    let received = Arc::<Mutex<ReceivedCommands>>::default();
    let metrics = Metrics::new();
    let handles = workers.into_iter().map(|sessions| {
        let (handle, commands) = WorkerHandle::new();
        handle
            .load
            .sessions
            .store(sessions.len(), std::sync::atomic::Ordering::Relaxed);
        tokio::spawn(work(
            commands,
            sessions,
            Arc::clone(&received),
            Arc::clone(&metrics),
        ));
        handle
    });
    live.set_workers(handles.collect());
    live.enter(Phase::Ready);
    let node = Arc::new(NodeMetrics::new(&metrics, 1));
    let name = Arc::clone(&loaded.snapshot.node.name);
    let supervisor = Supervisor::new(Arc::clone(&live), configuration, loaded, node, None);
    let gateway = Gateway {
        node: name,
        live: Arc::clone(&live),
        metrics,
        records: Records::off(),
        log: None,
        listeners: vec![ListenerView {
            name: "edge".to_owned(),
            tls: false,
            addresses: vec!["127.0.0.1:43211".to_owned()],
        }],
        certificates: Vec::new(),
        acme: Arc::new(AcmeCertificates::open(
            Vec::new(),
            Arc::default(),
            acme_store(),
        )),
        revocations: Arc::new(RevocationStore::open(Arc::clone(&live), None)),
        supervisor: Arc::clone(&supervisor),
        fleet: None,
        fleet_client: fleet_client(),
        connections: Box::new(|name| (name == "edge").then_some(2)),
        sources: [Arc::new(FileSource(supervisor)) as Arc<dyn Source>]
            .into_iter()
            .collect(),
        scaling: ScalingWatch::new(Arc::clone(&live)),
        messages: None,
        tokens: Vec::new(),
        desk: Desk::default(),
    };
    Fixture {
        gateway: Arc::new(gateway),
        received,
    }
}

/// `CONFIG`, as if it stood in a file.
pub(crate) fn built_in() -> Configuration {
    Configuration::BuiltIn(options(Path::new("gateway.toml")), CONFIG)
}

/// That file, and no environment.
pub(crate) fn options(path: &Path) -> LoadOptions {
    LoadOptions {
        path: path.to_owned(),
        sets: Vec::new(),
        environment: Vec::new(),
    }
}

/// Session number `n`, a minute old.
pub(crate) fn session(n: u64, route: &str, principal: Option<&str>) -> SessionView {
    SessionView {
        facts: Arc::new(Facts {
            id: SessionId::new(n, 0),
            listener: "edge".into(),
            route: route.into(),
            upstream: "chat".into(),
            backend: "10.0.0.1:9000".into(),
            principal: principal.map(Into::into),
            right: None,
            request: RequestFacts::new(
                RequestTexts {
                    client: "192.0.2.1",
                    host: "chat.example.com",
                    target: "/ws/7",
                    foreign_id: Some("req-1"),
                    subprotocol: None,
                },
                UNIX_EPOCH,
                Duration::from_micros(1500),
            ),
            order: None,
            details: Arc::default(),
        }),
        worker: 0,
        age: Duration::from_secs(60),
        idle: Duration::from_millis(260),
        key: None,
        from_client: DirectionView {
            traffic: Traffic {
                bytes: 2048,
                text: 3,
                ..Traffic::default()
            },
            ..DirectionView::default()
        },
        from_backend: DirectionView::default(),
        published: Default::default(),
        groups: Vec::new(),
        subscriptions: Vec::new(),
        moves: Moves::default(),
        movable: false,
        closing: false,
    }
}

fn takes(query: &SessionQuery, view: &SessionView) -> bool {
    query.takes(&view.facts, view.key.as_deref(), || Measured {
        age: view.age,
        idle: view.idle,
        messages: view.from_client.traffic.messages(),
        bytes: view.from_client.traffic.bytes,
        lost: view.moves.messages_lost + view.published.dropped,
    })
}

async fn work(
    mut commands: Receiver<WorkerCommand>,
    sessions: Vec<SessionView>,
    received: Arc<Mutex<ReceivedCommands>>,
    metrics: Arc<Metrics>,
) {
    let mut closing = HashSet::new();
    while let Some(command) = commands.recv().await {
        match command {
            WorkerCommand::Sessions {
                query,
                limit,
                slice,
                answer,
            } => {
                let all = sessions.iter().map(|view| (view.facts.id, view.clone()));
                let found = slice.of(&all.collect());
                let _ = answer.send(found.map(|mut found| {
                    found.retain(|view| takes(&query, view));
                    found.truncate(limit);
                    found
                }));
            }
            WorkerCommand::Look(command) => look(&sessions, command),
            // No session is moved, watched or sent a message.
            WorkerCommand::Operate(_) | WorkerCommand::Messages(_) => {}
            WorkerCommand::Close {
                query,
                order,
                answer,
                ..
            } => {
                let taken = sessions.iter().filter(|view| takes(&query, view));
                let closed = taken.filter(|view| closing.insert(view.facts.id)).count();
                if closed > 0 {
                    received.lock().expect("not poisoned").closes.push(order);
                }
                let _ = answer.send(Sliced::whole(closed));
            }
            WorkerCommand::Renew { answer, .. } | WorkerCommand::Revoke { answer, .. } => {
                let _ = answer.send(Sliced::whole(0));
            }
            WorkerCommand::Briefs { answer, .. } => {
                let _ = answer.send(Sliced::whole(Vec::new()));
            }
            WorkerCommand::Leave { answer, .. } => {
                let _ = answer.send(LeaveCounts::default());
            }
            WorkerCommand::Gather { answer, .. } => {
                let route = RouteMetrics::new(&metrics, "rooms", "chat");
                let (id, at) = (SessionId::new(1, 1), clock::wall());
                route.began(id, "a", Duration::ZERO, at);
                received.lock().expect("not poisoned").gathers += 1;
                let _ = answer.send(Sliced::whole(()));
            }
            WorkerCommand::Pack { .. }
            | WorkerCommand::Release { .. }
            | WorkerCommand::Resume { .. }
            | WorkerCommand::Adopt { .. } => {}
            WorkerCommand::Shutdown { answer, .. } => {
                let _ = answer.send(0);
            }
        }
    }
}

fn look(sessions: &[SessionView], command: LookCommand) {
    match command {
        LookCommand::Samples {
            query,
            slice,
            answer,
            ..
        } => {
            let taken = sessions.iter().filter(|view| takes(&query, view));
            let all = taken.map(|view| (view.facts.id, sample(view)));
            let _ = answer.send(slice.of(&all.collect()));
        }
        LookCommand::Rights { answer, .. } => {
            let _ = answer.send(Sliced::whole(Rights::new()));
        }
        LookCommand::Views { ids, answer } => {
            let known = |view: &&SessionView| ids.contains(&view.facts.id);
            let _ = answer.send(sessions.iter().filter(known).cloned().collect());
        }
    }
}

/// Sorted by bytes, whatever was asked for.
fn sample(view: &SessionView) -> SessionSample {
    let bytes = view.from_client.traffic.bytes;
    SessionSample {
        id: view.facts.id,
        value: Some(bytes),
        messages: view.from_client.traffic.messages(),
        bytes,
    }
}

/// Asks gateways on this machine.
pub(crate) fn fleet_client() -> FleetClient {
    let own = OwnAddresses::new(Vec::new());
    FleetClient::new(&AdminFleet::default(), own).expect("no file is named")
}

/// A token that has no end.
pub(crate) fn lasting(text: &str) -> Token {
    Token {
        secret: Secret::new(text),
        expires: None,
    }
}

/// Settings of an admin API here that asks for this token or for nothing.
pub(crate) fn admin(listen: &str, token: Option<&str>) -> Admin {
    Admin {
        listen: listen.parse().expect("an address"),
        socket_mode: 0o600,
        token: token.map(lasting),
        read_token: None,
        tls: None,
        operators: Vec::new(),
        fleet: Default::default(),
    }
}

/// A fixture that listens, on a thread of its own, until this is dropped.
pub(crate) struct Served {
    pub(crate) address: BackendAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

pub(crate) fn serve(listen: &str, token: Option<&str>, workers: Vec<Vec<SessionView>>) -> Served {
    let admin = admin(listen, token);
    let bound = server::bind(&admin, None, &mut Inheritance::default()).expect("it binds");
    let address = match bound.address() {
        ListenAddr::Tcp(address) => BackendAddr::Ip(*address),
        ListenAddr::Unix(path) => BackendAddr::Unix(path.clone()),
    };
    let (stop, stopped) = oneshot::channel();
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let fixture = fixture(built_in(), workers);
            let served = bound.serve(fixture.gateway, async { drop(stopped.await) });
            served.await.expect("it serves");
        });
    });
    Served {
        address,
        stop: Some(stop),
        thread: Some(thread),
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().expect("dropped once").join();
        assert!(
            thread::panicking() || ended.is_ok(),
            "the server ended by a panic"
        );
    }
}

fn acme_store() -> Store {
    Store::new(
        None,
        #[cfg(feature = "etcd")]
        None,
    )
}
