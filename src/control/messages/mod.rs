//! Published messages of a node: from publishers and from the broker, to the sessions of this node
//! and to the other nodes. Each is delivered at most once.

mod counts;
mod fleet;
mod history;
mod interest;
mod presence;
mod received;
mod sessions;
mod shared_history;
mod state;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::base::clock;
use crate::base::group::GroupName;
use crate::base::history_id::HistoryId;
use crate::base::session_id::SessionId;
use crate::config::snapshot::Publish;
use crate::control::messages::counts::{ANSWER_MAX, added};
use crate::control::messages::fleet::{Fleet, Waiting};
use crate::control::messages::history::NodeHistory;
use crate::control::messages::presence::Presence;
use crate::control::messages::shared_history::SharedHistory;
use crate::core::messages::dedup::{DedupResult, DedupWindow};
use crate::core::messages::delivery::{DeliveryCounts, Publication};
use crate::core::messages::envelope::{Content, Envelope};
use crate::core::messages::signal::{Answer, Signal};
use crate::core::messages::topic::Topic;
use crate::io::broker::{Broker, HistoryLog, LogEvents, NotCarried, ReceivedStream};
use crate::live::{Live, QueuedCommands};
use crate::telemetry::metrics::{MessageMetrics, Metrics};

/// Longest time that a publisher may wait for the counts of other nodes.
pub const WAIT_MAX: Duration = Duration::from_secs(10);

pub use fleet::NodeStatus;
pub use presence::{Batch, MembersView, Place, Watcher};
pub use sessions::{FleetPage, Lookup};

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

/// A message that this node has delivered. Counts of other nodes may be to come.
#[derive(Debug)]
pub struct Publishing {
    published: Published,
    rest: Option<Waiting>,
}

impl Publishing {
    /// Waits for the counts of the other nodes, if the publisher does.
    pub async fn complete(self) -> Published {
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

/// The hub of a node.
#[derive(Debug)]
pub struct Messages {
    live: Arc<Live>,
    /// `None` where there is one node only.
    fleet: Option<Arc<Fleet>>,
    /// `None` where no group has one.
    history: Option<Arc<NodeHistory>>,
    /// Set where the broker has a log for it.
    shared: Option<Arc<SharedHistory>>,
    presence: Arc<Presence>,
    /// The name of the node.
    node: Arc<str>,
    /// The broker of a node that is alone.
    local: Option<Broker>,
    dedup: Mutex<DedupWindow>,
    metrics: Arc<MessageMetrics>,
}

impl Messages {
    /// The hub of a process with this id, on the node of this name.
    pub fn new(
        live: Arc<Live>,
        (broker, has_fleet): (Option<Broker>, bool),
        (process, name): (Arc<str>, Arc<str>),
        (settings, log, takes_over): (Option<&Publish>, Option<HistoryLog>, bool),
        metrics: &Arc<Metrics>,
    ) -> Arc<Self> {
        let (fleet, local) = match has_fleet {
            true => (broker, None),
            false => (None, broker),
        };
        let awaited = (log.is_some(), takes_over);
        let history = settings.and_then(|settings| NodeHistory::new(&live, settings, awaited));
        let shared = log.zip(history.clone());
        let shared = shared.map(|(log, history)| SharedHistory::new(&live, log, history, &process));
        Arc::new(Self {
            history,
            shared,
            live,
            presence: Presence::new(Arc::clone(&process)),
            node: Arc::clone(&name),
            fleet: fleet.map(|broker| Fleet::new(broker, process, name)),
            local,
            dedup: Mutex::default(),
            metrics: Arc::new(MessageMetrics::new(metrics)),
        })
    }

    /// The messages that are kept behind `after`, a part of them, for the process that takes over,
    /// and the last of them; `None` after the last.
    pub async fn history_part(&self, after: HistoryId) -> Option<(Vec<u8>, HistoryId)> {
        // What is in a log the other process reads there.
        let history = self.history.as_ref().filter(|_| self.shared.is_none());
        history?.part(after).await
    }

    /// Keeps what the process before this one has kept, a part of it.
    pub async fn adopt_history(&self, part: &[u8]) {
        if let Some(history) = &self.history {
            history.adopt(part).await;
        }
    }

    /// The process before this one sends no more.
    pub fn history_came(&self) {
        if let Some(history) = &self.history {
            history.came();
        }
    }

    /// Starts what follows the log of the history.
    pub fn follow_log(&self, events: LogEvents, background: &mut JoinSet<()>) {
        if let Some(shared) = self.shared.clone() {
            background.spawn(shared.follow(events));
        }
    }

    /// Starts what sends sessions the messages that they have missed.
    pub fn replay_missed(&self, background: &mut JoinSet<()>) {
        let replays = self.live.messages().and_then(|setup| setup.replays.clone());
        if let Some((history, replays)) = self.history.clone().zip(replays) {
            background.spawn(history.follow(replays));
        }
    }

    /// Starts presence.
    pub fn start(&self, background: &mut JoinSet<()>) {
        let fleet = self.fleet.as_ref();
        let broker = self
            .local
            .as_ref()
            .or_else(|| fleet.map(|fleet| fleet.broker()));
        let parts = |broker: &Broker| {
            let (node, metrics) = (Arc::clone(&self.node), Arc::clone(&self.metrics));
            (broker.clone(), node, metrics)
        };
        presence::start(
            &self.presence,
            &self.live,
            fleet,
            broker.map(parts),
            background,
        );
    }

    /// Watches who is in a group on any node; `None` if too much is watched already, by this
    /// `owner` or by all.
    pub fn watch(&self, group: &GroupName, owner: &str) -> Option<Watcher> {
        self.presence.watch(group, owner)
    }

    /// Ends all that watch a group.
    pub fn end_watchers(&self) {
        self.presence.close();
    }

    /// Starts what follows the broker: what comes from it, and what is subscribed.
    pub fn follow(self: &Arc<Self>, received: ReceivedStream, background: &mut JoinSet<()>) {
        background.spawn(Arc::clone(self).receive(received));
        if let (Some(broker), Some(setup)) = (&self.local, self.live.messages())
            && let Some(interest) = &setup.interest
        {
            let interest = Arc::clone(interest);
            background.spawn(interest::follow(interest, broker.clone(), None));
        }
        if let (Some(fleet), Some(setup)) = (&self.fleet, self.live.messages())
            && let Some(interest) = &setup.interest
        {
            let broker = fleet.broker();
            broker.subscribe(Topic::Fleet);
            broker.subscribe(Topic::Node(Arc::clone(fleet.process())));
            let history = self.history.clone().filter(|_| self.shared.is_none());
            if let Some(history) = &history {
                background.spawn(Arc::clone(history).watch(broker.watch_status()));
            }
            let interest = Arc::clone(interest);
            background.spawn(interest::follow(interest, broker.clone(), history));
            let metrics = || Arc::clone(&self.metrics);
            background.spawn(fleet::report(broker.watch_status(), metrics()));
            background.spawn(Arc::clone(fleet).beat(metrics()));
        }
    }

    /// This node ends: the others need not wait for it.
    pub async fn end(&self) {
        if let Some(fleet) = &self.fleet {
            fleet.goodbye().await;
        }
    }

    /// Delivers a message, and has the broker carry it. It goes on if the publisher gives up
    /// waiting. With `wait` the other nodes send their counts, for which that time is left.
    pub async fn publish(
        self: &Arc<Self>,
        publication: Publication,
        wait: Option<Duration>,
    ) -> Publishing {
        let hub = Arc::clone(self);
        let publishing = async move { hub.publish_now(publication, wait).await };
        // Without an answer only while the gateway ends.
        tokio::spawn(publishing).await.unwrap_or_else(|_| {
            let outcome = Outcome {
                counts: DeliveryCounts::default(),
                unanswered: self.live.workers().len(),
                carried: None,
                nodes: 0,
                nodes_missing: None,
            };
            Publishing {
                published: Published::Done(outcome),
                rest: None,
            }
        })
    }

    async fn publish_now(
        &self,
        mut publication: Publication,
        wait: Option<Duration>,
    ) -> Publishing {
        let id = publication.id.as_ref();
        let seen = id.map_or(DedupResult::New, |id| self.note(id, self.fleet.is_none()));
        if seen == DedupResult::Known {
            self.metrics.published("duplicate");
            return Publishing {
                published: Published::Duplicate,
                rest: None,
            };
        }
        self.metrics.published("published");
        if let Some(shared) = &self.shared
            && shared.keeps(&publication)
        {
            return self.publish_logged(shared, publication).await;
        }
        let topics: BTreeSet<_> = publication.to.iter().map(Topic::of).collect();
        if topics.len() > 1 && publication.id.is_none() {
            // It reaches a node by several topics, which must deliver it once.
            publication.id = Some(unique_id());
        }
        let fleet = self.fleet.as_ref();
        let asking = fleet.zip(wait);
        let mut rest = asking.and_then(|(fleet, wait)| fleet.begin(wait, |_| false));
        let ask = rest.as_ref().map(Waiting::number);
        let carried = async { Some(self.carry(fleet?, topics, publication.clone(), ask).await) };
        let delivered = async {
            match seen {
                DedupResult::New => self.deliver(publication.clone()).await,
                _ => (DeliveryCounts::default(), 0),
            }
        };
        let (carried, (counts, unanswered)) = tokio::join!(carried, delivered);
        match (&carried, &publication.id) {
            (Some(Ok(())), Some(id)) => self.dedup().set_carried(id),
            (Some(Err(_)), _) => rest = None,
            _ => {}
        }
        let outcome = Outcome {
            counts,
            unanswered,
            carried,
            nodes: 1,
            // Of all nodes, unless they answer.
            nodes_missing: wait.map(|_| fleet.map_or(0, |fleet| fleet.others())),
        };
        Publishing {
            published: Published::Done(outcome),
            rest,
        }
    }

    /// Publishes a message through the log of the history. The counts are those of this node: the
    /// others have it when they have read it.
    async fn publish_logged(
        &self,
        shared: &SharedHistory,
        mut publication: Publication,
    ) -> Publishing {
        let id = publication.id.get_or_insert_with(unique_id).clone();
        let ((counts, unanswered), carried) = shared.publish(publication).await;
        if carried.is_ok() {
            self.dedup().set_carried(&id);
        }
        let outcome = if carried.is_ok() {
            "carried"
        } else {
            "not_carried"
        };
        self.metrics.broker("sent", outcome);
        let outcome = Outcome {
            counts,
            unanswered,
            carried: Some(carried),
            nodes: 1,
            nodes_missing: self.fleet.as_ref().map(|fleet| fleet.others()),
        };
        Publishing {
            published: Published::Done(outcome),
            rest: None,
        }
    }

    async fn carry(
        &self,
        fleet: &Fleet,
        topics: BTreeSet<Topic>,
        publication: Publication,
        ask: Option<u64>,
    ) -> Result<(), NotCarried> {
        // Only subscribers get it: the others answer a census that they have no such sessions.
        let census = ask.filter(|_| !topics.contains(&Topic::Fleet));
        let census = census.map(|ask| Signal::Census {
            ask,
            to: publication.to.clone(),
        });
        let content = Content::Message { publication, ask };
        let envelope = Envelope {
            from: Arc::clone(fleet.process()),
            content,
        };
        let payload = Bytes::from(envelope.encode());
        let mut outcome = Ok(());
        for topic in topics {
            let broker = fleet.broker();
            outcome = broker.publish(topic, payload.clone(), Vec::new()).await;
            if outcome.is_err() {
                break;
            }
        }
        if let (Ok(()), Some(census)) = (&outcome, census)
            && let Err(error) = fleet.signal(Topic::Fleet, census).await
        {
            tracing::debug!(%error, "nodes without sessions of a message do not answer");
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
        added(self.queue(publication).await.answers(ANSWER_MAX).await)
    }

    async fn queue(&self, publication: Publication) -> QueuedCommands<DeliveryCounts> {
        // With a log only what comes from it is kept: the order and the ids are the log's.
        let queued = match self.history.as_ref().filter(|_| self.shared.is_none()) {
            Some(history) => history.queue(publication).await,
            None => Err(publication),
        };
        match queued {
            Ok(queued) => queued,
            Err(publication) => history::queue(&self.live, Arc::new(publication.into())).await,
        }
    }

    fn note(&self, id: &Arc<str>, carried: bool) -> DedupResult {
        self.dedup().insert(id, carried, clock::now())
    }

    fn dedup(&self) -> MutexGuard<'_, DedupWindow> {
        self.dedup.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An id that no publisher gives.
fn unique_id() -> Arc<str> {
    let millis = clock::unix_millis(clock::wall());
    format!("~{}", SessionId::new(millis, fastrand::u128(..))).into()
}
