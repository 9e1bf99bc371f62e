//! A worker in process, without threads: what the unit tests of the data plane run on. Stages and
//! sessions that need a backend or a client have one at a unix socket.

pub(crate) mod backend;
pub(crate) mod session;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::request::{Builder, Parts};

use crate::base::clock;
use crate::config::snapshot::{Access, LogFormat};
use crate::control::load::{LoadOptions, load_text};
use crate::core::routing::RoutingTable;
use crate::core::wire::request_guard::Smuggling;
use crate::io::broker::Outlet;
use crate::live::{Edge, Generation, Live, Phase};
use crate::proxy::backend::dial::ConnectionAddresses;
use crate::proxy::client::connection::ClientConnection;
use crate::proxy::client::progress::Progress;
use crate::proxy::context::ejections::Ejections;
use crate::proxy::context::shared::{ListenerContext, Shared};
use crate::proxy::context::worker::Worker;
use crate::proxy::refusal::Refusal;
use crate::proxy::request::admitted::Admitted;
use crate::proxy::request::authenticated::Authenticated;
use crate::proxy::request::received::Received;
use crate::proxy::request::routed::Routed;
use crate::proxy::stages::admit::admit;
use crate::proxy::stages::authenticate::authenticate;
use crate::proxy::stages::route::{Destination, route};
use crate::proxy::streams::activity::StreamActivity;
use crate::telemetry::events::{Collector, EventView, Filter};
use crate::telemetry::metrics::{
    Exposition, ListenerMetrics, MessageMetrics, Metrics, NodeMetrics,
};
use crate::telemetry::records::{Records, RecordsGuard};

/// The listener of every fixture.
const LISTENER: &str = "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
    trusted_proxies = [\"10.0.0.0/8\"]\n";

/// An authenticator of every fixture that has none of this name. The key is `key-of-a-bot`.
const PROGRAMS: &str = r#"
[authenticators.programs]
type = "api_key"
strip = true
from = ["header:x-api-key", "query:key", "subprotocol:key"]
[[authenticators.programs.keys]]
subject = "bot"
sha256 = "3f41f315b64b34a69ab164cf2c9b3fdf087a8c53ed06b8a94feb11739bbbdf20"
claims = { room = "lobby", role = "robot" }
"#;

/// The default peer.
pub(crate) const STRANGER: &str = "192.0.2.7:40000";

/// A worker that serves nothing, and its records.
pub(crate) struct Fixture {
    pub(crate) worker: Rc<Worker>,
    records: PathBuf,
    guard: RecordsGuard,
    collector: RefCell<Collector>,
    _directory: tempfile::TempDir,
}

impl Fixture {
    /// A worker with these routes, upstreams and authenticators.
    pub(crate) fn new(configuration: &str) -> Self {
        let options = LoadOptions {
            path: "gateway.toml".into(),
            sets: Vec::new(),
            environment: Vec::new(),
        };
        let has_programs = configuration.contains("[authenticators.programs]");
        let programs = if has_programs { "" } else { PROGRAMS };
        let text = format!("{LISTENER}{configuration}{programs}");
        let loaded = load_text(&options, &text).unwrap_or_else(|faults| panic!("{faults}"));
        let mut snapshot = loaded.snapshot;
        let directory = tempfile::tempdir().expect("a directory");
        let records = directory.path().join("records");
        snapshot.log.access = Access::to_file(records.clone());
        snapshot.log.format = LogFormat::Json;
        let (sink, guard) = Records::open(&snapshot.log, &snapshot.node.name).expect("a file");
        let metrics = Metrics::new();
        let table = RoutingTable::compile(&snapshot, None, 1, clock::now());
        let mut first = Generation::from(table);
        first.edge = Arc::new(Edge::of(&snapshot, 0));
        let revocations = Arc::make_mut(&mut first.revocations);
        for revocation in snapshot.revocations.values() {
            let added = revocations.add(Arc::clone(revocation), clock::wall());
            added.expect("room for a few");
        }
        let live = Live::new(first);
        live.enter(Phase::Ready);
        let listeners = snapshot.listeners.iter().map(|config| ListenerContext {
            config: config.clone(),
            addresses: Vec::new(),
            tls: None,
            open: 0.into(),
            metrics: ListenerMetrics::new(&metrics, &config.name),
        });
        let node = Arc::new(NodeMetrics::new(&metrics, 1));
        let shared = Shared {
            ejections: Ejections::new(&node, live.events()),
            live,
            listeners: listeners.map(Arc::new).collect(),
            records: sink,
            tracer: None,
            challenges: Arc::default(),
            verifiers: Arc::default(),
            functions: Arc::default(),
            outlet: Arc::new(Outlet::new(MessageMetrics::new(&metrics).sent_by_clients())),
            node,
            metrics,
        };
        let collector = shared
            .live
            .events()
            .collector()
            .expect("the only one")
            .into();
        Self {
            worker: Worker::new(0, shared, Arc::default()),
            records,
            guard,
            collector,
            _directory: directory,
        }
    }

    /// The events so far, as the API shows them.
    pub(crate) fn events(&self) -> Vec<EventView> {
        let events = self.worker.live().events();
        let mut collector = self.collector.borrow_mut();
        collector.finish();
        let all = Filter::default();
        let mut cursor = events.resume(None, &all).cursor;
        let batch = events.read(&mut cursor, &all);
        batch.events.iter().map(|sent| sent.event.view()).collect()
    }

    /// A connection of this peer.
    pub(crate) fn connection(&self, peer: &str) -> Rc<ClientConnection> {
        let peer: SocketAddr = peer.parse().expect("an address");
        Rc::new(ClientConnection {
            worker: Rc::clone(&self.worker),
            listener: 0,
            addresses: ConnectionAddresses {
                client: Some(peer),
                local: None,
            },
            tls: false,
            certificate: None,
            logins: Rc::default(),
            closing: Cell::new(false),
            ended: Cell::new(None),
        })
    }

    /// A request of this peer whose framing the guard found to be so.
    pub(crate) fn receive_from(
        &self,
        peer: &str,
        framing: Result<(), Smuggling>,
        head: &Parts,
    ) -> Received {
        let clock = &self.worker.clock;
        let activity = StreamActivity::new(clock.tick());
        let progress = Progress::begin(clock, &activity, &Rc::default());
        let generation = self.worker.live().generation_arc();
        Received::begin(self.connection(peer), progress, generation, framing, head)
    }

    /// A well-framed request of a stranger.
    pub(crate) fn receive(&self, head: &Parts) -> Received {
        self.receive_from(STRANGER, Ok(()), head)
    }

    /// The metrics as Prometheus reads them.
    pub(crate) fn metrics(&self) -> String {
        self.worker.shared.metrics.render(Exposition::Text)
    }

    /// The records that were left, after everything that could leave one is gone.
    pub(crate) fn records(self) -> Vec<serde_json::Value> {
        drop(self.worker);
        drop(self.guard);
        let text = std::fs::read_to_string(&self.records).expect("a file");
        let lines = text.lines();
        let records = lines.map(|line| serde_json::from_str(line).expect("a record"));
        records.collect()
    }
}

/// How long a test may take, which is more than any needs: what is broken may wait for ever.
const DEADLINE: Duration = Duration::from_secs(30);

/// Runs a future, and the tasks that it spawns, as a worker does.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    let bounded = async { tokio::time::timeout(DEADLINE, future).await };
    let done = tokio::task::LocalSet::new().block_on(&runtime, bounded);
    done.expect("the test comes to its end")
}

/// A GET.
pub(crate) fn get(target: &str) -> Builder {
    Request::get(target).header("host", "chat.example.com")
}

/// A GET that asks for a WebSocket.
pub(crate) fn websocket(target: &str) -> Builder {
    get(target)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

/// The head of a request.
pub(crate) fn head(builder: Builder) -> Parts {
    builder.body(()).expect("a request").into_parts().0
}

/// The request after "admit".
#[track_caller]
pub(crate) fn admitted(received: &Received, head: Parts) -> Admitted<'_> {
    admit(received, head).unwrap_or_else(|refusal| panic!("not admitted: {refusal}"))
}

/// The request after "route", or its refusal.
pub(crate) fn try_route(received: &Received, head: Parts) -> Result<Routed<'_>, Refusal> {
    match route(admit(received, head)?)? {
        Destination::Upstream(routed) => Ok(routed),
        Destination::Gateway(_) => panic!("the route answers by itself"),
    }
}

/// The request after "route".
#[track_caller]
pub(crate) fn routed(received: &Received, head: Parts) -> Routed<'_> {
    try_route(received, head).unwrap_or_else(|refusal| panic!("not routed: {refusal}"))
}

/// The request after "authenticate", or its refusal.
pub(crate) fn try_authenticate(routed: Routed<'_>) -> Result<Authenticated<'_>, Refusal> {
    run(authenticate(routed))
}

/// The request after "authenticate".
#[track_caller]
pub(crate) fn authenticated(received: &Received, head: Parts) -> Authenticated<'_> {
    let authenticated = try_authenticate(routed(received, head));
    authenticated.unwrap_or_else(|refusal| panic!("not authenticated: {refusal}"))
}
