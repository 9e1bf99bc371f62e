//! Real servers of the test's own, with their own ports and data. Each runs in a process group of
//! its own, which is signalled and ended as a whole.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use sessile::base::secret::Secret;
use sessile::config::snapshot::{Broker, BrokerKind, BrokerServer, ServiceTls, SignIn};
use tempfile::TempDir;

use crate::certificates::{self, Files};
use crate::member::eventually;

pub const USER: &str = "edge";
pub const PASSWORD: &str = "s3cret-of-the-test";

/// How a server lets its clients in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// With the password.
    Password,
    /// With the password, over TLS.
    Tls,
}

/// A server of one kind.
pub struct Server {
    kind: BrokerKind,
    door: Door,
    directory: TempDir,
    files: Files,
    port: u16,
    child: Child,
}

fn free_port() -> u16 {
    let socket = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    socket.local_addr().expect("an address").port()
}

impl Server {
    /// Starts one, and waits until it listens.
    pub async fn start(kind: BrokerKind, door: Door) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let files = certificates::make(directory.path());
        let port = free_port();
        let mut server = Self {
            kind,
            door,
            files,
            port,
            child: Command::new("true").spawn().expect("`true` runs"),
            directory,
        };
        server.child.wait().expect("`true` ends");
        server.start_again().await;
        server
    }

    /// Starts it where it was.
    pub async fn start_again(&mut self) {
        let mut command = match self.kind {
            BrokerKind::Nats => self.nats(),
            BrokerKind::Redis => self.redis(),
            kind => panic!("there is no server of {kind}"),
        };
        let log = fs::File::create(self.path("log")).expect("a log");
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log"))
            .stderr(log)
            .process_group(0);
        let kind = self.kind;
        self.child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{kind} starts ({error}): see `./test --prepare`"));
        let port = self.port;
        eventually("the server listens", async || {
            if let Ok(Some(status)) = self.child.try_wait() {
                let log = fs::read_to_string(self.path("log"));
                panic!("{kind} has ended with {status}: {log:?}");
            }
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn nats(&self) -> Command {
        let mut command = Command::new("nats-server");
        command
            .args(["-a", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["--user", USER, "--pass", PASSWORD]);
        if self.door == Door::Tls {
            command
                .arg("--tls")
                .arg("--tlscert")
                .arg(&self.files.cert)
                .arg("--tlskey")
                .arg(&self.files.key);
        }
        command
    }

    fn redis(&self) -> Command {
        let (cert, key) = (self.files.cert.display(), self.files.key.display());
        let port = self.port;
        let listen = match self.door {
            Door::Password => format!("port {port}"),
            Door::Tls => format!(
                "port 0\ntls-port {port}\ntls-cert-file {cert}\ntls-key-file {key}\n\
                 tls-ca-cert-file {cert}\ntls-auth-clients no"
            ),
        };
        let directory = self.directory.path().display();
        let settings = format!(
            "bind 127.0.0.1\n{listen}\ndir {directory}\nsave \"\"\nrequirepass another\n\
             user {USER} on >{PASSWORD} resetchannels &sessile.* &other.fleet.* &prices.* -@all \
             +publish +subscribe +unsubscribe +ping +hello\n"
        );
        fs::write(self.path("redis.conf"), settings).expect("a file");
        let mut command = Command::new("redis-server");
        command.arg(self.path("redis.conf"));
        command
    }

    /// The configuration of a gateway that uses it.
    pub fn settings(&self, prefix: &str) -> Broker {
        let encrypted = self.door == Door::Tls;
        Broker {
            kind: self.kind,
            servers: vec![BrokerServer {
                address: format!("127.0.0.1:{}", self.port).parse().unwrap(),
                encrypted,
                virtual_host: "/".into(),
            }],
            prefix: prefix.into(),
            sign_in: SignIn::Password(USER.to_owned(), Secret::new(PASSWORD)),
            tls: ServiceTls {
                ca: encrypted.then(|| self.files.ca.clone()),
                ..ServiceTls::default()
            },
            connect_timeout: Duration::from_secs(10),
        }
    }

    pub fn signal(&self, signal: Signal) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process_group(group.expect("a pid is positive"), signal).expect("it lives");
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("it ends");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}
