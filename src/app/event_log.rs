//! The collector of events, from before the first client to after the last session.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use crate::app::addresses::listening;
use crate::base::addr::ListenAddr;
use crate::config::snapshot::Snapshot;
use crate::live::Live;
use crate::proxy::worker::Shared;
use crate::telemetry::events::{Collector, Events, Fields, Follower, Kind};

/// Between two looks at what the process before this one wrote.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// The running collector.
pub(super) struct EventLog {
    events: Events,
    stop: oneshot::Sender<()>,
    collecting: JoinHandle<Collector>,
    /// Reads what the process before this one still writes.
    following: Option<JoinHandle<()>>,
}

/// The gateway accepts clients.
pub(super) fn report_ready(shared: &Shared, workers: usize, admin: &ListenAddr) {
    let listeners = listening(&shared.listeners);
    let ready = format!("{workers} workers, listeners {listeners}, admin {admin}");
    shared
        .live
        .events()
        .change(Kind::NodeReady, Fields::new(ready));
    tracing::info!(node = %shared.records.node(), workers, listeners, %admin, "ready");
}

/// What is known at the start.
fn started(live: &Live, predecessor: Option<u32>) -> Fields {
    let table = live.table();
    let (version, own) = (env!("CARGO_PKG_VERSION"), std::process::id());
    let mut text = format!("version {version}, pid {own}");
    if let Some(pid) = predecessor {
        text.push_str(&format!(", takes over from pid {pid}"));
    }
    Fields {
        generation: Some(table.generation),
        digest: Some(table.digest.to_string().into()),
        ..Fields::new(text)
    }
}

impl EventLog {
    /// Reads what is in files, if there are any, and begins to collect; `predecessor` is the
    /// process that this one takes over from.
    pub(super) async fn begin(live: &Live, snapshot: &Snapshot, predecessor: Option<u32>) -> Self {
        let events = live.events().clone();
        events.configure(&snapshot.events);
        // Before anything is written, so that none of it is read as another process's.
        let follower = open_files(&events, snapshot).await;
        let following = predecessor.zip(follower).map(|(pid, follower)| {
            let events = events.clone();
            tokio::spawn(follow(pid, follower, events))
        });
        events.change(Kind::NodeStarted, started(live, predecessor));
        let mut collector = events.collector().expect("a gateway runs once");
        let (stop, stopped) = oneshot::channel::<()>();
        let collecting = tokio::spawn(async move {
            tokio::select! {
                () = collector.run() => {}
                _ = stopped => {}
            }
            collector
        });
        Self {
            events,
            stop,
            collecting,
            following,
        }
    }

    /// Takes what waits, writes it, and ends all streams when they have sent it.
    pub(super) async fn end(self) {
        if let Some(following) = self.following {
            following.abort();
        }
        drop(self.stop);
        if let Ok(mut collector) = self.collecting.await {
            collector.finish();
        }
        self.events.close();
        self.events.end_files().await;
    }
}

async fn open_files(events: &Events, snapshot: &Snapshot) -> Option<Follower> {
    let state_dir = snapshot.node.state_dir.clone()?;
    let (events, config) = (events.clone(), snapshot.events);
    let opened = spawn_blocking(move || events.open_files(&config, &state_dir));
    opened.await.expect("reading events does not panic")
}

/// Is readable when the process has gone; `None` if it has gone already, so that one last look is
/// enough.
#[expect(
    deprecated,
    reason = "its successor is unsafe, for types that may lie about their descriptor"
)]
fn process(pid: u32) -> Option<AsyncFd<OwnedFd>> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    let process = pidfd_open(pid, PidfdFlags::NONBLOCK).ok()?;
    AsyncFd::with_interest(process, Interest::READABLE).ok()
}

/// Adds what the process before this one writes, until it has gone.
async fn follow(pid: u32, mut follower: Follower, events: Events) {
    let process = process(pid);
    loop {
        let gone = match &process {
            Some(process) => timeout(FOLLOW_EVERY, process.readable()).await.is_ok(),
            None => true,
        };
        let read = spawn_blocking(move || (follower.read(), follower)).await;
        let (found, same) = read.expect("reading events does not panic");
        follower = same;
        match found {
            Ok(found) => events.add_foreign(found),
            Err(error) => tracing::warn!(%error, "cannot read events of the previous process"),
        }
        if gone {
            return;
        }
    }
}
