//! Real etcd servers of the test's own, with their own ports and data.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use etcd_client::{Client, PutOptions};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::gateway::signal_process;
use super::{eventually, free_port};

/// A member of a cluster, mostly its only one.
pub struct Etcd {
    child: Child,
    member: Member,
}

/// What it takes to start a member.
struct Member {
    directory: TempDir,
    name: String,
    scheme: &'static str,
    client: u16,
    peer: u16,
    cluster: String,
    /// Further arguments of the server.
    arguments: Vec<String>,
    /// Further arguments of `etcdctl`.
    access: Vec<String>,
}

impl Member {
    fn new(directory: TempDir, name: &str) -> Self {
        let peer = free_port();
        Self {
            directory,
            name: name.to_owned(),
            scheme: "http",
            client: free_port(),
            peer,
            cluster: format!("{name}=http://127.0.0.1:{peer}"),
            arguments: Vec::new(),
            access: Vec::new(),
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn spawn(&self) -> Child {
        let client = self.url();
        let peer = format!("http://127.0.0.1:{}", self.peer);
        let log = std::fs::File::create(self.directory.path().join("log")).expect("a log");
        let mut command = Command::new("etcd");
        command
            .arg("--data-dir")
            .arg(self.data())
            .args(["--name", &self.name, "--logger", "zap"])
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &self.cluster])
            .args(["--unsafe-no-fsync"])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        command
            .spawn()
            .expect("etcd starts: apt-get install etcd-server")
    }

    fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.client)
    }

    fn ctl(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.url()])
            .args(&self.access)
            .args(arguments)
            .stdin(Stdio::null());
        let output = command
            .output()
            .expect("etcdctl starts: apt-get install etcd-client");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }
}

impl Etcd {
    /// Without TLS or users.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With further arguments.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut member = Member::new(directory, "one");
        member.arguments = arguments.iter().map(ToString::to_string).collect();
        Self::launch(member).await
    }

    /// With TLS: arguments of the server, and what `etcdctl` needs to get in.
    pub async fn start_tls(arguments: Vec<String>, access: Vec<String>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut member = Member::new(directory, "one");
        member.scheme = "https";
        (member.arguments, member.access) = (arguments, access);
        Self::launch(member).await
    }

    /// Three members of one cluster.
    pub async fn start_three() -> Vec<Self> {
        let names = ["one", "two", "three"];
        let directory = || tempfile::tempdir().expect("a directory");
        let mut members: Vec<_> = names.map(|name| Member::new(directory(), name)).into();
        let urls: Vec<_> = members.iter().map(|one| one.cluster.clone()).collect();
        for member in &mut members {
            member.cluster = urls.join(",");
            let fast = ["--heartbeat-interval=50", "--election-timeout=500"];
            member.arguments = fast.map(str::to_owned).into();
        }
        let started = members.into_iter().map(|member| Self {
            child: member.spawn(),
            member,
        });
        let started: Vec<_> = started.collect();
        for etcd in &started {
            etcd.ready().await;
        }
        started
    }

    async fn launch(member: Member) -> Self {
        let child = member.spawn();
        let etcd = Self { child, member };
        etcd.ready().await;
        etcd
    }

    async fn ready(&self) {
        eventually("etcd answers", async || {
            self.member.ctl(&["get", "x"]).is_ok()
        })
        .await;
    }

    pub fn url(&self) -> String {
        self.member.url()
    }

    pub fn port(&self) -> u16 {
        self.member.client
    }

    /// Runs `etcdctl`, which must succeed.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let answer = self.member.ctl(arguments);
        answer.unwrap_or_else(|error| panic!("etcdctl {arguments:?}: {error}"))
    }

    /// What `etcdctl` needs from now on to get in, such as `--user root:secret`.
    pub fn set_access(&mut self, access: &[&str]) {
        self.member.access = access.iter().map(ToString::to_string).collect();
    }
    /// Compacts everything up to the present revision.
    pub async fn compact(&self) {
        let mut client = self.client().await;
        let answer = client.get("x", None).await.unwrap();
        let revision = answer.header().unwrap().revision();
        client.compact(revision, None).await.unwrap();
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

    /// Writes a document below the usual prefix.
    pub async fn put(&self, key: &str, value: &Value) {
        let mut client = self.client().await;
        let put = client.put(format!("/sessile/{key}"), value.to_string(), None);
        put.await.expect("it is written");
    }

    /// The same under a lease.
    pub async fn put_leased(&self, key: &str, value: &Value, lease: i64) {
        let options = PutOptions::new().with_lease(lease);
        let mut client = self.client().await;
        let put = client.put(format!("/sessile/{key}"), value.to_string(), Some(options));
        put.await.expect("it is written");
    }

    /// Takes a document away.
    pub async fn delete(&self, key: &str) {
        let mut client = self.client().await;
        let delete = client.delete(format!("/sessile/{key}"), None);
        delete.await.expect("it is deleted");
    }

    pub async fn grant(&self, seconds: i64) -> i64 {
        let mut client = self.client().await;
        client
            .lease_grant(seconds, None)
            .await
            .expect("a lease")
            .id()
    }

    /// Ends it and starts it again, without its data.
    pub async fn restart_empty(&mut self) {
        self.stop();
        std::fs::remove_dir_all(self.member.data()).expect("its data");
        self.start_again().await;
    }

    /// Ends it and starts it again from a snapshot that `etcdctl snapshot save` wrote.
    pub async fn restore(&mut self, snapshot: &Path) {
        self.stop();
        let member = &self.member;
        std::fs::remove_dir_all(member.data()).expect("its data");
        let peer = format!("http://127.0.0.1:{}", member.peer);
        let data = member.data();
        let restore = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["snapshot", "restore"])
            .arg(snapshot)
            .args(["--name", &member.name, "--initial-cluster", &member.cluster])
            .args(["--initial-advertise-peer-urls", &peer, "--data-dir"])
            .arg(data)
            .output()
            .expect("etcdctl starts");
        assert!(restore.status.success(), "{restore:?}");
        self.start_again().await;
    }

    pub async fn start_again(&mut self) {
        self.child = self.member.spawn();
        self.ready().await;
    }

    pub fn stop(&mut self) {
        self.child.kill().ok();
        self.child.wait().expect("it ends");
    }

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
