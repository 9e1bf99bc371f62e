//! What the writer shares with the rest: the bounds, what is counted, and the last fault.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config::snapshot::EventFiles as Config;
use crate::telemetry::events::event::Class;
use crate::telemetry::events::files::folder::{FOLDER, SegmentName};

/// A class has so many files at least when its room is used up.
const SEGMENTS: u64 = 8;
/// Bytes of a file.
const SEGMENT_BYTES_MAX: u64 = 32 << 20;

/// The files of events, as operators see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesStatus {
    /// Their folder.
    pub path: PathBuf,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Events of each class that could not be written.
    pub unwritten: [u64; Class::ALL.len()],
    /// Why the last ones could not; `None` if they could.
    pub fault: Option<String>,
}

pub(super) struct State {
    pub(super) state_dir: PathBuf,
    path: PathBuf,
    bytes_max: AtomicU64,
    age_millis: AtomicU64,
    bytes: AtomicU64,
    unwritten: [AtomicU64; Class::ALL.len()],
    fault: Mutex<Option<String>>,
    /// The files that this process has open for writing.
    writing: Mutex<[Option<SegmentName>; Class::ALL.len()]>,
}

impl State {
    pub(super) fn new(state_dir: &Path, config: Config) -> Self {
        let state = Self {
            state_dir: state_dir.to_owned(),
            path: state_dir.join(FOLDER),
            bytes_max: AtomicU64::default(),
            age_millis: AtomicU64::default(),
            bytes: AtomicU64::default(),
            unwritten: Default::default(),
            fault: Mutex::default(),
            writing: Mutex::default(),
        };
        state.configure(config);
        state
    }

    pub(super) fn configure(&self, config: Config) {
        let age = u64::try_from(config.age.as_millis()).unwrap_or(u64::MAX);
        self.bytes_max.store(config.bytes, Ordering::Relaxed);
        self.age_millis.store(age, Ordering::Relaxed);
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of all files of a class: sessions have half of the room.
    pub(super) fn room(&self, class: Class) -> u64 {
        let share = match class {
            Class::Sessions => 2,
            Class::Refusals | Class::Changes => 4,
        };
        self.bytes_max.load(Ordering::Relaxed) / share
    }

    /// Bytes of one file of a class.
    pub(super) fn segment_bytes(&self, class: Class) -> u64 {
        (self.room(class) / SEGMENTS).min(SEGMENT_BYTES_MAX)
    }

    /// How long events stay.
    pub(super) fn age(&self) -> Duration {
        Duration::from_millis(self.age_millis.load(Ordering::Relaxed))
    }

    pub(super) fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn unwritten(&self, class: Class, events: u64) {
        self.unwritten[class as usize].fetch_add(events, Ordering::Relaxed);
    }

    /// Notes why events cannot be written; only the first time in a row is logged.
    pub(super) fn failed(&self, error: &io::Error) {
        let before = lock(&self.fault).replace(error.to_string());
        if before.is_none() {
            let path = self.path.display();
            tracing::error!(%error, %path, "events cannot be written and stay in memory only");
        }
    }

    pub(super) fn succeeded(&self) {
        if lock(&self.fault).take().is_some() {
            tracing::info!(path = %self.path.display(), "events are written again");
        }
    }

    pub(super) fn set_writing(&self, class: Class, name: Option<SegmentName>) {
        lock(&self.writing)[class as usize] = name;
    }

    pub(super) fn is_writing(&self, name: SegmentName) -> bool {
        lock(&self.writing).contains(&Some(name))
    }

    pub(super) fn status(&self) -> FilesStatus {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        FilesStatus {
            path: self.path.clone(),
            bytes: count(&self.bytes),
            unwritten: self.unwritten.each_ref().map(count),
            fault: lock(&self.fault).clone(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
