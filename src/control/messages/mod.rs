//! Published messages of a node: from publishers and from the broker, to the sessions of this node
//! and to the other nodes. Each is delivered at most once.

mod interest;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::base::clock;
use crate::base::group::GroupName;
use crate::base::session_id::SessionId;
use crate::core::messages::dedup::{DedupResult, DedupWindow};
use crate::core::messages::delivery::{DeliveryCounts, Publication};
use crate::core::messages::envelope::Envelope;
use crate::core::messages::index::JoinError;
use crate::core::messages::topic::Topic;
use crate::io::broker::{Broker, BrokerStatus, NotCarried, Received, ReceivedStream};
use crate::live::{
    Delivery, Live, MemberView, MessageCommand, QueuedCommands, Slice, WorkerCommand,
};
use crate::telemetry::metrics::{MessageMetrics, Metrics};

/// For all workers to visit the sessions of a message.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// For a worker to list a slice of members.
const SLICE_MAX: Duration = Duration::from_secs(5);

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
    /// On this node.
    pub counts: DeliveryCounts,
    /// Workers that did not answer: their sessions are not counted.
    pub unanswered: usize,
    /// Whether the broker has it; `None` without a broker.
    pub carried: Option<Result<(), NotCarried>>,
}

/// The hub of a node.
#[derive(Debug)]
pub struct Messages {
    live: Arc<Live>,
    /// `None` where there is one node only.
    broker: Option<Broker>,
    /// The name of this process among those of the fleet.
    process: Arc<str>,
    dedup: Mutex<DedupWindow>,
    metrics: MessageMetrics,
}

impl Messages {
    /// The hub of a process with this name.
    pub fn new(
        live: Arc<Live>,
        broker: Option<Broker>,
        process: Arc<str>,
        metrics: &Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            live,
            broker,
            process,
            dedup: Mutex::default(),
            metrics: MessageMetrics::new(metrics),
        })
    }

    /// Starts what follows the broker: what comes from it, and what is subscribed.
    pub fn follow(self: &Arc<Self>, received: ReceivedStream, background: &mut JoinSet<()>) {
        background.spawn(Arc::clone(self).receive(received));
        if let (Some(broker), Some(setup)) = (&self.broker, self.live.messages())
            && let Some(interest) = &setup.interest
        {
            broker.subscribe(Topic::Fleet);
            broker.subscribe(Topic::Node(Arc::clone(&self.process)));
            background.spawn(interest::follow(Arc::clone(interest), broker.clone()));
            background.spawn(Arc::clone(self).watch(broker.watch_status()));
        }
    }

    /// Reports when the broker is lost and when it is back.
    async fn watch(self: Arc<Self>, mut status: watch::Receiver<BrokerStatus>) {
        let mut was = None;
        loop {
            let BrokerStatus {
                connected, error, ..
            } = status.borrow_and_update().clone();
            self.metrics.connected(connected);
            match (was.replace(connected), connected) {
                (Some(true), true) | (Some(false), false) => {}
                (_, true) => tracing::info!("the broker carries messages"),
                (_, false) => {
                    let error = error.unwrap_or_default();
                    tracing::warn!(
                        error,
                        "the broker carries no messages; this node still delivers"
                    );
                }
            }
            if status.changed().await.is_err() {
                return;
            }
        }
    }

    /// Delivers a message, and has the broker carry it. It goes on if the publisher gives up
    /// waiting.
    pub async fn publish(self: &Arc<Self>, publication: Publication) -> Published {
        let hub = Arc::clone(self);
        let published = tokio::spawn(async move { hub.publish_now(publication).await }).await;
        // Without an answer only while the gateway ends.
        published.unwrap_or_else(|_| {
            Published::Done(Outcome {
                counts: DeliveryCounts::default(),
                unanswered: self.live.workers().len(),
                carried: None,
            })
        })
    }

    async fn publish_now(&self, mut publication: Publication) -> Published {
        let id = publication.id.as_ref();
        let seen = id.map_or(DedupResult::New, |id| self.note(id, self.broker.is_none()));
        if seen == DedupResult::Known {
            self.metrics.published("duplicate");
            return Published::Duplicate;
        }
        self.metrics.published("published");
        let topics: BTreeSet<_> = publication.to.iter().map(Topic::of).collect();
        if topics.len() > 1 && publication.id.is_none() {
            // It reaches a node by several topics, which must deliver it once.
            publication.id = Some(unique_id());
        }
        let carried = async {
            let broker = self.broker.as_ref()?;
            Some(self.carry(broker, topics, publication.clone()).await)
        };
        let delivered = async {
            match seen {
                DedupResult::New => self.deliver(publication.clone()).await,
                _ => (DeliveryCounts::default(), 0),
            }
        };
        let (carried, (counts, unanswered)) = tokio::join!(carried, delivered);
        if let (Some(Ok(())), Some(id)) = (&carried, &publication.id) {
            self.dedup().set_carried(id);
        }
        Published::Done(Outcome {
            counts,
            unanswered,
            carried,
        })
    }

    async fn carry(
        &self,
        broker: &Broker,
        topics: BTreeSet<Topic>,
        publication: Publication,
    ) -> Result<(), NotCarried> {
        let envelope = Envelope {
            from: Arc::clone(&self.process),
            publication,
        };
        let payload = Bytes::from(envelope.encode());
        let mut outcome = Ok(());
        for topic in topics {
            outcome = broker.publish(topic, payload.clone(), Vec::new()).await;
            if outcome.is_err() {
                break;
            }
        }
        let carried = if outcome.is_ok() {
            "carried"
        } else {
            "not_carried"
        };
        self.metrics.broker("sent", carried);
        outcome
    }

    /// Delivers to the sessions of this node.
    async fn deliver(&self, publication: Publication) -> (DeliveryCounts, usize) {
        let answers = self.queue(publication).await.answers(ANSWER_MAX).await;
        let unanswered = answers.missing();
        let counts = answers.into_iter();
        let counts = counts.fold(DeliveryCounts::default(), DeliveryCounts::plus);
        (counts, unanswered)
    }

    async fn queue(&self, publication: Publication) -> QueuedCommands<DeliveryCounts> {
        let delivery = Arc::new(Delivery::from(publication));
        let command = |answer| {
            let delivery = Arc::clone(&delivery);
            WorkerCommand::Messages(MessageCommand::Deliver { delivery, answer })
        };
        self.live.workers().queue(command).await
    }

    /// Delivers what comes from the broker, in the order in which it comes.
    async fn receive(self: Arc<Self>, mut received: ReceivedStream) {
        let mut dropped = 0;
        while let Some(message) = received.next().await {
            let outcome = self.take(&message).await;
            self.metrics.broker("received", outcome);
            let now = received.dropped();
            self.metrics
                .dropped(now - std::mem::replace(&mut dropped, now));
        }
    }

    /// Delivers a message of the broker. Returns what became of it.
    async fn take(&self, message: &Received) -> &'static str {
        let envelope = match Envelope::decode(&message.payload) {
            Ok(envelope) => envelope,
            Err(error) => {
                tracing::debug!(topic = %message.topic, %error, "not a message of a gateway");
                return "malformed";
            }
        };
        if envelope.from == self.process {
            return "own";
        }
        let publication = envelope.publication;
        let id = publication.id.as_ref();
        if id.is_some_and(|id| self.note(id, true) != DedupResult::New) {
            return "duplicate";
        }
        // The order is that of the queue; the workers count what becomes of it.
        drop(self.queue(publication).await);
        "delivered"
    }

    fn note(&self, id: &Arc<str>, carried: bool) -> DedupResult {
        self.dedup().insert(id, carried, clock::now())
    }

    fn dedup(&self) -> MutexGuard<'_, DedupWindow> {
        self.dedup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a session of this node a member of a group. `None` if it is not here.
    pub async fn join(
        &self,
        id: SessionId,
        group: &GroupName,
        ttl: Option<Duration>,
    ) -> Option<Result<bool, JoinError>> {
        let command = |answer| {
            let group = group.clone();
            WorkerCommand::Messages(MessageCommand::Join {
                id,
                group,
                ttl,
                answer,
            })
        };
        let answers = self.live.workers().ask(command).await;
        answers.into_iter().flatten().next()
    }

    /// Ends a membership of a session of this node. `None` if it is not here.
    pub async fn leave(&self, id: SessionId, group: &GroupName) -> Option<bool> {
        let command = |answer| {
            let group = group.clone();
            WorkerCommand::Messages(MessageCommand::Leave { id, group, answer })
        };
        let answers = self.live.workers().ask(command).await;
        answers.into_iter().flatten().next()
    }

    /// The members of a group on this node behind `after`, in the order of their ids.
    pub async fn members(
        &self,
        group: &GroupName,
        after: Option<SessionId>,
        most: usize,
    ) -> Vec<MemberView> {
        let command = |slice: Slice, answer| {
            let group = group.clone();
            WorkerCommand::Messages(MessageCommand::Members {
                group,
                slice,
                answer,
            })
        };
        let enough = |found: &[Vec<MemberView>]| found.iter().map(Vec::len).sum::<usize>() >= most;
        let workers = self.live.workers();
        let limit = SLICE_MAX;
        let walked = workers.walk_until(limit, after, command, enough).await;
        let mut members: Vec<_> = walked.answers.into_iter().flatten().collect();
        members.sort_unstable_by_key(|member| member.id);
        members.truncate(most);
        members
    }

    /// How the broker is; `None` without one.
    pub fn broker(&self) -> Option<BrokerStatus> {
        self.broker.as_ref().map(Broker::status)
    }
}

/// An id that no publisher gives.
fn unique_id() -> Arc<str> {
    let millis = clock::unix_millis(clock::wall());
    format!("~{}", SessionId::new(millis, fastrand::u128(..))).into()
}
