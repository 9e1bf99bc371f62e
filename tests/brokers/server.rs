//! Real servers of the test's own, with their own ports and data. Each runs in a process group of
//! its own, which is signalled and ended as a whole.

use std::fs;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use sessile::base::secret::Secret;
use sessile::config::snapshot::{
    Broker, BrokerKind, BrokerServer, SaslMechanism, ServiceTls, SignIn,
};
use tempfile::TempDir;

use crate::broker_programs::{rabbitmq, tansu};
use crate::certificates::{self, Files};
use crate::member::eventually;
use crate::ports::free_port;

pub const USER: &str = "edge";
pub const PASSWORD: &str = "s3cret-of-the-test";

/// How a server lets its clients in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// With the password.
    Password,
    /// With the password, over TLS.
    Tls,
    /// With the password, as one of several servers of a Redis cluster.
    Cluster,
    /// With the password, and three subscriptions for each connection (NATS).
    Few,
}

/// A server of one kind.
pub struct Server {
    kind: BrokerKind,
    door: Door,
    directory: TempDir,
    files: Files,
    port: u16,
    /// What Erlang listens on.
    more_ports: (u16, u16),
    child: Child,
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
            more_ports: (free_port(), free_port()),
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
            BrokerKind::RabbitMq => self.rabbitmq(),
            BrokerKind::Kafka => self.kafka(),
            kind => panic!("there is no server of {kind}"),
        };
        let log = fs::File::create(self.path("log")).expect("a log");
        // Where Debian has servers, for users who are not root.
        let path = std::env::var("PATH").expect("there is a PATH");
        command
            .env("PATH", format!("{path}:/usr/sbin"))
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
        if kind == BrokerKind::Kafka && self.door == Door::Password {
            let broker = format!("tcp://127.0.0.1:{port}");
            let create = ["topic", "create", "--broker", &broker, "prices.eur"];
            let created = Command::new(tansu()).args(create).output();
            let created = created.expect("tansu starts");
            assert!(created.status.success(), "{created:?}");
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn nats(&self) -> Command {
        let (cert, key) = (self.files.cert.display(), self.files.key.display());
        let tls = match self.door {
            Door::Tls => format!("tls {{ cert_file: \"{cert}\", key_file: \"{key}\" }}"),
            Door::Few => "max_subscriptions: 3".to_owned(),
            _ => String::new(),
        };
        let allowed = "[\"sessile.>\", \"other.fleet.>\", \"prices.>\"]";
        let settings = format!(
            "listen: \"127.0.0.1:{}\"\n{tls}\nauthorization {{ users: [{{ user: \"{USER}\", \
             password: \"{PASSWORD}\", permissions: {{ publish: {allowed}, subscribe: {allowed} \
             }} }}] }}\n",
            self.port
        );
        fs::write(self.path("nats.conf"), settings).expect("a file");
        let mut command = Command::new("nats-server");
        command.arg("-c").arg(self.path("nats.conf"));
        command
    }

    fn redis(&self) -> Command {
        let (cert, key) = (self.files.cert.display(), self.files.key.display());
        let port = self.port;
        let listen = match self.door {
            Door::Password | Door::Few => format!("port {port}"),
            Door::Cluster => format!(
                "port {port}\ncluster-enabled yes\ncluster-port {}\ncluster-node-timeout 2000",
                self.more_ports.0
            ),
            Door::Tls => format!(
                "port 0\ntls-port {port}\ntls-cert-file {cert}\ntls-key-file {key}\n\
                 tls-ca-cert-file {cert}\ntls-auth-clients no"
            ),
        };
        let directory = self.directory.path().display();
        let settings = format!(
            "bind 127.0.0.1\n{listen}\ndir {directory}\nsave \"\"\nrequirepass another\n\
             user {USER} on >{PASSWORD} resetchannels &sessile.* &other.fleet.* &prices.* -@all \
             +publish +subscribe +unsubscribe +ping +hello +spublish +ssubscribe +sunsubscribe \
             +cluster|slots\n"
        );
        fs::write(self.path("redis.conf"), settings).expect("a file");
        let mut command = Command::new("redis-server");
        command.arg(self.path("redis.conf"));
        command
    }

    /// Three servers that share the slots.
    pub async fn start_cluster() -> Vec<Self> {
        let mut servers = Vec::new();
        for slots in [["0", "5000"], ["5001", "11000"], ["11001", "16383"]] {
            let server = Self::start(BrokerKind::Redis, Door::Cluster).await;
            server.redis_cli(&[&["CLUSTER", "ADDSLOTSRANGE"], &slots[..]].concat());
            servers.push(server);
        }
        for other in &servers[1..] {
            let (port, bus) = (other.port.to_string(), other.more_ports.0.to_string());
            servers[0].redis_cli(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        for server in &servers {
            server.is_whole().await;
        }
        servers
    }

    /// Waits until it sees servers for all slots.
    pub async fn is_whole(&self) {
        eventually("the cluster has formed", async || {
            let info = self.redis_cli(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        })
        .await;
    }

    fn redis_cli(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command
            .args([
                "-p",
                &self.port.to_string(),
                "-a",
                "another",
                "--no-auth-warning",
            ])
            .args(words);
        let output = command.output().expect("redis-cli starts");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn rabbitmq(&self) -> Command {
        let (cert, key) = (self.files.cert.display(), self.files.key.display());
        let port = self.port;
        let listen = match self.door {
            Door::Password | Door::Few | Door::Cluster => {
                format!("listeners.tcp.1 = 127.0.0.1:{port}")
            }
            Door::Tls => format!(
                "listeners.tcp = none\nlisteners.ssl.1 = 127.0.0.1:{port}\n\
                 ssl_options.cacertfile = {cert}\nssl_options.certfile = {cert}\n\
                 ssl_options.keyfile = {key}\nssl_options.verify = verify_none"
            ),
        };
        let settings = format!(
            "{listen}\ndefault_user = {USER}\ndefault_pass = {PASSWORD}\n\
             default_permissions.configure = ^(sessile|other\\.fleet)\n\
             default_permissions.write = ^(sessile|other\\.fleet|amq\\.topic)\n\
             default_permissions.read = ^(sessile|other\\.fleet|amq\\.topic)\n"
        );
        rabbitmq(self.directory.path(), port, self.more_ports, &settings)
    }

    /// Tansu, which keeps everything in memory. It has users with SCRAM only, so that it is open
    /// here, and takes no certificate together with its key, so that HAProxy does TLS before it.
    fn kafka(&self) -> Command {
        let tansu = tansu();
        let (port, inner) = (self.port, self.more_ports.0);
        let (listen, before) = match self.door {
            Door::Tls => (inner, "haproxy -db -f haproxy.cfg &"),
            _ => (port, ""),
        };
        let pair = [&self.files.cert, &self.files.key].map(fs::read_to_string);
        let pair = pair.map(|text| text.expect("a file")).concat();
        fs::write(self.path("pair.pem"), pair).expect("a file");
        let settings = format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n\
             listen kafka\n bind 127.0.0.1:{port} ssl crt pair.pem\n \
             server tansu 127.0.0.1:{inner}\n"
        );
        fs::write(self.path("haproxy.cfg"), settings).expect("a file");
        let script = format!(
            "{before} exec {} broker --storage-engine memory://tansu/ \
             --listener-url tcp://127.0.0.1:{listen} \
             --advertised-listener-url tcp://127.0.0.1:{port}",
            tansu.display()
        );
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .current_dir(self.directory.path());
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
            sign_in: match self.kind {
                BrokerKind::Kafka => SignIn::Open,
                _ => SignIn::Password(USER.to_owned(), Secret::new(PASSWORD)),
            },
            mechanism: SaslMechanism::Plain,
            presence: Vec::new(),
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
        if thread::panicking() {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            eprintln!("{} logged:\n{log}", self.kind);
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}
