//! The programs that are flooded, on the first CPU, and what they have used so far.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(10);

/// A program that stands between clients and backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contestant {
    Haproxy,
    Nginx,
    Sessile,
}

/// One at work. Ends with this value.
pub(crate) struct Running {
    child: Child,
    /// Where it takes clients.
    pub(crate) address: SocketAddr,
    _files: TempDir,
}

impl Contestant {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 3] = [Self::Haproxy, Self::Nginx, Self::Sessile];

    /// As in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Sessile => "Sessile",
        }
    }

    /// Starts it in front of `backend` and waits until it listens.
    pub(crate) fn start(self, backend: SocketAddr, limited: bool) -> Running {
        let files = tempfile::tempdir().unwrap();
        let address = free_address();
        let fill = |template: &str| {
            let lines = template
                .lines()
                .filter(|line| limited || !line.contains("# limited"));
            lines
                .collect::<Vec<_>>()
                .join("\n")
                .replace("@DIR@", &files.path().display().to_string())
                .replace("@ADDRESS@", &address.to_string())
                .replace("@BACKEND@", &backend.to_string())
                + "\n"
        };
        let config = files.path().join("config");
        let (text, program, arguments): (_, _, &[&str]) = match self {
            Self::Haproxy => (include_str!("haproxy.cfg"), "haproxy", &["-db", "-f"]),
            Self::Nginx => (include_str!("nginx.conf"), "nginx", &["-c"]),
            Self::Sessile => (
                include_str!("gateway.toml"),
                env!("CARGO_BIN_EXE_sessile"),
                &["run", "--config"],
            ),
        };
        fs::write(&config, fill(text)).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).arg(&config);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = on_first_cpu(|| command.spawn());
        let mut running = Running {
            child: child.unwrap_or_else(|error| panic!("{program}: {error}")),
            address,
            _files: files,
        };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = running.child.try_wait().unwrap();
            assert!(ended.is_none(), "{program} ended by itself: {ended:?}");
            assert!(start.elapsed() < PATIENCE, "{program} does not listen");
            sleep(Duration::from_millis(10));
        }
        running
    }
}

impl Running {
    /// Its process and those that it started.
    fn family(&self) -> Vec<u32> {
        let first = self.child.id();
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap();
        let children = children.split_whitespace().map(|pid| pid.parse().unwrap());
        std::iter::once(first).chain(children).collect()
    }

    /// User and system time of all its threads.
    pub(crate) fn cpu(&self) -> Duration {
        let mut nanos = 0;
        for pid in self.family() {
            for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
                let text = fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
                let first = text.split(' ').next().unwrap_or_default();
                nanos += first.parse::<u64>().unwrap();
            }
        }
        Duration::from_nanos(nanos)
    }

    /// KiB of memory: the proportional set of its processes.
    pub(crate) fn memory(&self) -> i64 {
        let of = |pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.unwrap().parse::<i64>().unwrap()
        };
        self.family().into_iter().map(of).sum()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // nginx's first process takes its worker along only if it is asked to.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let _ = kill_process(pid.unwrap(), Signal::TERM);
        let start = Instant::now();
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if start.elapsed() > PATIENCE {
                let _ = self.child.kill();
            }
            sleep(Duration::from_millis(10));
        }
    }
}

/// Runs `act` on the first CPU, so that what it starts stays there; then comes back.
fn on_first_cpu<T>(act: impl FnOnce() -> T) -> T {
    let before = sched_getaffinity(None).unwrap();
    let mut first = CpuSet::new();
    first.set(0);
    sched_setaffinity(None, &first).unwrap();
    let result = act();
    sched_setaffinity(None, &before).unwrap();
    result
}

/// Keeps this process off the first CPU, if there is another.
pub(crate) fn leave_first_cpu() {
    let mut others = sched_getaffinity(None).unwrap();
    others.unset(0);
    if others.count() > 0 {
        sched_setaffinity(None, &others).unwrap();
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}
