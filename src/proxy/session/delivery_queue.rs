//! The published messages that wait for a worker, in the order in which they came.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{Notify, oneshot};

use crate::core::messages::delivery::DeliveryCounts;
use crate::live::Delivery;

/// Messages that wait for a worker; further ones are refused (I8).
const WAITING_MAX: usize = 1024;

/// A message, and who asks what becomes of it.
pub(crate) struct QueuedDelivery {
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) answer: oneshot::Sender<DeliveryCounts>,
}

/// The messages that wait.
#[derive(Default)]
pub(crate) struct DeliveryQueue {
    waiting: RefCell<VecDeque<QueuedDelivery>>,
    arrived: Notify,
}

impl DeliveryQueue {
    /// Adds a message. One that finds the queue full is dropped with its answer.
    pub(crate) fn push(&self, queued: QueuedDelivery) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() < WAITING_MAX {
            waiting.push_back(queued);
            self.arrived.notify_one();
        }
    }

    /// Waits for messages, and takes `most` of them at most.
    pub(crate) async fn take(&self, most: usize) -> Vec<QueuedDelivery> {
        loop {
            let batch: Vec<_> = {
                let mut waiting = self.waiting.borrow_mut();
                let some = waiting.len().min(most);
                waiting.drain(..some).collect()
            };
            if !batch.is_empty() {
                return batch;
            }
            self.arrived.notified().await;
        }
    }
}
