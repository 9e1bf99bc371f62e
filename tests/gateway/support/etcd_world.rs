//! What tests of etcd as a source have in common: gateways that follow it, traffic that must not
//! notice anything, a network that drops bytes without a word.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::etcd::Etcd;
use super::time::pace;
use super::{Backend, Client, Gateway, eventually};

/// A configuration that follows these endpoints, with short timeouts.
pub fn following(endpoints: &[String], more: &str) -> String {
    format!(
        "[sources.file]\nwatch = false\n\n[sources.etcd]\nendpoints = {endpoints:?}\n\
         timeouts = {{ dial = \"500ms\", answer = \"1s\", silence = \"1500ms\" }}\n{more}\n"
    )
}

/// A gateway that follows this etcd.
pub async fn follow(etcd: &Etcd) -> Gateway {
    Gateway::start(&following(&[etcd.url()], "")).await
}

/// Puts a route for everything, keyed by the query's `k`, and an upstream `echo` with these
/// backends into etcd.
pub async fn seed(etcd: &Etcd, backends: &[&Backend]) {
    etcd.put("upstreams/echo", &json!({})).await;
    let route = json!({ "upstream": "echo", "affinity": ["query:k"] });
    etcd.put("routes/all", &route).await;
    for backend in backends {
        etcd.put(&key_of(backend), &member(backend)).await;
    }
}

/// An etcd with these backends in the upstream `echo`, and a gateway that has them from there.
pub async fn followed(backends: &[&Backend]) -> (Etcd, Gateway) {
    let etcd = Etcd::start().await;
    seed(&etcd, backends).await;
    let gateway = follow(&etcd).await;
    has_members(&gateway, backends).await;
    (etcd, gateway)
}

/// The key of a backend's document.
pub fn key_of(backend: &Backend) -> String {
    format!("backends/echo/{}", backend.address)
}

/// The document of a backend.
pub fn member(backend: &Backend) -> Value {
    json!({ "address": backend.address.to_string() })
}

/// The state of etcd in `/v1/status`.
pub fn etcd_status(gateway: &Gateway) -> Value {
    gateway.get("/v1/status")["sources"]["etcd"].clone()
}

/// Addresses of an upstream's backends, sorted; none if there is no such upstream.
pub fn members(gateway: &Gateway, upstream: &str) -> Vec<String> {
    let answer = gateway.admin("GET", &format!("/v1/upstreams/{upstream}"), "");
    if answer.status != 200 {
        return Vec::new();
    }
    let shown = answer.json();
    let backends = shown["backends"].as_array().expect("a list").iter();
    let mut addresses: Vec<_> = backends
        .map(|one| one["address"].as_str().expect("an address").to_owned())
        .collect();
    addresses.sort();
    addresses
}

/// Waits until the upstream `echo` has just these members.
pub async fn has_members(gateway: &Gateway, backends: &[&Backend]) {
    let mut wanted: Vec<_> = backends.iter().map(|one| one.address.to_string()).collect();
    wanted.sort();
    eventually(&format!("members {wanted:?}"), async || {
        members(gateway, "echo") == wanted
    })
    .await;
}

pub async fn is_connected(gateway: &Gateway, wanted: bool) {
    eventually(&format!("connected: {wanted}"), async || {
        etcd_status(gateway)["connected"] == wanted
    })
    .await;
}

/// Stops a gateway and starts another that has its state.
pub async fn restart(mut gateway: Gateway, text: &str) -> Gateway {
    gateway.signal(Signal::TERM);
    gateway.wait_for_exit().await;
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    fs::create_dir(&state).unwrap();
    for entry in fs::read_dir(gateway.directory().join("state")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), state.join(entry.file_name())).unwrap();
    }
    drop(gateway);
    Gateway::start_in(directory, text).await
}

/// Sessions that echo all the time, and new ones that begin all the time.
pub struct Traffic {
    stop: watch::Sender<bool>,
    tasks: JoinSet<u64>,
}

impl Traffic {
    pub fn start(address: SocketAddr) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for number in 0..4 {
            let stopped = stopped.clone();
            tasks.spawn(async move {
                let mut client = Client::connect(address, &format!("/?k=long{number}")).await;
                let mut count = 0;
                while !*stopped.borrow() || count == 0 {
                    client.echo(&format!("{count}")).await;
                    count += 1;
                    pace(Duration::from_millis(5)).await;
                }
                client.close().await;
                count
            });
        }
        tasks.spawn(async move {
            let mut count = 0;
            while !*stopped.borrow() || count == 0 {
                let mut client = Client::connect(address, &format!("/?k={count}")).await;
                client.echo("hello").await;
                client.close().await;
                count += 1;
                pace(Duration::from_millis(20)).await;
            }
            count
        });
        Self { stop, tasks }
    }

    /// None was lost and none refused, or this panics with what was.
    pub async fn end(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            let count = ended.unwrap_or_else(|error| panic!("traffic noticed something: {error}"));
            assert!(count > 0, "nothing echoed");
        }
    }
}

/// A way to a port that can lose everything both ways while all connections stay open. It has a
/// thread of its own: tests wait for gateways without letting their own runtime go on.
pub struct Network {
    pub address: SocketAddr,
    lossy: watch::Sender<bool>,
    _end: oneshot::Sender<()>,
}

impl Network {
    pub async fn to(port: u16) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        listener.set_nonblocking(true).expect("a socket");
        let (lossy, losing) = watch::channel(false);
        let (end, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, port, losing) => {}
                    _ = ended => {}
                }
            });
        });
        Self {
            address,
            lossy,
            _end: end,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn lose_everything(&self, yes: bool) {
        self.lossy.send_replace(yes);
    }
}

async fn serve(listener: std::net::TcpListener, port: u16, losing: watch::Receiver<bool>) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    let mut ways = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.expect("a client");
        let losing = losing.clone();
        ways.spawn(async move {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                return;
            };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::join!(
                carry(from_client, to_server, losing.clone()),
                carry(from_server, to_client, losing)
            );
        });
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    losing: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 << 10];
    let mut lost = false;
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        // What has lost bytes once can carry nothing sensible any more.
        lost |= *losing.borrow();
        if !lost && to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
