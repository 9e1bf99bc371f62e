//! A log that all gateways of a fleet write and read in the same order, where the broker has one:
//! the history of groups.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::base::history_id::HistoryId;
use crate::io::broker::NotCarried;

/// Entries that wait to be appended, and to be taken.
const WAITING_MAX: usize = 1024;

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Larger than those of all entries before.
    pub id: HistoryId,
    /// As it was appended.
    pub payload: Bytes,
}

/// What comes of reading a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// An entry.
    Entry(LogEntry),
    /// Entries before this id may have been missed.
    Begins(HistoryId),
    /// All entries that were in the log at the begin came; once.
    CaughtUp,
}

pub(super) struct Append {
    pub(super) payload: Bytes,
    pub(super) confirm: oneshot::Sender<Result<HistoryId, NotCarried>>,
}

/// What a driver has of a log.
pub(super) struct LogEnd {
    pub(super) appends: mpsc::Receiver<Append>,
    pub(super) events: mpsc::Sender<LogEvent>,
    pub(super) writable: Arc<AtomicBool>,
    /// How long entries are kept.
    pub(super) age: Duration,
}

/// Appends to a log.
#[derive(Clone, Debug)]
pub struct HistoryLog {
    appends: mpsc::Sender<Append>,
    writable: Arc<AtomicBool>,
}

/// The entries of a log, those of the time before too.
pub type LogEvents = mpsc::Receiver<LogEvent>;
/// Runs until both are dropped.
pub type LogDriver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Both sides of a log whose entries are kept for `age`.
pub(super) fn log_ends(age: Duration) -> (HistoryLog, LogEvents, LogEnd) {
    let (appends, receiver) = mpsc::channel(WAITING_MAX);
    let (sender, events) = mpsc::channel(WAITING_MAX);
    let writable = Arc::new(AtomicBool::new(false));
    let end = LogEnd {
        appends: receiver,
        events: sender,
        writable: Arc::clone(&writable),
        age,
    };
    (HistoryLog { appends, writable }, events, end)
}

impl HistoryLog {
    /// Appends an entry, and returns its id when the broker has it.
    ///
    /// # Errors
    /// When the broker does not have it, or may not have it.
    pub async fn append(&self, payload: Bytes) -> Result<HistoryId, NotCarried> {
        if !self.writable.load(Ordering::Relaxed) {
            return Err(NotCarried::NotConnected);
        }
        if payload.len() > super::PAYLOAD_MAX {
            return Err(NotCarried::Refused("it is too large".to_owned()));
        }
        let (confirm, confirmed) = oneshot::channel();
        let append = Append { payload, confirm };
        self.appends
            .try_send(append)
            .map_err(|_| NotCarried::Busy)?;
        confirmed.await.unwrap_or(Err(NotCarried::Lost))
    }
}
