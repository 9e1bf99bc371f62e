//! The programs that are compared: how each is started, and what its processes have used so far.
//! Their configurations are the files beside this one. It leaves out what they are made to do.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use sessile::base::clock::now;
use tempfile::TempDir;

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
    child: Child,
    /// Its process and those that it started.
    family: Vec<u32>,
    /// What ends it at once, and those with it.
    stop: Signal,
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
        let mut command = match self {
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
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = on_cpu(0, || command.spawn())?
            .with_context(|| format!("cannot start {}", self.name()))?;
        let mut running = Running {
            family: vec![child.id()],
            // nginx's first process takes its worker along only if it is asked to.
            stop: if self == Self::Nginx {
                Signal::TERM
            } else {
                Signal::KILL
            },
            child,
            plain,
            tls,
            _files: files,
        };
        running.wait_until_ready(self)?;
        Ok(running)
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

impl Running {
    fn wait_until_ready(&mut self, contestant: Contestant) -> Result<()> {
        let deadline = now() + Duration::from_secs(10);
        while TcpStream::connect(self.plain).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended by itself: {status}", contestant.name());
            }
            ensure!(now() < deadline, "{} does not listen", contestant.name());
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Looks for the processes that it has started; call it once it has served something.
    pub(crate) fn find_family(&mut self) -> Result<()> {
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            if parent(pid) == Some(self.child.id()) && !self.family.contains(&pid) {
                self.family.push(pid);
            }
        }
        Ok(())
    }

    /// User and system time of all its threads so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut nanos = 0;
        for pid in &self.family {
            for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
                let text = fs::read_to_string(thread?.path().join("schedstat"))?;
                let first = text.split(' ').next().unwrap_or_default();
                nanos += first.parse::<u64>().context("schedstat holds numbers")?;
            }
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Bytes of user memory: the proportional set of its processes.
    pub(crate) fn memory(&self) -> Result<u64> {
        let mut kib = 0;
        for pid in &self.family {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
            let number = line.and_then(|line| line.split_whitespace().next());
            kib += number
                .context("smaps_rollup has a Pss line")?
                .parse::<u64>()?;
        }
        Ok(kib * 1024)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id() as i32);
        if let Some(pid) = pid {
            // A process that has ended already is what is wanted.
            let _ = kill_process(pid, self.stop);
        }
        let _ = self.child.wait();
    }
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

/// Runs `act` on one CPU, so that what it starts stays there; then comes back to the other CPUs.
fn on_cpu<T>(cpu: usize, act: impl FnOnce() -> T) -> Result<T> {
    let before = sched_getaffinity(None)?;
    let mut there = CpuSet::new();
    there.set(cpu);
    sched_setaffinity(None, &there)?;
    let result = act();
    sched_setaffinity(None, &before)?;
    Ok(result)
}

/// Keeps this process off the first CPU, where the contestants run, if there is another.
pub(crate) fn leave_first_cpu() -> Result<()> {
    let mut others = sched_getaffinity(None)?;
    others.unset(0);
    if others.count() > 0 {
        sched_setaffinity(None, &others)?;
    }
    Ok(())
}

/// A free address below the ephemeral ports.
fn free_address() -> Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(21_000);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        ensure!(port < 32_000, "no free port");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
}
