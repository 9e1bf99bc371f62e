//! `[events]`.

use std::time::Duration;

/// What is kept of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events {
    /// Events of sessions in memory. Default 50,000.
    pub sessions: usize,
    /// Refusals in memory. Default 10,000.
    pub refusals: usize,
    /// Changes in memory. Default 10,000.
    pub changes: usize,
    /// Bytes of memory for all. Default 64 MiB.
    pub memory: usize,
    /// Bounds of the files in the state directory. Default: there are none.
    pub files: Option<EventFiles>,
}

/// Bounds of the files of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventFiles {
    /// Bytes of all files.
    pub bytes: u64,
    /// How long events stay.
    pub age: Duration,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sessions: 50_000,
            refusals: 10_000,
            changes: 10_000,
            memory: 64 << 20,
            files: None,
        }
    }
}

impl Events {
    /// These settings while the process goes on with files, or without, as `before` says: that
    /// changes at a start only.
    #[must_use]
    pub fn with_files_of(self, before: &Self) -> Self {
        let files = before.files.map(|kept| self.files.unwrap_or(kept));
        Self { files, ..self }
    }
}
