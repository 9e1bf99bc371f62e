//! A real etcd of the test's own, with its own ports and data.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use etcd_client::Client;
use rustix::process::Signal;
use tempfile::TempDir;

use super::eventually;
use super::gateway::signal_process;

/// A running etcd of one member.
pub struct Etcd {
    child: Child,
    directory: TempDir,
    client: u16,
    peer: u16,
}

fn free_port() -> u16 {
    let socket = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    socket.local_addr().expect("an address").port()
}

fn spawn(directory: &Path, client: u16, peer: u16) -> Child {
    let client = format!("http://127.0.0.1:{client}");
    let peer = format!("http://127.0.0.1:{peer}");
    let log = std::fs::File::create(directory.join("log")).expect("a log");
    let mut command = Command::new("etcd");
    command
        .arg("--data-dir")
        .arg(directory.join("data"))
        .args(["--name", "one", "--logger", "zap"])
        .args(["--listen-client-urls", &client])
        .args(["--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer])
        .args(["--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("one={peer}")])
        .args(["--unsafe-no-fsync"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command
        .spawn()
        .expect("etcd starts: apt-get install etcd-server")
}

impl Etcd {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (client, peer) = (free_port(), free_port());
        let etcd = Self {
            child: spawn(directory.path(), client, peer),
            directory,
            client,
            peer,
        };
        etcd.ready().await;
        etcd
    }

    async fn ready(&self) {
        eventually("etcd answers", async || {
            let Ok(mut client) = Client::connect([self.url()], None).await else {
                return false;
            };
            client.get("x", None).await.is_ok()
        })
        .await;
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client)
    }

    pub async fn client(&self) -> Client {
        Client::connect([self.url()], None)
            .await
            .expect("it is there")
    }

    /// The value of a key.
    pub async fn get(&self, key: &str) -> Option<String> {
        let answer = self
            .client()
            .await
            .get(key, None)
            .await
            .expect("it answers");
        let found = answer.kvs().first()?;
        Some(found.value_str().expect("text").to_owned())
    }

    /// Ends it and starts it again, without its data.
    pub async fn restart_empty(&mut self) {
        self.stop();
        std::fs::remove_dir_all(self.directory.path().join("data")).expect("its data");
        self.child = spawn(self.directory.path(), self.client, self.peer);
        self.ready().await;
    }

    pub fn stop(&mut self) {
        self.child.kill().ok();
        self.child.wait().expect("it ends");
    }
}

impl Etcd {
    pub fn signal(&self, signal: Signal) {
        signal_process(self.child.id(), signal);
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
