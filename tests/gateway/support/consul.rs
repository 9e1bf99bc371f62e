//! A Consul for gateways under test, written from the documentation of its HTTP API (1.20):
//! blocking queries with their index, consistency modes, ACL tokens, health of instances, keys. It
//! has a thread of its own: tests wait for gateways without letting their own runtime go on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::free_port;

/// Longest and default time that a query waits.
const WAIT_MAX: Duration = Duration::from_secs(600);
const WAIT_DEFAULT: Duration = Duration::from_secs(300);

/// What is wrong with it, if anything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Every answer is 500.
    Errors,
    /// No leader is elected. Answers to stale reads are so many milliseconds old.
    NoLeader(u64),
    /// Questions are read and never answered.
    Hangs,
    /// Answers never end.
    Endless,
    /// Answers are not JSON.
    Nonsense,
    /// Answers have no index.
    NoIndex,
    /// Answers have the index 0, as those of some old versions.
    IndexZero,
    /// Answers leave out what the token may not read, and say so.
    Filtered,
}

/// A key and what is written there.
struct Written {
    text: String,
    modified: u64,
    session: Option<String>,
}

/// What the servers know.
struct World {
    /// Of the last write.
    index: u64,
    /// Instances by service, and when they changed.
    services: BTreeMap<String, (u64, Vec<Value>)>,
    keys: BTreeMap<String, Written>,
    /// Of the last write to a key, deletions included.
    keys_index: u64,
    mood: Mood,
    token: Option<String>,
    /// Queries that wait are ended, as by a restore.
    abandoned: u64,
    /// First lines of all questions.
    asked: Vec<String>,
}

struct Shared {
    world: Mutex<World>,
    changes: watch::Sender<u64>,
    tls: Option<TlsAcceptor>,
}

/// The server.
pub struct Consul {
    port: u16,
    shared: Arc<Shared>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// An instance that passes its checks.
pub fn instance(id: &str, address: SocketAddr) -> Value {
    let (ip, port) = (address.ip().to_string(), address.port());
    json!({
        "Node": { "ID": "40e4a748-2192-161a-0510-9bf59fe950b5", "Node": "web", "Address": ip,
                  "Datacenter": "dc1", "TaggedAddresses": { "lan": ip }, "Meta": {} },
        "Service": { "ID": id, "Service": "echo", "Tags": [], "Address": "", "Meta": {},
                     "Port": port, "Weights": { "Passing": 1, "Warning": 1 } },
        "Checks": [{ "Node": "web", "CheckID": "serfHealth", "Status": "passing", "ServiceTags": [] }],
    })
}

/// The same with a check in this state.
pub fn checked(id: &str, address: SocketAddr, status: &str) -> Value {
    let mut instance = instance(id, address);
    let check = json!({ "Node": "web", "CheckID": format!("service:{id}"), "Status": status });
    let checks = instance["Checks"].as_array_mut().expect("a list");
    checks.push(check);
    instance
}

impl Consul {
    pub fn start() -> Self {
        Self::start_tls(None)
    }

    pub fn start_tls(tls: Option<Arc<ServerConfig>>) -> Self {
        let world = World {
            index: 10,
            services: BTreeMap::new(),
            keys: BTreeMap::new(),
            keys_index: 10,
            mood: Mood::Well,
            token: None,
            abandoned: 0,
            asked: Vec::new(),
        };
        let mut server = Self {
            port: free_port(),
            shared: Arc::new(Shared {
                world: Mutex::new(world),
                changes: watch::Sender::new(0),
                tls: tls.map(TlsAcceptor::from),
            }),
            end: None,
            thread: None,
        };
        server.start_again();
        server
    }

    /// With these instances of `echo`.
    pub fn with(instances: &[Value]) -> Self {
        let server = Self::start();
        server.set("echo", instances);
        server
    }

    pub fn url(&self) -> String {
        let scheme = self.shared.tls.as_ref().map_or("http", |_| "https");
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().expect("no holder panics")
    }

    fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world());
        self.shared.changes.send_modify(|count| *count += 1);
    }

    /// From now on a service has these instances and no other.
    pub fn set(&self, service: &str, instances: &[Value]) {
        self.change(|world| {
            world.index += 1;
            let entry = (world.index, instances.to_vec());
            world.services.insert(service.to_owned(), entry);
        });
    }

    /// Writes a key.
    pub fn put(&self, key: &str, value: &Value) {
        self.put_held(key, value, None);
    }

    /// Writes a key that a session holds.
    pub fn put_held(&self, key: &str, value: &Value, session: Option<&str>) {
        self.put_text(key, &value.to_string(), session);
    }

    pub fn put_text(&self, key: &str, text: &str, session: Option<&str>) {
        self.change(|world| {
            world.index += 1;
            world.keys_index = world.index;
            let written = Written {
                text: text.to_owned(),
                modified: world.index,
                session: session.map(str::to_owned),
            };
            world.keys.insert(format!("sessile/{key}"), written);
        });
    }

    /// Deletes the keys that begin so.
    pub fn delete(&self, prefix: &str) {
        self.change(|world| {
            world.index += 1;
            world.keys_index = world.index;
            let prefix = format!("sessile/{prefix}");
            world.keys.retain(|key, _| !key.starts_with(&prefix));
        });
    }

    /// The servers are restored from a snapshot: indexes begin at a smaller one, and queries that
    /// wait are answered.
    pub fn restore(&self) {
        self.change(|world| {
            world.index = 5;
            world.keys_index = 5;
            world.abandoned += 1;
            for (index, _) in world.services.values_mut() {
                *index = 5;
            }
            for written in world.keys.values_mut() {
                written.modified = 5;
            }
        });
    }

    pub fn set_mood(&self, mood: Mood) {
        self.change(|world| {
            world.mood = mood;
            // A server that loses its leader ends the queries that wait.
            world.abandoned += 1;
        });
    }

    /// From now on questions need this token.
    pub fn require(&self, token: &str) {
        self.change(|world| world.token = Some(token.to_owned()));
    }

    /// First lines of all questions so far.
    pub fn asked(&self) -> Vec<String> {
        self.world().asked.clone()
    }

    /// Ends it, with all its connections.
    pub fn stop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server does not panic");
        }
    }

    /// Starts it where it was.
    pub fn start_again(&mut self) {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let listener = std::net::TcpListener::bind(address).expect("the port is free");
        listener.set_nonblocking(true).expect("a socket");
        let (end, ended) = oneshot::channel::<()>();
        let shared = Arc::clone(&self.shared);
        self.thread = Some(std::thread::spawn(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, shared) => {}
                    _ = ended => {}
                }
            });
        }));
        self.end = Some(end);
    }
}

impl Drop for Consul {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            match shared.tls.clone() {
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(&shared, stream).await;
                    }
                }
                None => serve(&shared, stream).await,
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Answers questions until the client ends the connection.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(shared: &Shared, mut stream: S) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else {
                return;
            };
            head.push(byte);
        }
        let head = String::from_utf8(head).expect("the gateway writes text");
        let question = Question::read(&head);
        let asked = head.lines().next().unwrap_or_default().to_owned();
        shared
            .world
            .lock()
            .expect("no holder panics")
            .asked
            .push(asked);
        let Some(answer) = answer(shared, &question).await else {
            // It hangs until its client has had enough.
            let mut rest = [0; 1];
            let _ = stream.read(&mut rest).await;
            return;
        };
        if answer.is_empty() {
            let endless = vec![b' '; 1 << 20];
            let head =
                "HTTP/1.1 200 OK\r\nx-consul-index: 99\r\ntransfer-encoding: chunked\r\n\r\n";
            let _ = stream.write_all(head.as_bytes()).await;
            let chunk = [b"100000\r\n".as_slice(), &endless, b"\r\n"].concat();
            while stream.write_all(&chunk).await.is_ok() {}
            return;
        }
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// What is asked for.
struct Question {
    path: String,
    parameters: BTreeMap<String, String>,
    token: Option<String>,
}

impl Question {
    fn read(head: &str) -> Self {
        let target = head.split(' ').nth(1).expect("a target");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let token = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let named = name.eq_ignore_ascii_case("x-consul-token");
            named.then(|| value.trim().to_owned())
        });
        Self {
            path: path.to_owned(),
            parameters: form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
            token,
        }
    }

    fn index(&self) -> Option<u64> {
        self.parameters.get("index")?.parse().ok()
    }

    fn wait(&self) -> Duration {
        let text = self.parameters.get("wait");
        let wait = text.and_then(|text| humantime::parse_duration(text).ok());
        let wait = wait.unwrap_or(WAIT_DEFAULT).min(WAIT_MAX);
        wait + wait.mul_f64(fastrand::f64() / 16.0)
    }

    fn is_stale(&self) -> bool {
        self.parameters.contains_key("stale")
    }
}

/// The whole answer; `None` if there is none, and an empty text if it never ends.
async fn answer(shared: &Shared, question: &Question) -> Option<String> {
    let mut changes = shared.changes.subscribe();
    let until = Instant::now() + question.wait();
    let begun = shared.world.lock().expect("no holder panics").abandoned;
    loop {
        changes.borrow_and_update();
        {
            let world = shared.world.lock().expect("no holder panics");
            let refused = refusal(&world, question);
            let (index, body) = content(&world, question);
            let waits = question.index().is_some_and(|asked| index <= asked);
            let over = Instant::now() >= until || world.abandoned != begun;
            if world.mood == Mood::Hangs {
                return None;
            }
            if world.mood == Mood::Endless {
                return Some(String::new());
            }
            if let Some(refused) = refused {
                return Some(refused);
            }
            if !waits || over {
                return Some(whole(&world, index, body));
            }
        }
        if let Ok(Err(_)) = timeout_at(until, changes.changed()).await {
            return None;
        }
    }
}

fn refusal(world: &World, question: &Question) -> Option<String> {
    let text = |status: &str, body: &str| {
        let length = body.len();
        Some(format!(
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
    };
    if world.token.is_some() && world.token != question.token {
        return text(
            "403 Forbidden",
            "Permission denied: token with AccessorID 'anonymous' lacks permission",
        );
    }
    match world.mood {
        Mood::Errors => text("500 Internal Server Error", "rpc error: something is wrong"),
        Mood::NoLeader(_) if !question.is_stale() => {
            text("500 Internal Server Error", "No cluster leader")
        }
        _ => None,
    }
}

/// Index and body, if nothing is wrong; no body if there is no key.
fn content(world: &World, question: &Question) -> (u64, Option<String>) {
    if let Some(service) = question.path.strip_prefix("/v1/health/service/") {
        // The index of a service that is not there is that of the catalog.
        let Some((index, instances)) = world.services.get(service) else {
            return (world.index, Some("[]".to_owned()));
        };
        let passing = |instance: &&Value| {
            let mut checks = instance["Checks"].as_array().expect("a list").iter();
            checks.all(|check| check["Status"] == "passing")
        };
        let all = !question.parameters.contains_key("passing");
        let shown = instances.iter().filter(|one| all || passing(one));
        let shown: Vec<_> = shown.cloned().collect();
        return (*index, Some(Value::from(shown).to_string()));
    }
    let prefix = question.path.strip_prefix("/v1/kv/").expect("a known path");
    assert!(question.parameters.contains_key("recurse"), "all are read");
    let keys = world.keys.iter().filter(|(key, _)| key.starts_with(prefix));
    let keys: Vec<_> = keys
        .map(|(key, written)| {
            let mut entry = json!({
                "LockIndex": 0, "Key": key, "Flags": 0, "Value": STANDARD.encode(&written.text),
                "CreateIndex": 1, "ModifyIndex": written.modified,
            });
            if let Some(session) = &written.session {
                entry["Session"] = session.as_str().into();
            }
            entry
        })
        .collect();
    let body = (!keys.is_empty()).then(|| Value::from(keys).to_string());
    (world.keys_index, body)
}

fn whole(world: &World, index: u64, body: Option<String>) -> String {
    let found = body.is_some() || world.mood == Mood::Nonsense;
    let status = if found { "200 OK" } else { "404 Not Found" };
    let mut body = body.unwrap_or_default();
    let (leader, contact) = match world.mood {
        Mood::NoLeader(contact) => (false, contact),
        _ => (true, 0),
    };
    let mut head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-consul-knownleader: {leader}\r\n\
         x-consul-lastcontact: {contact}\r\nx-consul-effective-consistency: leader\r\n"
    );
    match world.mood {
        Mood::NoIndex => {}
        Mood::IndexZero => head.push_str("x-consul-index: 0\r\n"),
        _ => head.push_str(&format!("x-consul-index: {index}\r\n")),
    }
    if world.mood == Mood::Filtered {
        body = "[]".to_owned();
        head.push_str("x-consul-results-filtered-by-acls: true\r\n");
    }
    if world.mood == Mood::Nonsense {
        body = "[{\"Node\": ".to_owned();
    }
    format!("{head}content-length: {}\r\n\r\n{body}", body.len())
}
