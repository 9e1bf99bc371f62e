//! What becomes of published messages.

use tokio::task::JoinHandle;

use crate::control::messages::fleet::Waiting;
use crate::core::messages::delivery::DeliveryCounts;
use crate::core::messages::signal::Answer;
use crate::io::broker::NotCarried;

/// What became of a published message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// It was delivered here, and carried to other nodes where there may be any.
    Done(Outcome),
    /// A message with this id came before.
    Duplicate,
}

/// What became of a message that was not published before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// On this node, and on the others that answered if the publisher waits for them.
    pub counts: DeliveryCounts,
    /// Workers that did not answer: their sessions are not counted.
    pub unanswered: usize,
    /// Whether the broker has it; `None` without a broker.
    pub carried: Option<Result<(), NotCarried>>,
    /// Nodes whose sessions are counted, this one among them.
    pub nodes: usize,
    /// Live nodes whose counts are missing; `None` if the publisher does not wait for them.
    pub nodes_missing: Option<usize>,
}

/// A message on its way: what is published next comes behind it.
#[derive(Debug)]
pub struct Publishing {
    delivery: JoinHandle<Delivered>,
    workers: usize,
}

/// A message that this node has delivered. Counts of other nodes may be to come.
#[derive(Debug)]
pub(super) struct Delivered {
    published: Published,
    rest: Option<Waiting>,
}

impl Publishing {
    pub(super) const fn new(delivery: JoinHandle<Delivered>, workers: usize) -> Self {
        Self { delivery, workers }
    }

    /// Waits until it is delivered, and for the counts of the other nodes if the publisher does.
    pub async fn complete(self) -> Published {
        match self.delivery.await {
            Ok(delivered) => delivered.complete().await,
            // Without an answer only while the gateway ends.
            Err(_) => Published::Done(Outcome {
                counts: DeliveryCounts::default(),
                unanswered: self.workers,
                carried: None,
                nodes: 0,
                nodes_missing: None,
            }),
        }
    }
}

impl From<Published> for Delivered {
    fn from(published: Published) -> Self {
        Self {
            published,
            rest: None,
        }
    }
}

impl Delivered {
    /// `rest` are the counts of other nodes.
    pub(super) const fn new(outcome: Outcome, rest: Option<Waiting>) -> Self {
        Self {
            published: Published::Done(outcome),
            rest,
        }
    }

    async fn complete(self) -> Published {
        let (mut outcome, waiting) = match (self.published, self.rest) {
            (Published::Done(outcome), Some(waiting)) => (outcome, waiting),
            (published, _) => return published,
        };
        let replies = waiting.replies().await;
        let mut missing = replies.missing;
        for answer in replies.answers {
            match answer {
                Answer::Counts { counts, unanswered } => {
                    outcome.counts = outcome.counts.plus(counts);
                    outcome.unanswered = outcome.unanswered.saturating_add(unanswered);
                    outcome.nodes += 1;
                }
                _ => missing += 1,
            }
        }
        outcome.nodes_missing = Some(missing);
        Published::Done(outcome)
    }
}
