//! The history of a fleet: messages of its groups go through a log of the broker, which all
//! gateways read in the same order. So a client gets what it missed from any of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::base::clock;
use crate::base::history_id::HistoryId;
use crate::control::messages::counts::{ANSWER_MAX, added};
use crate::control::messages::history::{self, NodeHistory};
use crate::core::messages::dedup::{DedupResult, DedupWindow};
use crate::core::messages::delivery::{DeliveryCounts, Publication};
use crate::core::messages::envelope::{Content, Envelope};
use crate::io::broker::{HistoryLog, LogEntry, LogEvent, LogEvents, NotCarried};
use crate::live::Live;

/// Entries that are under way to the workers, which drop what finds their queues full.
const UNDER_WAY_MAX: usize = 256;

/// Sessions that got a message, and workers that did not answer.
type Counts = (DeliveryCounts, usize);

/// The log, and what waits for it.
#[derive(Debug)]
pub(super) struct SharedHistory {
    live: Arc<Live>,
    log: HistoryLog,
    history: Arc<NodeHistory>,
    /// Of this process in the fleet.
    process: Arc<str>,
    /// When it began, on this process' clock and in milliseconds since 1970.
    began: (Instant, u64),
    /// For entries that are under way to the workers.
    under_way: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Publishers that wait for their message to come back, by its id.
    waiting: HashMap<Arc<str>, oneshot::Sender<Counts>>,
    /// Ids of the log: what was appended twice counts once.
    logged: DedupWindow,
    /// Messages that this gateway delivered without the log.
    unlogged: DedupWindow,
}

impl SharedHistory {
    pub(super) fn new(
        live: &Arc<Live>,
        log: HistoryLog,
        history: Arc<NodeHistory>,
        process: &Arc<str>,
    ) -> Arc<Self> {
        Arc::new(Self {
            live: Arc::clone(live),
            log,
            history,
            process: Arc::clone(process),
            began: (clock::now(), clock::unix_millis(clock::wall())),
            under_way: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
            state: Mutex::default(),
        })
    }

    /// Whether a message goes through the log.
    pub(super) fn keeps(&self, publication: &Publication) -> bool {
        self.history.keeps(publication)
    }

    /// Appends a message with an id, and delivers it when it comes back: in the order of the log.
    /// Without the log the sessions of this gateway get it at once, and it is not kept. If it is
    /// not known whether the log has it, they get it if it comes back.
    pub(super) async fn publish(
        &self,
        publication: Publication,
    ) -> (Counts, Result<(), NotCarried>) {
        let id = publication.id.clone().unwrap_or_default();
        let (sender, counts) = oneshot::channel();
        match self.state().waiting.entry(Arc::clone(&id)) {
            Entry::Vacant(place) => drop(place.insert(sender)),
            // The same message, at the same time.
            Entry::Occupied(_) => {
                return ((DeliveryCounts::default(), 0), Err(NotCarried::Busy));
            }
        }
        let envelope = Envelope {
            from: Arc::clone(&self.process),
            content: Content::Message {
                publication: publication.clone(),
                ask: None,
            },
        };
        let appended = self.log.append(Bytes::from(envelope.encode())).await;
        let Err(error) = appended else {
            let counts = timeout(ANSWER_MAX, counts).await;
            self.state().waiting.remove(&id);
            let none = (DeliveryCounts::default(), self.live.workers().len());
            return (counts.ok().and_then(Result::ok).unwrap_or(none), Ok(()));
        };
        self.state().waiting.remove(&id);
        let unknown = matches!(error, NotCarried::Lost | NotCarried::TimedOut);
        let again = self.state().unlogged.contains(&id, clock::now());
        if unknown || again {
            return ((DeliveryCounts::default(), 0), Err(error));
        }
        self.state().unlogged.insert(&id, true, clock::now());
        let queued = history::queue(&self.live, Arc::new(publication.into())).await;
        (added(queued.answers(ANSWER_MAX).await), Err(error))
    }

    /// Delivers what comes from the log, for as long as the gateway runs.
    pub(super) async fn follow(self: Arc<Self>, mut events: LogEvents) {
        let mut live = false;
        while let Some(event) = events.recv().await {
            match event {
                LogEvent::Entry(entry) => self.take(entry, live).await,
                LogEvent::Begins(id) => self.history.interrupt_all(Some(id)).await,
                LogEvent::CaughtUp => {
                    live = true;
                    self.history.came();
                }
            }
        }
    }

    /// Keeps an entry, and delivers it unless it is of the time before (`live`).
    async fn take(&self, entry: LogEntry, live: bool) {
        let publication = match Envelope::decode(&entry.payload) {
            Ok(Envelope {
                content: Content::Message { publication, .. },
                ..
            }) => publication,
            Ok(_) => return,
            Err(error) => {
                tracing::debug!(id = %entry.id, %error, "not a message of a gateway");
                return;
            }
        };
        let id = publication.id.clone().unwrap_or_default();
        let (waiting, first, unlogged) = {
            let mut state = self.state();
            let waiting = state.waiting.remove(&id);
            // By the log's time, which a gateway reads faster than it passed.
            let at = self.time_of(entry.id);
            let first = state.logged.insert(&id, true, at);
            (waiting, first, state.unlogged.contains(&id, clock::now()))
        };
        let mut room = None;
        let queued = match first {
            DedupResult::New => {
                let deliver = live && !unlogged;
                // It is never closed.
                room = Arc::clone(&self.under_way).acquire_owned().await.ok();
                self.history.queue_at(publication, entry.id, deliver).await
            }
            _ => None,
        };
        let tell = |counts| {
            if let Some(waiting) = waiting {
                // The publisher may have gone.
                let _ = waiting.send(counts);
            }
        };
        match queued {
            // The next entry does not wait for the sessions of this one.
            Some(queued) => drop(tokio::spawn(async move {
                let counted = added(queued.answers(ANSWER_MAX).await);
                drop(room);
                tell(counted);
            })),
            None => tell((DeliveryCounts::default(), 0)),
        }
    }

    /// The time of an entry, on this process' clock.
    fn time_of(&self, id: HistoryId) -> Instant {
        let (began, millis) = self.began;
        let later = Duration::from_millis(id.millis.saturating_sub(millis));
        let earlier = Duration::from_millis(millis.saturating_sub(id.millis));
        let at = began + later;
        at.checked_sub(earlier).unwrap_or(began)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
