//! The end of a gateway: workers stop, within the grace time or at once.

use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::app::signals::Signals;
use crate::base::clock;
use crate::config::snapshot::Shutdown;
use crate::core::session::drain::Profile;
use crate::live::{Live, Phase, WorkerCommand};
use crate::telemetry::events::{Fields, Kind};

/// What a worker may take beyond the grace time, for the last close frames and the last records.
const STOP_MARGIN: Duration = Duration::from_secs(60);

/// How a gateway's end went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every session had its close frame, or is with the next process.
    Orderly,
    /// So many sessions were cut off.
    Cut(usize),
}

impl End {
    pub(super) fn log(self) {
        match self {
            Self::Orderly => tracing::info!("stopped"),
            Self::Cut(sessions) => tracing::warn!(sessions, "stopped; these sessions were cut off"),
        }
    }
}

/// Closes all sessions over the grace time; a second signal ends them at once.
pub(super) async fn close_sessions(
    live: &Live,
    threads: Vec<JoinHandle<()>>,
    signals: &mut Signals,
    shutdown: Shutdown,
) -> End {
    live.enter(Phase::Stopping);
    let grace = clock::readable(shutdown.grace);
    let sessions = live.workers().sessions();
    tracing::info!(sessions, %grace, "stopping");
    let stopping = Fields {
        sessions: u64::try_from(sessions).ok(),
        ..Fields::new(format!("{sessions} sessions, {grace} for them to end"))
    };
    live.events().change(Kind::NodeStopping, stopping);
    tokio::select! {
        cut = stop_workers(live, &shutdown) => {
            join(threads).await;
            if cut == 0 { End::Orderly } else { End::Cut(cut) }
        }
        end = cut_short(signals, live, shutdown) => end,
    }
}

/// The second signal: no more time, but every session still leaves its record.
async fn cut_short(signals: &mut Signals, live: &Live, shutdown: Shutdown) -> End {
    signals.stop().await;
    let left = live.workers().sessions();
    let at_once = Shutdown {
        grace: Duration::ZERO,
        ..shutdown
    };
    stop_workers(live, &at_once).await;
    End::Cut(left)
}

/// Stops all workers at once; returns how many sessions were cut off.
async fn stop_workers(live: &Live, shutdown: &Shutdown) -> usize {
    let workers = live.workers();
    let (grace, all) = (shutdown.grace, workers.sessions());
    let loads: Vec<_> = workers.loads().collect();
    let cut = workers.ask_each(grace.saturating_add(STOP_MARGIN), |place, answer| {
        let own = loads[place].sessions.load(Ordering::Relaxed);
        Some(WorkerCommand::Shutdown {
            grace,
            profile: Profile::of_shutdown(shutdown, own, all),
            answer,
        })
    });
    cut.await.into_iter().sum()
}

async fn join(threads: Vec<JoinHandle<()>>) {
    let joined = tokio::task::spawn_blocking(|| {
        threads
            .into_iter()
            .map(JoinHandle::join)
            .filter(Result::is_err)
            .count()
    });
    let panicked = joined.await.unwrap_or_default();
    if panicked > 0 {
        tracing::error!(panicked, "a worker ended by a panic; please report it");
    }
}
