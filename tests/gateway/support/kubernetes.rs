//! The API of a cluster for gateways under test, written from the documentation of Kubernetes' API
//! (1.33): lists in pages, watches as chunked streams with bookmarks, versions that are no longer
//! kept, statuses, bearer tokens. It has a thread of its own, as `support/consul.rs` has.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use super::free_port;

mod objects;

/// Between bookmarks, which the server sends at its discretion.
const BOOKMARK_EVERY: Duration = Duration::from_millis(300);
/// Bytes of a chunk of a watch, so that events are cut anywhere.
const CHUNK: usize = 41;

/// What is wrong with it, if anything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Every answer is a Status with 500.
    Errors,
    /// Questions are read and never answered.
    Hangs,
    /// Lists are not JSON, and events neither.
    Nonsense,
    /// Events never end.
    Endless,
    /// Watches end as soon as they begin.
    EndsAtOnce,
    /// Watches begin, and nothing comes.
    Silent,
}

/// An event of the history.
struct Written {
    version: u64,
    kind: &'static str,
    object: Value,
}

struct World {
    version: u64,
    slices: BTreeMap<String, Value>,
    services: BTreeMap<String, Value>,
    /// Objects of the Gateway API and Leases, by their URLs.
    objects: BTreeMap<String, Value>,
    writers: Vec<String>,
    history: Vec<Written>,
    /// Watches from versions before it are answered with 410.
    oldest: u64,
    /// Pages of lists have so many items at most, whatever is asked for.
    page: usize,
    /// The next pages of lists are no longer kept, so many times.
    expired_pages: usize,
    mood: Mood,
    /// How often the servers began anew, which ends watches.
    epoch: u64,
    token: Option<String>,
    asked: Vec<String>,
}

struct Shared {
    world: Mutex<World>,
    changes: watch::Sender<u64>,
    tls: Option<TlsAcceptor>,
}

/// The server.
pub struct Cluster {
    port: u16,
    shared: Arc<Shared>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// The state of a pod.
#[derive(Clone, Copy, Debug)]
pub enum Pod {
    Ready,
    Unready,
    Terminating,
}

/// An endpoint of a pod.
pub fn pod(name: &str, address: SocketAddr, state: Pod) -> (Value, u16) {
    let ready = matches!(state, Pod::Ready);
    let terminating = matches!(state, Pod::Terminating);
    let endpoint = json!({
        "addresses": [address.ip().to_string()],
        "conditions": { "ready": ready, "serving": ready || terminating, "terminating": terminating },
        "nodeName": "node-1", "zone": "zone-a",
        "targetRef": { "kind": "Pod", "namespace": "shop", "name": name,
                       "uid": "5b5e2f43-0a3c-4b0d-8f3f-3c1f0d2b6d11" },
    });
    (endpoint, address.port())
}

impl Cluster {
    pub fn start() -> Self {
        Self::start_tls(None)
    }

    pub fn start_tls(tls: Option<Arc<ServerConfig>>) -> Self {
        let world = World {
            version: 100,
            slices: BTreeMap::new(),
            services: BTreeMap::new(),
            objects: BTreeMap::new(),
            writers: Vec::new(),
            history: Vec::new(),
            oldest: 0,
            page: 2,
            expired_pages: 0,
            mood: Mood::Well,
            epoch: 0,
            token: None,
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

    /// With a Service `shop/echo` of these pods.
    pub fn with(pods: &[(Value, u16)]) -> Self {
        let server = Self::start();
        server.set(pods);
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

    /// From now on the Service has these pods and no other: a slice for each, since each listens on
    /// a port of its own here.
    pub fn set(&self, pods: &[(Value, u16)]) {
        self.change(|world| {
            let mut wanted = BTreeMap::new();
            for (endpoint, port) in pods {
                let pod = endpoint["targetRef"]["name"].as_str().expect("a name");
                let name = format!("echo-{pod}");
                wanted.insert(name.clone(), slice(&name, endpoint, *port));
            }
            let gone: Vec<_> = world.slices.keys().cloned().collect();
            for name in gone.into_iter().filter(|name| !wanted.contains_key(name)) {
                let object = world.slices.remove(&name).expect("it is there");
                write(world, "DELETED", object);
            }
            for (name, object) in wanted {
                let known = world.slices.contains_key(&name);
                let kind = if known { "MODIFIED" } else { "ADDED" };
                let object = write(world, kind, object);
                world.slices.insert(name, object);
            }
        });
    }

    /// The Service `shop/echo` has this port.
    pub fn set_service_port(&self, name: &str, port: u16) {
        self.change(|world| {
            let service = json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": { "name": "echo", "namespace": "shop" },
                "spec": { "ports": [{ "name": name, "port": port, "protocol": "TCP", "targetPort": "ws" }] },
            });
            world.services.insert("echo".to_owned(), service);
        });
    }

    /// The history is forgotten: watches from older versions end with 410.
    pub fn compact(&self) {
        self.change(|world| {
            world.version += 1;
            world.oldest = world.version;
            world.history.clear();
        });
    }

    /// The next pages of lists are no longer kept.
    pub fn expire_pages(&self, times: usize) {
        self.change(|world| world.expired_pages = times);
    }

    /// The cluster is restored from a backup: versions begin at a smaller one.
    pub fn restore(&self) {
        self.change(|world| {
            world.version = 10;
            world.epoch += 1;
            world.oldest = 0;
            world.history.clear();
        });
    }

    pub fn set_mood(&self, mood: Mood) {
        self.change(|world| world.mood = mood);
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

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

fn slice(name: &str, endpoint: &Value, port: u16) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": name, "namespace": "shop",
                      "labels": { "kubernetes.io/service-name": "echo" } },
        "ports": [{ "name": "ws", "protocol": "TCP", "port": port }],
        "endpoints": [endpoint],
    })
}

/// Writes an object at the next version.
fn write(world: &mut World, kind: &'static str, mut object: Value) -> Value {
    world.version += 1;
    object["metadata"]["resourceVersion"] = world.version.to_string().into();
    world.history.push(Written {
        version: world.version,
        kind,
        object: object.clone(),
    });
    object
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
        let asked = head.lines().next().unwrap_or_default().to_owned();
        let (path, parameters) = target(&head);
        let mut body = vec![0; length(&head)];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let body = String::from_utf8(body).expect("the gateway writes text");
        let answer = {
            let mut world = shared.world.lock().expect("no holder panics");
            world.asked.push(asked);
            answer(&mut world, (&head, &body), &path, &parameters)
        };
        let written = match answer {
            Some(Answer::Whole(whole)) => stream.write_all(whole.as_bytes()).await.is_ok(),
            Some(Answer::Watch) => watch_slices(shared, &mut stream, &path, &parameters).await,
            None => {
                // It hangs until its client has had enough.
                let mut rest = [0; 1];
                let _ = stream.read(&mut rest).await;
                false
            }
        };
        if !written {
            return;
        }
    }
}

enum Answer {
    Whole(String),
    Watch,
}

/// Bytes of the body of a request.
fn length(head: &str) -> usize {
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let named = name.eq_ignore_ascii_case("content-length");
        named.then(|| value.trim().parse().expect("a length"))
    });
    length.unwrap_or(0)
}

fn target(head: &str) -> (String, BTreeMap<String, String>) {
    let target = head.split(' ').nth(1).expect("a target");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parameters = form_urlencoded::parse(query.as_bytes()).into_owned();
    (path.to_owned(), parameters.collect())
}

/// The answer to a question; `None` if there is none.
fn answer(
    world: &mut World,
    (head, body): (&str, &str),
    path: &str,
    parameters: &BTreeMap<String, String>,
) -> Option<Answer> {
    let token = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let named = name.eq_ignore_ascii_case("authorization");
        named.then(|| {
            value
                .trim()
                .strip_prefix("Bearer ")
                .unwrap_or_default()
                .to_owned()
        })
    });
    if world.mood == Mood::Hangs {
        return None;
    }
    if world.token.is_some() && world.token != token {
        return Some(status(401, "Unauthorized", "Unauthorized"));
    }
    if world.mood == Mood::Errors {
        return Some(status(
            500,
            "InternalError",
            "etcdserver: request timed out",
        ));
    }
    if let Some(name) = path.strip_prefix("/api/v1/namespaces/shop/services/") {
        return Some(match world.services.get(name) {
            Some(service) => whole(200, service),
            None => status(404, "NotFound", &format!("services \"{name}\" not found")),
        });
    }
    let method = head.split(' ').next().expect("a method");
    let found = objects::answer(world, (method, path), token.as_deref(), (parameters, body));
    if found.is_some() {
        return found;
    }
    let listed = path == "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices";
    assert!(listed, "a path that is not documented: {path}");
    Some(match parameters.contains_key("watch") {
        true => watched(world, parameters),
        false => list(world, parameters),
    })
}

/// A page of the list.
fn list(world: &mut World, parameters: &BTreeMap<String, String>) -> Answer {
    let selector = parameters.get("labelSelector").map(String::as_str);
    let all = world.slices.values().filter(|slice| {
        let service = slice["metadata"]["labels"]["kubernetes.io/service-name"].as_str();
        let label = service.map(|name| format!("kubernetes.io/service-name={name}"));
        selector == label.as_deref()
    });
    let all: Vec<_> = all.cloned().collect();
    let limit = parameters.get("limit").and_then(|limit| limit.parse().ok());
    let limit = limit.unwrap_or(usize::MAX).min(world.page);
    let token = parameters.get("continue");
    let begin = token.map_or(0, |token| token.parse().expect("a token"));
    if begin > 0 && world.expired_pages > 0 {
        world.expired_pages -= 1;
        let text = "The provided continue parameter is too old";
        return status(410, "Expired", text);
    }
    if world.mood == Mood::Nonsense {
        return Answer::Whole("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[}".to_owned());
    }
    let rest = all.len().saturating_sub(begin);
    let next = match rest > limit {
        true => (begin + limit).to_string(),
        false => String::new(),
    };
    let items: Vec<_> = all.into_iter().skip(begin).take(limit).collect();
    let list = json!({
        "kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1", "items": items,
        "metadata": { "resourceVersion": world.version.to_string(), "continue": next },
    });
    whole(200, &list)
}

/// How a watch begins.
fn watched(world: &World, parameters: &BTreeMap<String, String>) -> Answer {
    let from: u64 = parameters["resourceVersion"].parse().expect("a version");
    match from > world.version {
        true => {
            let current = world.version;
            let text = format!("Too large resource version: {from}, current: {current}");
            status(504, "Timeout", &text)
        }
        false => Answer::Watch,
    }
}

fn status(code: u16, reason: &str, message: &str) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    whole(code, &status)
}

fn whole(code: u16, body: &Value) -> Answer {
    let body = body.to_string();
    let length = body.len();
    Answer::Whole(format!(
        "HTTP/1.1 {code} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    ))
}

/// Sends events for as long as the watch lasts. Returns whether the connection goes on.
async fn watch_slices<S: AsyncWrite + Unpin>(
    shared: &Shared,
    stream: &mut S,
    path: &str,
    parameters: &BTreeMap<String, String>,
) -> bool {
    let seconds = parameters["timeoutSeconds"].parse().expect("seconds");
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut from: u64 = parameters["resourceVersion"].parse().expect("a version");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\n\r\n";
    if stream.write_all(head.as_bytes()).await.is_err() {
        return false;
    }
    let begun = shared.world.lock().expect("no holder panics").epoch;
    let mut changes = shared.changes.subscribe();
    let mut bookmarked = Instant::now();
    while Instant::now() < until {
        changes.borrow_and_update();
        let mut text = String::new();
        let mut ends = false;
        {
            let world = shared.world.lock().expect("no holder panics");
            if world.epoch != begun {
                return false;
            }
            match world.mood {
                Mood::EndsAtOnce => ends = true,
                Mood::Silent | Mood::Hangs => {}
                Mood::Nonsense => text.push_str("{\"type\": nonsense}\n"),
                Mood::Endless => text = " ".repeat(9 << 20),
                _ if from < world.oldest => {
                    let object = json!({ "kind": "Status", "code": 410, "reason": "Expired",
                                         "message": "too old resource version" });
                    let event = json!({ "type": "ERROR", "object": object });
                    (text, ends) = (format!("{event}\n"), true);
                }
                _ => {
                    text = events(&world, path, from);
                    from = from.max(world.version);
                    let bookmarks = parameters.contains_key("allowWatchBookmarks");
                    if bookmarks && bookmarked.elapsed() > BOOKMARK_EVERY {
                        text.push_str(&bookmark(world.version));
                        bookmarked = Instant::now();
                    }
                }
            }
        }
        let size = if text.len() > CHUNK * 1000 {
            text.len()
        } else {
            CHUNK
        };
        for chunk in text.as_bytes().chunks(size.max(1)) {
            let framed = [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
            if stream.write_all(&framed).await.is_err() {
                return false;
            }
        }
        if ends {
            break;
        }
        let silent = shared.world.lock().expect("no holder panics").mood == Mood::Silent;
        if silent {
            // Not even the end of its time is told.
            std::future::pending::<()>().await;
        }
        let _ = timeout(BOOKMARK_EVERY, changes.changed()).await;
    }
    stream.write_all(b"0\r\n\r\n").await.is_ok()
}

/// The events since a version, of the kind of objects that this path names.
fn events(world: &World, path: &str, from: u64) -> String {
    let of_kind = |object: &Value| path.ends_with(objects::plural(object));
    let since = world.history.iter().filter(|one| one.version > from);
    let since = since.filter(|one| of_kind(&one.object));
    let events = since.map(|written| {
        let event = json!({ "type": written.kind, "object": written.object });
        format!("{event}\n")
    });
    events.collect()
}

fn bookmark(version: u64) -> String {
    let object = json!({
        "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
        "metadata": { "resourceVersion": version.to_string() },
    });
    let event = json!({ "type": "BOOKMARK", "object": object });
    format!("{event}\n")
}
