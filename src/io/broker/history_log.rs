//! A log that all gateways of a fleet write and read in the same order, where the broker has one:
//! the history of groups.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::base::history_id::HistoryId;
use crate::io::broker::NotCarried;

/// Entries that wait to be appended, and to be taken.
const WAITING_MAX: usize = 1024;
/// Bytes of payload in either queue (I8).
const QUEUED_BYTES_MAX: usize = 32 << 20;

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
    /// Its share of the bytes that may wait.
    _room: OwnedSemaphorePermit,
}

/// What a driver has of a log.
pub(super) struct LogEnd {
    pub(super) appends: mpsc::Receiver<Append>,
    pub(super) events: EventSender,
    pub(super) writable: Arc<AtomicBool>,
    /// How long entries are kept.
    pub(super) age: Duration,
}

/// Appends to a log.
#[derive(Clone, Debug)]
pub struct HistoryLog {
    appends: mpsc::Sender<Append>,
    room: Arc<Semaphore>,
    writable: Arc<AtomicBool>,
}

/// An event, with its share of the bytes that may wait.
type Queued = (LogEvent, Option<OwnedSemaphorePermit>);

/// The entries of a log, those of the time before too.
#[derive(Debug)]
pub struct LogEvents(mpsc::Receiver<Queued>);

impl LogEvents {
    /// The next one; `None` when the driver has ended.
    pub async fn recv(&mut self) -> Option<LogEvent> {
        self.0.recv().await.map(|(event, _)| event)
    }
}

/// Passes on what comes of reading. A log is read no faster than its entries are taken.
pub(super) struct EventSender {
    queue: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
}

impl EventSender {
    /// Passes an event on; false if the reader is gone.
    pub(super) async fn send(&self, event: LogEvent) -> bool {
        let room = match &event {
            LogEvent::Entry(entry) => {
                let bytes = entry.payload.len().min(QUEUED_BYTES_MAX) as u32;
                tokio::select! {
                    // It is never closed.
                    room = Arc::clone(&self.room).acquire_many_owned(bytes) => room.ok(),
                    () = self.queue.closed() => return false,
                }
            }
            _ => None,
        };
        self.queue.send((event, room)).await.is_ok()
    }

    /// Waits until the reader is gone.
    pub(super) async fn closed(&self) {
        self.queue.closed().await;
    }
}

/// Runs until both are dropped.
pub type LogDriver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Both sides of a log whose entries are kept for `age`.
pub(super) fn log_ends(age: Duration) -> (HistoryLog, LogEvents, LogEnd) {
    let (appends, receiver) = mpsc::channel(WAITING_MAX);
    let (queue, events) = mpsc::channel(WAITING_MAX);
    let room = || Arc::new(Semaphore::new(QUEUED_BYTES_MAX));
    let writable = Arc::new(AtomicBool::new(false));
    let end = LogEnd {
        appends: receiver,
        events: EventSender {
            queue,
            room: room(),
        },
        writable: Arc::clone(&writable),
        age,
    };
    let log = HistoryLog {
        appends,
        room: room(),
        writable,
    };
    (log, LogEvents(events), end)
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
        let bytes = payload.len() as u32;
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes);
        let room = room.map_err(|_| NotCarried::Busy)?;
        let (confirm, confirmed) = oneshot::channel();
        let append = Append {
            payload,
            confirm,
            _room: room,
        };
        self.appends
            .try_send(append)
            .map_err(|_| NotCarried::Busy)?;
        confirmed.await.unwrap_or(Err(NotCarried::Lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::broker::PAYLOAD_MAX;

    #[tokio::test]
    async fn i8_bytes_that_wait_are_bounded_in_both_directions() {
        let (log, mut events, mut end) = log_ends(Duration::ZERO);
        end.writable.store(true, Ordering::Relaxed);
        let payload = Bytes::from(vec![0; PAYLOAD_MAX]);
        let most = QUEUED_BYTES_MAX / PAYLOAD_MAX;
        let append = |payload: &Bytes| {
            let (log, payload) = (log.clone(), payload.clone());
            tokio::spawn(async move { log.append(payload).await })
        };
        let waiting: Vec<_> = (0..most).map(|_| append(&payload)).collect();
        tokio::task::yield_now().await;
        assert_eq!(log.append(payload.clone()).await, Err(NotCarried::Busy));
        let first = end.appends.recv().await.expect("it waits");
        drop((first._room, waiting));

        let entry = |millis| {
            let id = HistoryId::at(millis);
            let payload = payload.clone();
            LogEvent::Entry(LogEntry { id, payload })
        };
        for millis in 0..most {
            assert!(end.events.send(entry(millis as u64)).await);
        }
        let (last, sender) = (entry(most as u64), end.events);
        let further = tokio::spawn(async move { sender.send(last).await });
        tokio::task::yield_now().await;
        assert!(!further.is_finished(), "it waits for room");
        events.recv().await.expect("an entry");
        assert!(further.await.expect("no panic"));
    }
}
