//! The published messages that wait for a worker, in the order in which they came.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{Notify, oneshot};

use crate::base::history_id::HistoryId;
use crate::base::session_id::SessionId;
use crate::core::messages::delivery::DeliveryCounts;
use crate::live::Delivery;

/// Messages that wait for a worker; further ones are refused (I8).
const WAITING_MAX: usize = 1024;

/// A message, and who asks what becomes of it.
pub(crate) struct QueuedDelivery {
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) answer: oneshot::Sender<DeliveryCounts>,
}

/// What a session has missed.
pub(crate) struct QueuedReplay {
    pub(crate) id: SessionId,
    /// In order.
    pub(crate) deliveries: Arc<[Arc<Delivery>]>,
    /// Others may be missing.
    pub(crate) gap: bool,
    /// Further ones follow these.
    pub(crate) more: bool,
    /// The newest message of the history.
    pub(crate) last: HistoryId,
}

/// What is delivered next.
pub(crate) enum Batch {
    /// Messages, together.
    Deliveries(Vec<QueuedDelivery>),
    Replay(QueuedReplay),
}

enum Queued {
    Delivery(QueuedDelivery),
    Replay(QueuedReplay),
}

/// The messages that wait.
#[derive(Default)]
pub(crate) struct DeliveryQueue {
    waiting: RefCell<VecDeque<Queued>>,
    /// Messages among them.
    deliveries: Cell<usize>,
    arrived: Notify,
}

impl DeliveryQueue {
    /// Adds a message. One that finds the queue full is dropped with its answer.
    pub(crate) fn push(&self, delivery: QueuedDelivery) {
        let deliveries = self.deliveries.get();
        if deliveries < WAITING_MAX {
            self.deliveries.set(deliveries + 1);
            let queued = Queued::Delivery(delivery);
            self.waiting.borrow_mut().push_back(queued);
            self.arrived.notify_one();
        }
    }

    /// Adds what a session has missed; there is one for a session at most.
    pub(crate) fn push_replay(&self, replay: QueuedReplay) {
        self.waiting.borrow_mut().push_back(Queued::Replay(replay));
        self.arrived.notify_one();
    }

    /// Waits for messages, and takes `most` of them at most.
    pub(crate) async fn take(&self, most: usize) -> Batch {
        loop {
            if let Some(batch) = self.next(most) {
                return batch;
            }
            self.arrived.notified().await;
        }
    }

    fn next(&self, most: usize) -> Option<Batch> {
        let mut waiting = self.waiting.borrow_mut();
        let mut deliveries = Vec::new();
        while deliveries.len() < most {
            match waiting.pop_front() {
                Some(Queued::Delivery(delivery)) => deliveries.push(delivery),
                Some(Queued::Replay(replay)) if deliveries.is_empty() => {
                    return Some(Batch::Replay(replay));
                }
                Some(replay) => {
                    waiting.push_front(replay);
                    break;
                }
                None => break,
            }
        }
        self.deliveries
            .set(self.deliveries.get() - deliveries.len());
        (!deliveries.is_empty()).then_some(Batch::Deliveries(deliveries))
    }
}
