//! The history of a node: messages of its groups that are kept for clients that come back.
//!
//! A client that comes back gets each message once, and in order: a message is kept and queued to
//! the workers in one step, and what a session has missed is looked up and queued in one step too.
//! So every message is either in what was looked up, or behind it in the worker's queue; what is in
//! front of it there is skipped for this session.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use crate::base::clock;
use crate::base::event_id::EventId;
use crate::config::snapshot::Publish;
use crate::core::messages::delivery::{DeliveryCounts, Publication, Recipient};
use crate::core::messages::history::{History, Missed};
use crate::live::{
    Delivery, Live, MessageCommand, QueuedCommands, RecordedAt, ReplayRequest, Replays,
    WorkerCommand,
};

/// For the log of the fleet to be read at the begin; then sessions are told of a gap.
const READ_MAX: Duration = Duration::from_secs(5);

/// The messages that are kept.
#[derive(Debug)]
pub(super) struct NodeHistory {
    live: Arc<Live>,
    history: Mutex<History<Arc<Delivery>>>,
    /// Whether what was kept before is here.
    ready: watch::Sender<bool>,
}

impl NodeHistory {
    /// `None` where no group has a history. `logged` is whether there is a log of the fleet; what
    /// it has is here when `set_ready` was called.
    pub(super) fn new(live: &Arc<Live>, settings: &Publish, logged: bool) -> Option<Arc<Self>> {
        let rules = Arc::clone(&settings.history);
        let age = History::<()>::age_max(&rules);
        let begins = match logged {
            true => now().saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            false => now(),
        };
        (!rules.is_empty()).then(|| {
            let history = History::new(rules, settings.history_bytes, begins);
            Arc::new(Self {
                live: Arc::clone(live),
                history: Mutex::new(history),
                ready: watch::Sender::new(!logged),
            })
        })
    }

    /// What was kept before is here.
    pub(super) fn set_ready(&self) {
        self.ready.send_replace(true);
    }

    /// Keeps a message and queues it to the workers. Gives it back if none of its groups has a
    /// history.
    pub(super) async fn queue(
        &self,
        publication: Publication,
    ) -> Result<QueuedCommands<DeliveryCounts>, Publication> {
        let mut history = self.history.lock().await;
        let id = history.next_id(now());
        let delivery = keep(&mut history, publication, id)?;
        // Queued before the next message is kept: that is the order.
        Ok(queue(&self.live, delivery).await)
    }

    /// The same for one that has its id; `deliver` is whether the workers get it.
    pub(super) async fn queue_at(
        &self,
        publication: Publication,
        id: EventId,
        deliver: bool,
    ) -> Option<QueuedCommands<DeliveryCounts>> {
        let mut history = self.history.lock().await;
        let delivery = match keep(&mut history, publication, id) {
            Ok(delivery) => delivery,
            // A gateway with other rules keeps it.
            Err(publication) => Arc::new(publication.into()),
        };
        match deliver {
            true => Some(queue(&self.live, delivery).await),
            false => None,
        }
    }

    /// Whether a message is kept.
    pub(super) async fn keeps(&self, publication: &Publication) -> bool {
        let history = self.history.lock().await;
        publication.side == Recipient::Client && !history.kept_of(&publication.to).is_empty()
    }

    /// Sends sessions what they have missed, for as long as the gateway runs.
    pub(super) async fn follow(self: Arc<Self>, replays: Arc<Replays>) {
        loop {
            let request = replays.next().await;
            let mut ready = self.ready.subscribe();
            // Without the log the history is empty, and tells of a gap.
            let _ = timeout(READ_MAX, ready.wait_for(|ready| *ready)).await;
            self.replay(request).await;
        }
    }

    async fn replay(&self, request: ReplayRequest) {
        let history = self.history.lock().await;
        let Missed { messages, gap } = history.since(&request.groups, request.since, now());
        let gap = gap || !*self.ready.borrow();
        let command = |answer| {
            WorkerCommand::Messages(MessageCommand::Replay {
                id: request.id,
                deliveries: messages.clone(),
                gap,
                answer,
            })
        };
        drop(self.live.workers().queue(command).await);
    }
}

/// Keeps a message under this id. Gives it back if none of its groups has a history.
fn keep(
    history: &mut History<Arc<Delivery>>,
    publication: Publication,
    id: EventId,
) -> Result<Arc<Delivery>, Publication> {
    let groups = match publication.side {
        Recipient::Client => history.kept_of(&publication.to),
        Recipient::Backend => Vec::new(),
    };
    if groups.is_empty() {
        return Err(publication);
    }
    let bytes = publication.message.len();
    let recorded = RecordedAt {
        id,
        groups: groups.clone(),
    };
    let delivery = Arc::new(Delivery::recorded(publication, recorded));
    history.keep(id, &groups, bytes, &delivery, now());
    Ok(delivery)
}

/// Queues a message to all workers.
pub(super) async fn queue(live: &Live, delivery: Arc<Delivery>) -> QueuedCommands<DeliveryCounts> {
    let command = |answer| {
        let delivery = Arc::clone(&delivery);
        WorkerCommand::Messages(MessageCommand::Deliver { delivery, answer })
    };
    live.workers().queue(command).await
}

/// Milliseconds since 1970.
fn now() -> u64 {
    clock::unix_millis(clock::wall())
}
