//! Brokers for gateways under test: real servers on free ports. Each runs in a process group of its
//! own, which is signalled and ended as a whole.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use super::broker_programs::{rabbitmq, tansu};
use super::free_port;
use super::time::holds_within;

const USER: &str = "edge";
const PASSWORD: &str = "s3cret-of-the-test";

/// A server of one kind.
pub struct BrokerServer {
    kind: &'static str,
    port: u16,
    /// What Erlang listens on.
    more_ports: (u16, u16),
    directory: TempDir,
    child: Option<Child>,
}

impl BrokerServer {
    /// Starts `nats`, `redis`, `rabbitmq` or `kafka`, and waits until it listens.
    pub async fn start(kind: &'static str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut server = Self {
            kind,
            port: free_port(),
            more_ports: (free_port(), free_port()),
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
            "rabbitmq" => {
                let settings = format!(
                    "listeners.tcp.1 = 127.0.0.1:{port}\ndefault_user = {USER}\n\
                     default_pass = {PASSWORD}\n"
                );
                rabbitmq(self.directory.path(), self.port, self.more_ports, &settings)
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
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command
            .spawn()
            .expect("the broker starts: see `./test --prepare`");
        self.child = Some(child);
        let port = self.port;
        // RabbitMQ needs some seconds on a machine that is idle.
        let listens = async || TcpStream::connect(("127.0.0.1", port)).is_ok();
        let listens = holds_within(PATIENCE, listens).await;
        assert!(listens, "not within {PATIENCE:?}: {} listens", self.kind);
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
        signal_group(child, signal);
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal_group(&child, Signal::KILL);
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
        let (scheme, sign_in) = match *kind {
            "rabbitmq" => (
                "amqp",
                format!("user = \"{USER}\"\npassword = \"{PASSWORD}\"\n"),
            ),
            kind => (kind, String::new()),
        };
        let servers = format!("servers = [\"{scheme}://127.0.0.1:{port}\"]\n");
        format!("[broker]\ntype = \"{kind}\"\n{servers}{sign_in}")
    }
}

fn signal_group(child: &Child, signal: Signal) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process_group(group.expect("a pid is positive"), signal).expect("it lives");
}

/// How long a server may take to start, and a service waits for a message.
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
