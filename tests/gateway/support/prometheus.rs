//! Prometheus itself, with the configuration and the alerts of `deploy/`: only targets and times
//! are others.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::oneshot;

use super::free_port;
use super::time::holds_within;
use super::{DEADLINE, Gateway, eventually, http};

/// How long an alert may take to fire: some scrapes, an evaluation, on a machine that is shared.
const PATIENCE: Duration = Duration::from_secs(60);
/// Windows, waits and ages of the alerts, and what stands for them here.
const TIMES: [(&str, &str); 11] = [
    ("[5m]", "[10s]"),
    ("[10m]", "[10s]"),
    ("[15m]", "[10s]"),
    ("[1h]", "[10s]"),
    ("offset 2m", "offset 3s"),
    ("for: 30s", "for: 0s"),
    ("progress_age_seconds > 60", "progress_age_seconds > 3"),
    ("keys_age_seconds > 6 * 3600", "keys_age_seconds > 3"),
    // The first attempts are minutes apart.
    ("order_failures >= 3", "order_failures >= 1"),
    (
        "scrape_interval: 15s",
        "scrape_interval: 1s\n  evaluation_interval: 1s",
    ),
    ("- alerts.yml", "- alerts.short.yml"),
];

/// A running Prometheus.
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A file of `deploy/` with times for a test.
fn shortened(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(file);
    let mut text = fs::read_to_string(path).expect("a file of deploy/");
    for (written, short) in TIMES {
        text = text.replace(written, short);
    }
    let lines = text.lines().map(|line| {
        let waits = line.trim_start().starts_with("for: ");
        if waits { "        for: 0s" } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

impl Prometheus {
    /// One that scrapes these addresses, once its web API answers.
    pub async fn start(targets: &[SocketAddr]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |file: &str| directory.path().join(file);
        fs::write(at("alerts.short.yml"), shortened("alerts.yml")).expect("a file");
        let config = shortened("prometheus.yml");
        let written = "[\"127.0.0.1:9900\"]";
        assert!(config.contains(written), "{config}");
        let targets: Vec<_> = targets.iter().map(ToString::to_string).collect();
        let config = config.replace(written, &format!("{targets:?}"));
        fs::write(at("prometheus.yml"), config).expect("a file");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", at("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", at("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(["--enable-feature=exemplar-storage", "--log.level=warn"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("`./test --prepare` installs prometheus");
        let prometheus = Self {
            child,
            address,
            _directory: directory,
        };
        eventually("Prometheus is ready", async || {
            TcpStream::connect(address).await.is_ok()
                && http::get(address, "/-/ready", &[]).await.status == 200
        })
        .await;
        prometheus
    }

    /// The `data` of an answer of its API, or what is wrong.
    pub async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        let mut encoded = form_urlencoded::Serializer::new(String::new());
        let target = format!("/api/v1/{path}?{}", encoded.extend_pairs(query).finish());
        let answer = http::get(self.address, &target, &[]).await;
        let mut json: Value = serde_json::from_slice(&answer.body).expect("JSON");
        match json["status"] == "success" {
            true => Ok(json["data"].take()),
            false => Err(json["error"].to_string()),
        }
    }

    /// The series of an expression, now.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let data = self.ask("query", &[("query", expression)]).await?;
        let series = data["result"].as_array().cloned();
        Ok(series.unwrap_or_default())
    }

    /// Waits until every target has been scraped, and every rule evaluated without an error after
    /// that.
    pub async fn wait_until_evaluated(&self, targets: usize) {
        eventually("all targets are scraped", async || {
            let up = self.query("up == 1").await.expect("an expression");
            up.len() == targets
        })
        .await;
        let first = self.rules().await;
        eventually("all rules are evaluated", async || {
            let now = self.rules().await;
            let mut pairs = first.iter().zip(&now);
            pairs.all(|(first, now)| first["lastEvaluation"] != now["lastEvaluation"])
        })
        .await;
        for rule in self.rules().await {
            assert_eq!(rule["health"], "ok", "{rule}");
        }
    }

    /// Every rule with its state.
    pub async fn rules(&self) -> Vec<Value> {
        let data = self.ask("rules", &[]).await.expect("rules");
        let groups = data["groups"].as_array().expect("groups").clone();
        let rules = groups
            .iter()
            .map(|group| group["rules"].as_array().cloned());
        rules.flat_map(Option::unwrap_or_default).collect()
    }

    /// Names and labels of the alerts that fire.
    pub async fn firing(&self) -> Vec<(String, Value)> {
        let data = self.ask("alerts", &[]).await.expect("alerts");
        let alerts = data["alerts"].as_array().expect("a list").iter();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        let named = firing.map(|alert| {
            let name = alert["labels"]["alertname"].as_str().expect("a name");
            (name.to_owned(), alert["labels"].clone())
        });
        named.collect()
    }

    /// Waits until each of these alerts has fired with this label.
    pub async fn wait_until_fired(&self, wanted: &[(&str, &str, &str)]) {
        let mut missing: Vec<_> = wanted.to_vec();
        let mut firing = Vec::new();
        let all = holds_within(PATIENCE, async || {
            firing = self.firing().await;
            missing.retain(|(name, label, value)| {
                let mut firing = firing.iter();
                !firing.any(|(alert, labels)| alert == name && labels[*label] == *value)
            });
            missing.is_empty()
        });
        assert!(all.await, "{missing:?} not in {firing:?}");
    }
}

/// A TCP port that leads to the admin API of a gateway, which Prometheus does not reach at a unix
/// socket. It has a thread of its own and ends with this value.
pub struct AdminPort {
    pub address: SocketAddr,
    _end: oneshot::Sender<()>,
}

impl AdminPort {
    pub fn of(gateway: &Gateway) -> Self {
        let socket = gateway.directory().join("admin.sock");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        listener.set_nonblocking(true).expect("a socket");
        let (end, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = forward(listener, socket) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, _end: end }
    }

    /// The label `instance` of its series.
    pub fn instance(&self) -> String {
        self.address.to_string()
    }
}

async fn forward(listener: std::net::TcpListener, socket: PathBuf) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    while let Ok((mut client, _)) = listener.accept().await {
        let socket = socket.clone();
        tokio::spawn(async move {
            let way = async {
                let mut admin = UnixStream::connect(socket).await?;
                copy_bidirectional(&mut client, &mut admin).await
            };
            // A gateway that is gone ends the connection, as its own port would.
            let _ = tokio::time::timeout(4 * DEADLINE, way).await;
        });
    }
}
