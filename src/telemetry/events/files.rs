//! Events in files of the state directory, for the next process (`events.persist`). A thread of
//! their own writes them, behind a queue that drops rather than make the collector wait. Each class
//! of events has files of its own, bounded by bytes and by age, so that many refusals displace no
//! change on the disk either.
//!
//! Two processes may write during a hand-over: each writes only files that it has locked, and the
//! new one reads on in the others until its predecessor has gone.

mod folder;
mod follow;
mod read;
mod state;
mod writer;

use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::base::clock;
use crate::config::snapshot::EventFiles as Config;
use crate::telemetry::events::event::Event;
use crate::telemetry::events::files::folder::Folder;
use crate::telemetry::events::files::read::{History, read};
use crate::telemetry::events::files::state::State;
use crate::telemetry::events::files::writer::Writer;
use crate::telemetry::events::ring::Bounds;

pub use follow::Follower;
pub use state::FilesStatus;

/// Events that may wait for the writer.
const WAITING_MAX: usize = 16_384;
/// How long the end of a gateway waits for a disk.
const END_MAX: Duration = Duration::from_secs(5);

/// The handle of the thread that writes.
pub(super) struct Files {
    state: Arc<State>,
    /// Taken at the end.
    queue: Mutex<Option<SyncSender<Arc<Event>>>>,
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

/// What begins with the files.
pub(super) struct Opened {
    pub(super) files: Files,
    /// What other processes wrote before.
    pub(super) history: History,
    pub(super) follower: Follower,
}

impl Files {
    /// Reads what is there and begins to write. Faults are logged and shown; they stop nothing.
    /// Blocks.
    pub(super) fn open(state_dir: &Path, config: Config, bounds: Bounds, instance: u64) -> Opened {
        let state = Arc::new(State::new(state_dir, config));
        let oldest = clock::wall().checked_sub(config.age);
        let history = Folder::open(state_dir).and_then(|folder| read(&folder, bounds, oldest));
        let history = history.unwrap_or_else(|error| {
            state.failed(&error);
            History::default()
        });
        if history.unreadable > 0 {
            let (lines, path) = (history.unreadable, state.path().display());
            tracing::warn!(lines, %path, "these lines are no events and are skipped");
        }
        let follower = Follower::new(&state, history.ends.clone(), instance);
        let (queue, waiting) = sync_channel(WAITING_MAX);
        let (end, ended) = oneshot::channel();
        let writer = Writer::new(Arc::clone(&state));
        let thread = thread::Builder::new().name("events".to_owned());
        let began = thread.spawn(move || {
            writer.run(&waiting);
            drop(end);
        });
        if let Err(error) = began {
            state.failed(&error);
        }
        let files = Self {
            state,
            queue: Mutex::new(Some(queue)),
            ended: Mutex::new(Some(ended)),
        };
        Opened {
            files,
            history,
            follower,
        }
    }

    /// Hands an event to the writer.
    pub(super) fn write(&self, event: Arc<Event>) {
        let class = event.kind.class();
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = queue.as_ref().map(|queue| queue.try_send(event));
        if !matches!(taken, Some(Ok(()))) {
            self.state.unwritten(class, 1);
        }
    }

    pub(super) fn configure(&self, config: Config) {
        self.state.configure(config);
    }

    pub(super) fn status(&self) -> FilesStatus {
        self.state.status()
    }

    /// Waits until everything is written, unless the disk hangs.
    pub(super) async fn end(&self) {
        let take = |queue: &Mutex<Option<_>>| {
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            drop(queue.take());
        };
        take(&self.queue);
        let ended = self.ended.lock();
        let ended = ended.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ended) = ended
            && timeout(END_MAX, ended).await.is_err()
        {
            tracing::error!("the last events are not on the disk, which does not answer");
        }
    }
}

#[cfg(test)]
mod tests;
