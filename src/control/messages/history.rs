//! The history of a node: messages of its groups that are kept for clients that come back.
//!
//! A client that comes back gets each message once, and in order: a message is kept and queued to
//! the workers in one step, and what a session has missed is looked up and queued in one step too.
//! So every message is either in what was looked up, or behind it in the worker's queue; what is in
//! front of it there is skipped for this session.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::base::clock;
use crate::config::snapshot::Publish;
use crate::core::messages::delivery::{DeliveryCounts, Publication, Recipient};
use crate::core::messages::history::{History, Missed};
use crate::live::{
    Delivery, Live, MessageCommand, QueuedCommands, RecordedAt, ReplayRequest, Replays,
    WorkerCommand,
};

/// The messages that are kept.
#[derive(Debug)]
pub(super) struct NodeHistory {
    live: Arc<Live>,
    history: Mutex<History<Arc<Delivery>>>,
}

impl NodeHistory {
    /// `None` where no group has a history.
    pub(super) fn new(live: &Arc<Live>, settings: &Publish) -> Option<Arc<Self>> {
        let rules = Arc::clone(&settings.history);
        (!rules.is_empty()).then(|| {
            let history = History::new(rules, settings.history_bytes, now());
            Arc::new(Self {
                live: Arc::clone(live),
                history: Mutex::new(history),
            })
        })
    }

    /// Keeps a message and queues it to the workers. `None` gives it back: none of its groups has a
    /// history.
    pub(super) async fn queue(
        &self,
        publication: Publication,
    ) -> Result<QueuedCommands<DeliveryCounts>, Publication> {
        if publication.side == Recipient::Backend {
            return Err(publication);
        }
        let mut history = self.history.lock().await;
        let groups = history.kept_of(&publication.to);
        if groups.is_empty() {
            return Err(publication);
        }
        let now = now();
        let id = history.next_id(now);
        let bytes = publication.message.len();
        let recorded = RecordedAt {
            id,
            groups: groups.clone(),
        };
        let delivery = Arc::new(Delivery::recorded(publication, recorded));
        history.keep(id, &groups, bytes, &delivery, now);
        // Queued before the next message is kept: that is the order.
        Ok(queue(&self.live, delivery).await)
    }

    /// Sends sessions what they have missed, for as long as the gateway runs.
    pub(super) async fn follow(self: Arc<Self>, replays: Arc<Replays>) {
        loop {
            let request = replays.next().await;
            self.replay(request).await;
        }
    }

    async fn replay(&self, request: ReplayRequest) {
        let history = self.history.lock().await;
        let Missed { messages, gap } = history.since(&request.groups, request.since, now());
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
