//! A gateway in a process of its own. Dropping one verifies that it ended well.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::admin::{self, Answer};
use super::process::{capture, wrapped};
use super::records::{self, Record};
use super::time::{holds_within, holds_within_blocking};
use super::{DEADLINE, config, eventually, secrets};

/// The hand-over socket's name.
const DOOR: &str = "handover.sock";
/// For connections whose clients are gone to be seen to be gone.
const SETTLE: Duration = Duration::from_millis(500);

/// A running gateway. On drop it must have no live session left, end on SIGTERM and exit with 0.
pub struct Gateway {
    child: Child,
    directory: Arc<TempDir>,
    log: Arc<Mutex<String>>,
    listeners: BTreeMap<String, SocketAddr>,
    /// Set when a test took its end, or its leftovers, into its own hands.
    released: bool,
    token: Option<String>,
    /// A program and its arguments that runs the gateway's command line in its own process.
    wrapper: Vec<String>,
}

impl Gateway {
    /// Starts one with this configuration, see [`config::complete`], and waits until it is ready.
    pub async fn start(test_config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self::start_in(directory, test_config).await
    }

    /// One whose node has this name.
    pub async fn start_named(name: &str, test_config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let text = config::complete(test_config, directory.path());
        let text = text.replacen("under-test", name, 1);
        Self::launch(Arc::new(directory), &text, None, &[]).await
    }

    /// One whose admin API asks for this token.
    pub async fn start_with_admin_token(test_config: &str, token: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self::start_in_with_admin_token(directory, test_config, token).await
    }

    /// The same in a directory that has files already.
    pub async fn start_in_with_admin_token(
        directory: TempDir,
        test_config: &str,
        token: &str,
    ) -> Self {
        let keys = format!("token = \"{token}\"\n");
        Self::start_with_admin_keys(directory, test_config, &keys, token).await
    }

    /// One with these keys of `[admin]`, whose token this is.
    pub async fn start_with_admin_keys(
        directory: TempDir,
        test_config: &str,
        keys: &str,
        token: &str,
    ) -> Self {
        let text = config::complete(test_config, directory.path());
        let text = text.replacen("[admin]\n", &format!("[admin]\n{keys}"), 1);
        Self::launch(directory.into(), &text, Some(token.to_owned()), &[]).await
    }

    /// One in a directory that has files already, such as certificates.
    pub async fn start_in(directory: TempDir, test_config: &str) -> Self {
        let text = config::complete(test_config, directory.path());
        Self::launch(directory.into(), &text, None, &[]).await
    }

    /// One on a system that has no certificates to trust.
    pub async fn start_without_roots(test_config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let text = config::complete(test_config, directory.path());
        let mut command = command(&directory.path().join("gateway.toml"));
        command
            .env("SSL_CERT_FILE", "/dev/null")
            .env("SSL_CERT_DIR", "");
        Self::launch_command(command, Vec::new(), directory.into(), &text, None).await
    }

    /// One that can be succeeded.
    pub async fn start_with_handover(test_config: &str) -> Self {
        Self::start_with_handover_in(tempfile::tempdir().expect("a directory"), test_config).await
    }

    /// The same in a directory that has files already.
    pub async fn start_with_handover_in(directory: TempDir, test_config: &str) -> Self {
        let text = config::complete(test_config, directory.path());
        let door = directory.path().join(DOOR);
        Self::launch(
            directory.into(),
            &text,
            None,
            &["--take-over".as_ref(), door.as_os_str()],
        )
        .await
    }

    /// One that can be succeeded, whose command line is run by a wrapper. The wrapper must become
    /// the gateway's process; its successors are run by it too.
    pub async fn start_wrapped(wrapper: &[&str], directory: TempDir, test_config: &str) -> Self {
        let text = config::complete(test_config, directory.path());
        let door = directory.path().join(DOOR);
        let arguments = ["--take-over".as_ref(), door.as_os_str()];
        let wrapper = wrapper.iter().map(ToString::to_string).collect();
        Self::launch_by(wrapper, directory.into(), &text, None, &arguments).await
    }

    /// Starts the process that takes over from this one, and waits until it has everything that
    /// it gets.
    pub async fn succeed(&self) -> Self {
        let next = self.start_successor().await;
        next.wait_until_taken_over().await;
        next
    }

    /// The same without waiting for more than that it serves.
    pub async fn start_successor(&self) -> Self {
        let path = self.config_path();
        let text = fs::read_to_string(path).expect("a config file");
        let door = self.door();
        let arguments = ["--take-over".as_ref(), door.as_os_str()];
        let directory = Arc::clone(&self.directory);
        let (wrapper, token) = (self.wrapper.clone(), self.token.clone());
        Self::launch_by(wrapper, directory, &text, token, &arguments).await
    }

    /// Waits until it has everything that it gets from the process before.
    pub async fn wait_until_taken_over(&self) {
        eventually("everything is taken over", async || {
            !self.get("/v1/status")["taken_over"].is_null()
        })
        .await;
    }

    /// Where it waits for the next process.
    pub fn door(&self) -> PathBuf {
        self.directory.path().join(DOOR)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    async fn launch(
        directory: Arc<TempDir>,
        text: &str,
        token: Option<String>,
        arguments: &[&OsStr],
    ) -> Self {
        Self::launch_by(Vec::new(), directory, text, token, arguments).await
    }

    async fn launch_by(
        wrapper: Vec<String>,
        directory: Arc<TempDir>,
        text: &str,
        token: Option<String>,
        arguments: &[&OsStr],
    ) -> Self {
        let mut command = wrapped(&wrapper, command(&directory.path().join("gateway.toml")));
        command.args(arguments);
        Self::launch_command(command, wrapper, directory, text, token).await
    }

    /// Starts this command line, which reads `gateway.toml` in the directory.
    async fn launch_command(
        mut command: Command,
        wrapper: Vec<String>,
        directory: Arc<TempDir>,
        text: &str,
        token: Option<String>,
    ) -> Self {
        let path = directory.path().join("gateway.toml");
        fs::write(&path, text).expect("a config file");
        secrets::register_in(text);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the gateway's binary starts");
        let log = capture(&mut child);
        let mut gateway = Self {
            child,
            directory,
            log,
            listeners: BTreeMap::new(),
            released: false,
            token,
            wrapper,
        };
        gateway.wait_until_ready().await;
        gateway.listeners = gateway.read_listeners();
        gateway
    }

    async fn wait_until_ready(&mut self) {
        let socket = self.admin_socket();
        let ready = holds_within(DEADLINE, async || {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                self.released = true;
                panic!("the gateway ended at start with {status}:\n{}", self.log());
            }
            let token = self.token.as_deref();
            let answer = admin::request(&socket, token, "GET", "/v1/status", "");
            // Not the process that it takes over from, which is at the same socket.
            answer.is_ok_and(|answer| {
                answer.status == 200 && answer.json()["pid"] == self.child.id() && {
                    answer.json()["phase"] == "ready"
                }
            })
        });
        if !ready.await {
            self.released = true;
            self.child.kill().expect("a child can be ended");
            panic!(
                "the gateway was not ready within {DEADLINE:?}:\n{}",
                self.log()
            );
        }
    }

    fn read_listeners(&self) -> BTreeMap<String, SocketAddr> {
        let status = self.get("/v1/status");
        let listeners = status["listeners"]
            .as_array()
            .expect("status lists listeners");
        listeners
            .iter()
            .filter_map(|listener| {
                let name = listener["name"].as_str().expect("a listener has a name");
                let address = listener["addresses"][0].as_str().expect("and an address");
                Some((name.to_owned(), address.parse().ok()?))
            })
            .collect()
    }

    /// Where the listener `edge` is, or the only one.
    pub fn address(&self) -> SocketAddr {
        self.listeners
            .get("edge")
            .or_else(|| self.listeners.values().next())
            .copied()
            .expect("one")
    }

    /// Where this listener is.
    pub fn listener(&self, name: &str) -> SocketAddr {
        self.listeners[name]
    }

    /// The directory of its files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no writer panicked").clone()
    }

    fn admin_socket(&self) -> PathBuf {
        self.directory.path().join("admin.sock")
    }

    /// Any request to the admin API.
    pub fn admin(&self, method: &str, target: &str, body: &str) -> Answer {
        self.admin_as(self.token.as_deref(), method, target, body)
    }

    /// The same with this token or none, whatever the gateway asks for.
    pub fn admin_as(&self, token: Option<&str>, method: &str, target: &str, body: &str) -> Answer {
        admin::request(&self.admin_socket(), token, method, target, body)
            .unwrap_or_else(|error| panic!("{method} {target}: {error}\n{}", self.log()))
    }

    /// The JSON of a GET that succeeds.
    pub fn get(&self, target: &str) -> Value {
        let answer = self.admin("GET", target, "");
        assert_eq!(answer.status, 200, "GET {target}: {}", answer.body);
        answer.json()
    }

    /// Live sessions, every page of them.
    pub fn sessions(&self) -> Vec<Value> {
        let mut all = Vec::new();
        let mut target = String::from("/v1/sessions?limit=1000");
        loop {
            let page = self.get(&target);
            all.extend(page["items"].as_array().expect("a list has items").clone());
            match page["next"].as_str() {
                Some(next) => target = format!("/v1/sessions?limit=1000&cursor={next}"),
                None => return all,
            }
        }
    }

    /// How many sessions live, as the workers count.
    pub fn sessions_live(&self) -> u64 {
        self.get("/v1/status")["sessions"]
            .as_u64()
            .expect("a count")
    }

    /// Connections of clients, those of sessions among them.
    pub fn connections(&self) -> u64 {
        self.get("/v1/status")["connections"]
            .as_u64()
            .expect("a count")
    }

    /// A backend as the admin API shows it.
    pub fn backend(&self, upstream: &str, address: SocketAddr) -> Value {
        let shown = self.get(&format!("/v1/upstreams/{upstream}"));
        let backends = shown["backends"]
            .as_array()
            .expect("an upstream has backends");
        let found = backends
            .iter()
            .find(|backend| backend["address"] == address.to_string());
        found
            .unwrap_or_else(|| panic!("{address} is not in {shown}"))
            .clone()
    }

    /// Waits until a backend's health is `health`.
    pub async fn wait_for_health(&self, upstream: &str, address: SocketAddr, health: &str) {
        let what = format!("{address} {health}");
        eventually(&what, async || {
            self.backend(upstream, address)["health"] == health
        })
        .await;
    }

    /// Sum of a metric's samples whose labels contain all of these texts.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.admin("GET", "/metrics", "").body;
        let samples = text.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with([' ', '{']))
                && labels.iter().all(|label| line.contains(label))
        });
        samples
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Session records written so far.
    pub fn records(&self) -> Vec<Record> {
        records::parse(&self.access_log())
    }

    /// The whole lines of the access log.
    fn access_log(&self) -> String {
        let text = fs::read_to_string(self.directory.path().join("access.log"));
        let mut text = text.unwrap_or_default();
        // A line that is still being written has no end yet.
        text.truncate(text.rfind('\n').unwrap_or(0));
        text
    }

    /// Request records written so far.
    pub fn requests(&self) -> Vec<Value> {
        records::requests(&self.access_log())
    }

    /// Waits until there are this many request records, and sees that there are no more.
    pub async fn wait_for_requests(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} request records"), async || {
            self.requests().len() >= count
        })
        .await;
        let records = self.requests();
        assert_eq!(records.len(), count, "more records than requests");
        records
    }

    /// The record of the request that got this answer of the gateway's own.
    pub async fn record_of(&self, problem: &str) -> Value {
        let problem: Value = serde_json::from_str(problem).expect("problem+json");
        let mut found = Value::Null;
        eventually("the request's record", async || {
            let records = self.requests();
            let record = records.into_iter().find(|record| {
                record["request_id"].is_string() && record["request_id"] == problem["request_id"]
            });
            record.is_some_and(|record| {
                found = record;
                true
            })
        })
        .await;
        found
    }

    /// What the record of a refused request adds to what its client was answered.
    pub async fn detail_of(&self, problem: &str) -> String {
        let record = self.record_of(problem).await;
        record["detail"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until there are this many session records, and sees that there are no more.
    pub async fn wait_for_records(&self, count: usize) -> Vec<Record> {
        eventually(&format!("{count} session records"), async || {
            self.records().len() >= count
        })
        .await;
        let records = self.records();
        assert_eq!(records.len(), count, "more records than sessions");
        records
    }

    /// Waits until no session lives.
    pub async fn wait_until_idle(&self) {
        eventually("no session lives", async || self.sessions_live() == 0).await;
    }

    /// Replaces the configuration file the way editors do, by rename; nothing reads it yet.
    pub fn write_config(&self, test_config: &str) {
        let text = config::complete(test_config, self.directory.path());
        let new = self.directory.path().join("gateway.toml.new");
        fs::write(&new, text).expect("a config file");
        fs::rename(new, self.config_path()).expect("it takes its place");
    }

    /// The configuration file that it was started with.
    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("gateway.toml")
    }

    /// `POST /v1/reload`
    pub fn reload(&self) -> Answer {
        self.admin("POST", "/v1/reload", "")
    }

    /// Generation of the routing table.
    pub fn generation(&self) -> u64 {
        self.get("/v1/status")["generation"]
            .as_u64()
            .expect("a generation is a number")
    }

    /// Sends a signal to its process.
    pub fn signal(&self, signal: Signal) {
        signal_process(self.child.id(), signal);
    }

    /// Files and sockets that the process has open.
    pub fn descriptors(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid()));
        open.expect("the gateway lives").count()
    }

    /// A field of `/proc/PID/status` in KiB, such as `VmRSS`.
    pub fn memory_kib(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).expect("the gateway lives");
        let line = status
            .lines()
            .find(|line| line.starts_with(field))
            .expect("the field is there");
        let number = line.split_whitespace().nth(1).expect("it has a value");
        number.parse().expect("a number of KiB")
    }

    /// Waits for its end, after a signal.
    pub async fn wait_for_exit(&mut self) -> ExitStatus {
        self.released = true;
        let mut ended = None;
        let ends = holds_within(DEADLINE, async || {
            ended = self.child.try_wait().expect("a child can be waited for");
            ended.is_some()
        });
        assert!(ends.await, "the gateway did not end:\n{}", self.log());
        ended.expect("it has ended")
    }

    /// What the admin API shows of it.
    fn everything_shown(&self) -> Vec<(&'static str, String)> {
        let resources = [
            "/v1/config",
            "/v1/status",
            "/v1/routes",
            "/v1/upstreams",
            "/v1/sessions",
            "/v1/quotas",
            "/metrics",
        ];
        let shown = resources.map(|resource| (resource, self.admin("GET", resource, "").body));
        shown.into()
    }

    /// SIGTERM and the wait for an end within the deadline; blocking.
    fn stop_within_deadline(&mut self) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        let mut ended = None;
        holds_within_blocking(DEADLINE, || {
            ended = self.child.try_wait().expect("a child can be waited for");
            ended.is_some()
        });
        ended
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if thread::panicking() || self.released {
            // Either the test's own failure is what matters, or the test saw to the end itself.
            self.child.kill().ok();
            self.child.wait().ok();
            if thread::panicking() {
                eprintln!("--- the gateway's log\n{}---", self.log());
            }
            return;
        }
        // A session whose 101 has just left counts as a connection only; one of plain HTTP may need
        // the runtime that this thread holds up.
        holds_within_blocking(SETTLE, || self.connections() == 0);
        holds_within_blocking(DEADLINE, || self.sessions_live() == 0);
        let left = self.sessions_live();
        let shown = self.everything_shown();
        let status = self.stop_within_deadline();
        if status.is_none() {
            self.child.kill().ok();
        }
        self.child.wait().ok();
        for (what, text) in shown {
            secrets::assert_none_in(what, &text);
        }
        secrets::assert_none_in("the log", &self.log());
        let records = fs::read_to_string(self.directory.path().join("access.log"));
        secrets::assert_none_in("the records", &records.unwrap_or_default());
        assert_eq!(left, 0, "sessions outlived their clients:\n{}", self.log());
        let status = status.unwrap_or_else(|| panic!("it did not end on SIGTERM:\n{}", self.log()));
        assert_eq!(status.code(), Some(0), "exit code:\n{}", self.log());
        assert!(
            !self.log().contains("panicked at"),
            "the gateway panicked:\n{}",
            self.log()
        );
    }
}

/// `sessile run --config PATH`, without the environment's own layer of configuration.
pub fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sessile"));
    command
        .arg("run")
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null());
    for (name, _) in std::env::vars() {
        if name.starts_with("SESSILE_") {
            command.env_remove(name);
        }
    }
    command
}

/// Sends a signal to a process that a test started.
pub fn signal_process(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .expect("a pid is positive");
    kill_process(pid, signal).expect("the process lives");
}
