//! Published messages of a node: from publishers and from the broker, to the sessions of this node
//! and to the other nodes. Each is delivered at most once.

mod counts;
mod fleet;
mod group_list;
mod handed;
mod history;
mod history_parts;
mod interest;
mod presence;
mod published;
mod received;
mod sessions;
mod shared_history;
mod state;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use crate::base::clock;
use crate::base::group::GroupName;
use crate::base::history_id::HistoryId;
use crate::base::session_id::SessionId;
use crate::base::target::Target;
use crate::config::snapshot::Publish;
use crate::control::drainer::Elsewhere;
use crate::control::messages::counts::{ANSWER_MAX, added};
use crate::control::messages::fleet::{Fleet, Waiting};
use crate::control::messages::history::NodeHistory;
use crate::control::messages::history_parts::PART_MAX;
use crate::control::messages::presence::Presence;
use crate::control::messages::published::Delivered;
use crate::control::messages::shared_history::SharedHistory;
use crate::core::messages::dedup::{DedupResult, DedupWindow, Place as DedupPlace};
use crate::core::messages::delivery::{DeliveryCounts, Publication};
use crate::core::messages::envelope::{Content, Envelope};
use crate::core::messages::signal::Signal;
use crate::core::messages::topic::Topic;
use crate::io::broker::{Broker, HistoryLog, LogEvents, NotCarried, ReceivedStream};
use crate::live::{Delivery, Live, QueuedCommands};
use crate::telemetry::metrics::{MessageMetrics, Metrics};

/// Longest time that a publisher may wait for the counts of other nodes.
pub const WAIT_MAX: Duration = Duration::from_secs(10);

pub use fleet::NodeStatus;
pub use group_list::FleetGroups;
pub use presence::{Batch, MembersView, Place, Watcher};
pub use published::{Outcome, Published, Publishing};
pub use sessions::{FleetPage, Lookup};

/// Messages of publishers that are under way to the workers. Further ones wait at their publishers:
/// a worker refuses what finds its queue full.
const UNDER_WAY_MAX: usize = 512;
/// Messages of the broker that are under way to the workers. Further ones wait in its queue, which
/// counts what it drops. With those of publishers and of the log they fill a worker's queue.
const INCOMING_MAX: usize = 256;
/// Topics under which a message is carried one by one; with more it is carried once, to all nodes.
const TOPICS_MAX: usize = 16;

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
    /// Topics that are subscribed until the sessions of the process before this one are here.
    handed: Mutex<Vec<Topic>>,
    /// For lists of all groups.
    listing: Semaphore,
    /// For messages of publishers.
    room: Arc<Semaphore>,
    /// For messages of the broker.
    incoming: Arc<Semaphore>,
    /// Whether sessions of this node are with another process, once the hand-over follows it, and
    /// before.
    elsewhere: OnceLock<Arc<Elsewhere>>,
    takes_over: bool,
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
            handed: Mutex::default(),
            listing: Semaphore::new(1),
            room: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
            incoming: Arc::new(Semaphore::new(INCOMING_MAX)),
            elsewhere: OnceLock::new(),
            takes_over,
            metrics: Arc::new(MessageMetrics::new(metrics)),
        })
    }

    /// The messages that are kept behind `after`, a part of them, for the process that takes over,
    /// and the last of them; `None` after the last.
    pub async fn history_part(&self, after: HistoryId) -> Option<(Vec<u8>, HistoryId)> {
        self.own_history()?.part(after).await
    }

    /// What completes the messages that are kept up to `after`, in parts; `None` if there are
    /// messages behind it.
    pub async fn history_completion(&self, after: HistoryId) -> Option<Vec<Vec<u8>>> {
        match self.own_history() {
            Some(history) => history.completion(after).await,
            None => Some(Vec::new()),
        }
    }

    /// The history, unless it is in a log: there the other process reads it.
    fn own_history(&self) -> Option<&Arc<NodeHistory>> {
        self.history.as_ref().filter(|_| self.shared.is_none())
    }

    /// The ids of messages behind `after`, a part of them, for the process that takes over, and the
    /// place of the last of them; `None` after the last.
    pub fn ids_part(&self, after: Option<DedupPlace>) -> Option<(Vec<u8>, DedupPlace)> {
        self.dedup().part(after, PART_MAX, clock::now())
    }

    /// Remembers ids of the process before this one, a part of them.
    pub fn adopt_ids(&self, part: &[u8]) {
        self.dedup().adopt(part, clock::now());
    }

    /// Keeps what the process before this one has kept, a part of it.
    pub async fn adopt_history(&self, part: &[u8]) {
        if let Some(history) = &self.history {
            history.adopt(part).await;
        }
    }

    /// The process before this one sends no more.
    pub async fn history_came(&self) {
        self.release_topics();
        if let Some(history) = &self.history {
            history.handed_over().await;
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

    /// Begins to deliver a message, and has the broker carry it. Returns when what is published
    /// next comes behind it. It goes on if the publisher gives up waiting. With `wait` the other
    /// nodes send their counts, for which that time is left.
    pub async fn publish(
        self: &Arc<Self>,
        publication: Publication,
        wait: Option<Duration>,
    ) -> Publishing {
        let room = Arc::clone(&self.room).acquire_owned().await;
        let (in_order, is_in_order) = oneshot::channel();
        let hub = Arc::clone(self);
        let delivery = tokio::spawn(async move {
            let delivered = hub.publish_now(publication, wait, in_order).await;
            drop(room);
            delivered
        });
        // The sender is dropped once that is so.
        let _ = is_in_order.await;
        Publishing::new(delivery, self.live.workers().len())
    }

    /// Drops `in_order` when what is published next comes behind this message.
    async fn publish_now(
        &self,
        mut publication: Publication,
        wait: Option<Duration>,
        in_order: oneshot::Sender<()>,
    ) -> Delivered {
        let id = publication.id.as_ref();
        let seen = id.map_or(DedupResult::New, |id| self.note(id, self.fleet.is_none()));
        if seen == DedupResult::Known {
            self.metrics.published("duplicate");
            return Published::Duplicate.into();
        }
        self.metrics.published("published");
        if let Some(shared) = &self.shared
            && shared.keeps(&publication)
        {
            return self.publish_logged(shared, publication).await;
        }
        let topics: BTreeSet<_> = publication.to.iter().map(Topic::of).collect();
        if publication.id.is_none() && self.needs_id(&publication, &topics) {
            publication.id = Some(unique_id());
        }
        let fleet = self.fleet.as_ref();
        let asking = fleet.zip(wait);
        let mut rest = asking.and_then(|(fleet, wait)| fleet.begin(wait, |_| false));
        let ask = rest.as_ref().map(Waiting::number);
        let carried = async { Some(self.carry(fleet?, topics, publication.clone(), ask).await) };
        // The order at the broker is certain only once the broker has the message.
        let (at_broker, in_order) = match fleet {
            Some(_) => (Some(in_order), None),
            None => (None, Some(in_order)),
        };
        let delivered = async {
            if seen != DedupResult::New {
                return (DeliveryCounts::default(), 0);
            }
            let came = fleet.map(|_| clock::now());
            let queued = self.queue(publication.clone(), came).await;
            drop(in_order);
            added(queued.answers(ANSWER_MAX).await)
        };
        let (carried, (counts, unanswered)) = tokio::join!(carried, delivered);
        drop(at_broker);
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
        Delivered::new(outcome, rest)
    }

    /// Whether the fleet has to know a message by an id: where it reaches a node by several topics,
    /// which must deliver it once, or where both processes of a hand-over may keep it.
    fn needs_id(&self, publication: &Publication, topics: &BTreeSet<Topic>) -> bool {
        let group = |target: &Target| matches!(target, Target::Group(_));
        topics.len() > 1 || (self.fleet.is_some() && publication.to.iter().any(group))
    }

    /// Publishes a message through the log of the history. The counts are those of this node: the
    /// others have it when they have read it.
    async fn publish_logged(
        &self,
        shared: &SharedHistory,
        mut publication: Publication,
    ) -> Delivered {
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
        Published::Done(outcome).into()
    }

    async fn carry(
        &self,
        fleet: &Fleet,
        mut topics: BTreeSet<Topic>,
        publication: Publication,
        ask: Option<u64>,
    ) -> Result<(), NotCarried> {
        if topics.len() > TOPICS_MAX {
            topics = [Topic::Fleet].into();
        }
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

    /// `came` is when the message came where the other process of a hand-over gets it too.
    async fn queue(
        &self,
        publication: Publication,
        came: Option<Instant>,
    ) -> QueuedCommands<DeliveryCounts> {
        // With a log only what comes from it is kept: the order and the ids are the log's.
        let queued = match self.history.as_ref().filter(|_| self.shared.is_none()) {
            Some(history) => history.queue(publication, came).await,
            None => Err(publication),
        };
        match queued {
            Ok(queued) => queued,
            Err(publication) => {
                let delivery = Delivery::from(publication).that_came(came);
                history::queue(&self.live, Arc::new(delivery)).await
            }
        }
    }

    fn note(&self, id: &Arc<str>, carried: bool) -> DedupResult {
        self.dedup().insert(id, carried, clock::now())
    }

    fn handed(&self) -> MutexGuard<'_, Vec<Topic>> {
        self.handed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dedup(&self) -> MutexGuard<'_, DedupWindow> {
        self.dedup.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ids that no publisher gives begin with it.
const UNIQUE: char = '~';

/// An id that no publisher gives.
fn unique_id() -> Arc<str> {
    let millis = clock::unix_millis(clock::wall());
    format!("{UNIQUE}{}", SessionId::new(millis, fastrand::u128(..))).into()
}

/// Whether a message may come twice under its id. One that a gateway made for a single topic does
/// not: to remember it would only take the place of others.
fn may_come_again(publication: &Publication) -> bool {
    let id = publication.id.as_deref();
    id.is_some_and(|id| !id.starts_with(UNIQUE)) || publication.to.len() > 1
}

#[cfg(test)]
mod tests;
