//! The arguments of `sessile register`, and the etcd options that several commands share.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::args::target::{ConfigArgs, key_value};

pub(super) const EXAMPLES: &str = "\
Examples:
  sessile register --etcd http://127.0.0.1:2379 --upstream chat --address 10.0.0.5:9000
  sessile register --upstream chat --address :9000 --probe websocket --path /healthz
  sessile register --upstream chat --address :9000 --drain 2m -- ./chat-server --port 9000

In the second, etcd is that of ./gateway.toml, and the host is the address from which this machine
speaks to etcd. In the third, ./chat-server is started: it gets SIGTERM when it is out of etcd, every
SIGHUP, SIGUSR1 and SIGUSR2 at once, and its exit code becomes that of `sessile register`.

Exit codes: 0 registered and taken out again, 1 failed, 2 arguments refused, or that of COMMAND.";

/// Which etcd.
#[derive(Clone, Debug, Args)]
pub struct EtcdArgs {
    /// An endpoint of etcd, such as `http://127.0.0.1:2379`. May be repeated. If not given:
    /// `[sources.etcd]` of the configuration file.
    #[arg(long = "etcd", value_name = "URL")]
    pub endpoints: Vec<String>,
    /// The prefix of all keys. Default: that of the configuration file, or `/sessile`.
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// The user's name.
    #[arg(long = "etcd-user", value_name = "NAME", requires = "password_file")]
    pub user: Option<String>,
    /// A file that holds the user's password.
    #[arg(long = "etcd-password-file", value_name = "PATH", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// A PEM file with the CA certificates that verify etcd's certificate. Default: those of the
    /// system.
    #[arg(long = "etcd-ca", value_name = "PATH")]
    pub ca: Option<PathBuf>,
    /// A PEM file with the certificate to show to etcd.
    #[arg(long = "etcd-cert", value_name = "PATH", requires = "key")]
    pub cert: Option<PathBuf>,
    /// A PEM file with its key.
    #[arg(long = "etcd-key", value_name = "PATH", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `sessile register`
#[derive(Clone, Debug, Args)]
pub struct RegisterArgs {
    /// The upstream that the backend is a member of.
    #[arg(long, value_name = "NAME")]
    pub upstream: String,
    /// Where gateways reach it: `10.0.0.5:9000`, `name:9000`, or `:9000` for the address from which
    /// this machine speaks to etcd.
    #[arg(long, value_name = "ADDRESS")]
    pub address: String,
    /// The id that the placement of keys depends on. Default: the address.
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Share relative to the others, 1 to 1000.
    #[arg(long, default_value_t = 1)]
    pub weight: u32,
    /// Failure zone. Gateways whose `node.zone` is the same prefer the backend.
    #[arg(long)]
    pub zone: Option<String>,
    /// Backends of a higher number take sessions when those of lower ones are not well, 0 to 15.
    #[arg(long, default_value_t = 0)]
    pub priority: u8,
    /// A free label. May be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    pub labels: Vec<(String, String)>,
    /// The probe that the backend must pass before it is registered, and continuously afterwards.
    #[arg(long, value_enum, default_value_t = ProbeKind::Tcp)]
    pub probe: ProbeKind,
    /// Path and query of the probe; `/` if not given.
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    /// `Host` of the probe; the backend's address if not given.
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Time between two probes.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time)]
    pub interval: Duration,
    /// Timeout of one probe.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub timeout: Duration,
    /// Consecutive successes until a failed backend is healthy again. The first probe alone decides
    /// the initial state.
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    pub rise: u32,
    /// Consecutive failures until the backend is unhealthy.
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub fall: u32,
    /// For how long the entry outlives this process if it is killed, 2 seconds to an hour.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = ttl)]
    pub ttl: Duration,
    /// How long the entry is `draining` before it is removed.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub drain: Duration,
    /// Which etcd.
    #[command(flatten)]
    pub etcd: EtcdArgs,
    /// The backend, to be started.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `--probe`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProbeKind {
    /// A connection.
    Tcp,
    /// A GET that is answered with 200 to 299.
    Http,
    /// A handshake, a ping answered by its pong, a clean close.
    Websocket,
    /// Registered at once.
    None,
}

fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "write a time such as `10s` or `1m 30s`".to_owned())
}

fn ttl(text: &str) -> Result<Duration, String> {
    let time = time(text)?;
    if (Duration::from_secs(2)..=Duration::from_secs(3600)).contains(&time) {
        Ok(time)
    } else {
        Err("2 seconds to an hour".to_owned())
    }
}
