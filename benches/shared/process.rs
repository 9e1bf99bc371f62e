//! The programs that a benchmark compares, each on the first CPU: how they are started and ended,
//! and what their processes have used so far. Every benchmark that starts peers includes this file.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use sessile::base::clock::now;

const PATIENCE: Duration = Duration::from_secs(20);

/// How a program is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// At once.
    Kill,
    /// By request: it ends the processes that it started.
    Ask,
}

/// A program and the processes that it started. Ends with this value.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    stop: Stop,
}

impl Process {
    /// Starts a program and waits until it accepts connections at all of these addresses.
    pub(crate) fn start(
        name: &'static str,
        mut command: Command,
        stop: Stop,
        accepts: &[SocketAddr],
    ) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = on_first_cpu(|| command.spawn())?;
        let child = child.with_context(|| {
            format!("cannot start {name}; BENCHMARKS.md names the packages to install")
        })?;
        let mut process = Self { name, child, stop };
        process.wait_for(accepts)?;
        Ok(process)
    }

    fn wait_for(&mut self, accepts: &[SocketAddr]) -> Result<()> {
        let deadline = now() + PATIENCE;
        while !accepts.iter().all(|one| TcpStream::connect(one).is_ok()) {
            let name = self.name;
            if let Some(status) = self.child.try_wait()? {
                bail!("{name} ended by itself: {status}");
            }
            ensure!(now() < deadline, "{name} does not listen");
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// It and all processes that come from it.
    fn family(&self) -> Result<Vec<u32>> {
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let pid = name.to_str().and_then(|name| name.parse::<u32>().ok());
            parents.extend(pid.and_then(|pid| Some((pid, parent(pid)?))));
        }
        let (mut family, mut place) = (vec![self.child.id()], 0);
        while let Some(one) = family.get(place).copied() {
            let children = parents.iter().filter(|(_, parent)| *parent == one);
            family.extend(children.map(|(pid, _)| *pid));
            place += 1;
        }
        Ok(family)
    }

    /// User and system time of all threads of the family so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut nanos = 0;
        for pid in self.family()? {
            for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
                let text = fs::read_to_string(thread?.path().join("schedstat"))?;
                let first = text.split(' ').next().unwrap_or_default();
                nanos += first.parse::<u64>().context("schedstat holds numbers")?;
            }
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Bytes of user memory: the proportional set of the family.
    pub(crate) fn memory(&self) -> Result<u64> {
        let mut kib = 0;
        for pid in self.family()? {
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

impl Drop for Process {
    fn drop(&mut self) {
        let signal = match self.stop {
            Stop::Kill => Signal::KILL,
            Stop::Ask => Signal::TERM,
        };
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            // A process that has ended already is what is wanted.
            let _ = kill_process(pid, signal);
        }
        let deadline = now() + PATIENCE;
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if now() > deadline {
                let _ = self.child.kill();
            }
            sleep(Duration::from_millis(2));
        }
    }
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

/// Runs `act` on the first CPU, so that what it starts stays there; then comes back to the others.
fn on_first_cpu<T>(act: impl FnOnce() -> T) -> Result<T> {
    let before = sched_getaffinity(None)?;
    let mut first = CpuSet::new();
    first.set(0);
    sched_setaffinity(None, &first)?;
    let result = act();
    sched_setaffinity(None, &before)?;
    Ok(result)
}

/// Keeps this process off the first CPU, where the programs run, if there is another.
pub(crate) fn leave_first_cpu() -> Result<()> {
    let mut others = sched_getaffinity(None)?;
    others.unset(0);
    if others.count() > 0 {
        sched_setaffinity(None, &others)?;
    }
    Ok(())
}

/// A free address below the ephemeral ports.
pub(crate) fn free_address() -> Result<SocketAddr> {
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

/// Takes all the descriptors that the system gives; returns how many.
pub(crate) fn raise_descriptors() -> Result<u64> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )?;
    Ok(maximum.unwrap_or(u64::MAX))
}
