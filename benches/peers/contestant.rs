//! The programs that are compared: how each is started. Their configurations are the files beside
//! this one. It leaves out what they are made to do.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::process::{Process, Stop, free_address};

/// Another build of Sessile.
pub(crate) static BASE: OnceLock<String> = OnceLock::new();

/// A certificate for `wire::HOST`, PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A program that stands between clients and backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contestant {
    Blind,
    Haproxy,
    Nginx,
    /// Another build of Sessile: [`BASE`].
    Base,
    Sessile,
}

/// A contestant at work. Ends with this value.
pub(crate) struct Running {
    /// Its processes.
    pub(crate) process: Process,
    /// Where it takes plain connections.
    pub(crate) plain: SocketAddr,
    /// Where it takes TLS; a closed port if `speaks_tls` is false.
    pub(crate) tls: SocketAddr,
    _files: TempDir,
}

impl Contestant {
    /// In the order of the tables.
    pub(crate) const ALL: [Self; 5] = [
        Self::Blind,
        Self::Haproxy,
        Self::Nginx,
        Self::Base,
        Self::Sessile,
    ];

    /// Those that take part unless they are chosen: no other build.
    pub(crate) fn usual() -> Vec<Self> {
        let usual = Self::ALL.into_iter().filter(|one| *one != Self::Base);
        usual.collect()
    }

    /// As on the command line and in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Blind => "blind",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Base => "base",
            Self::Sessile => "sessile",
        }
    }

    /// Whether it can take part in the rows with TLS.
    pub(crate) fn speaks_tls(self) -> bool {
        self != Self::Blind
    }

    /// The first line of its version.
    pub(crate) fn version(self) -> Result<String> {
        let output = match self {
            Self::Blind => return Ok("a relay of this benchmark's own".to_owned()),
            Self::Haproxy => Command::new("haproxy").arg("-v").output(),
            Self::Nginx => Command::new("nginx").arg("-v").output(),
            Self::Base => return base(),
            Self::Sessile => return Ok(format!("sessile {}", env!("CARGO_PKG_VERSION"))),
        };
        let output = output.with_context(|| format!("cannot run {}", self.name()))?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }

    /// Starts it on the first CPU and waits until it accepts.
    pub(crate) fn start(self, backends: [SocketAddr; 2], identity: &Identity) -> Result<Running> {
        let files = tempfile::tempdir()?;
        let [plain, tls, admin] = [free_address()?, free_address()?, free_address()?];
        let both = format!("{}{}", identity.certificate, identity.key);
        fs::write(files.path().join("both.pem"), both)?;
        fs::write(files.path().join("cert.pem"), &identity.certificate)?;
        fs::write(files.path().join("key.pem"), &identity.key)?;
        let fill = |template: &str| {
            template
                .replace("@DIR@", &files.path().display().to_string())
                .replace("@PLAIN@", &plain.to_string())
                .replace("@TLS@", &tls.to_string())
                .replace("@ADMIN@", &admin.to_string())
                .replace("@BACKEND_A@", &backends[0].to_string())
                .replace("@BACKEND_B@", &backends[1].to_string())
        };
        let config = files.path().join("config");
        let write = |template| fs::write(&config, fill(template));
        let command = match self {
            Self::Blind => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("--blind").arg(plain.to_string());
                command.args(backends.map(|backend| backend.to_string()));
                command
            }
            Self::Haproxy => {
                write(include_str!("haproxy.cfg"))?;
                with_config("haproxy", &["-db", "-f"], &config)
            }
            Self::Nginx => {
                write(include_str!("nginx.conf"))?;
                with_config("nginx", &["-c"], &config)
            }
            Self::Base => {
                write(include_str!("gateway.toml"))?;
                with_config(&base()?, &["run", "--config"], &config)
            }
            Self::Sessile => {
                write(include_str!("gateway.toml"))?;
                with_config(env!("CARGO_BIN_EXE_sessile"), &["run", "--config"], &config)
            }
        };
        // nginx's first process takes its worker along only if it is asked to.
        let stop = match self {
            Self::Nginx => Stop::Ask,
            _ => Stop::Kill,
        };
        Ok(Running {
            process: Process::start(self.name(), command, stop, &[plain])?,
            plain,
            tls,
            _files: files,
        })
    }
}

/// The program of the other build.
fn base() -> Result<String> {
    let path = BASE
        .get()
        .context("`base` needs --base, the path of another build")?;
    Ok(path.clone())
}

fn with_config(program: &str, arguments: &[&str], config: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).arg(config);
    command
}
