//! Published messages between the control plane, which takes them from publishers and brokers, and
//! the workers, which have the sessions.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use metrics::Counter;
use tokio::sync::{Notify, oneshot};

use crate::base::clock;
use crate::base::group::GroupName;
use crate::base::history_id::HistoryId;
use crate::base::message::Message;
use crate::base::metadata::Metadata;
use crate::base::names::RouteName;
use crate::base::session_id::SessionId;
use crate::base::target::Target;
use crate::config::snapshot::MessageType;
use crate::core::messages::delivery::{DeliveryCounts, Exclusions, Publication, Recipient};
use crate::core::messages::index::{GroupBounds, JoinError, Subscription};
use crate::core::messages::member::Member;
use crate::core::messages::topic::Topic;
use crate::core::relay::{client_frame, event_bytes_max, event_frame};
use crate::live::presence::{PresenceFeed, RosterAsk};
use crate::live::replays::Replays;
use crate::live::slice::{Slice, Sliced};

/// Set where messages are published.
pub struct MessagesSetup {
    /// What the gateways' own names at the broker begin with.
    pub prefix: Arc<str>,
    /// Bounds on groups, of each worker.
    pub bounds: GroupBounds,
    /// What the sessions of all workers are members of, where a broker needs to know that.
    pub interest: Option<Arc<Interest>>,
    /// Set where messages are kept for clients that come back.
    pub replays: Option<Arc<Replays>>,
    /// Where joins and leaves of watched groups are reported.
    pub presence: Arc<PresenceFeed>,
    /// Memberships that were refused because of the bounds.
    pub refused: Counter,
}

impl fmt::Debug for MessagesSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessagesSetup")
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

impl MessagesSetup {
    /// Counts a membership that was refused.
    pub fn note_refused(&self) {
        self.refused.increment(1);
    }
}

/// The topics that sessions of this node are in. Workers add a topic with their first session in
/// it and remove it with the last.
#[derive(Debug, Default)]
pub struct Interest {
    topics: Mutex<Topics>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Topics {
    /// With the number of workers.
    all: BTreeMap<Topic, usize>,
    /// What began and ended and was not taken yet, in order.
    changes: VecDeque<InterestChange>,
}

/// A topic that this node is in from now on, or no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterestChange {
    /// Which.
    pub topic: Topic,
    /// Whether it has sessions in it.
    pub wanted: bool,
}

impl Interest {
    /// A worker has its first session in a topic.
    pub fn add(&self, topic: Topic) {
        let mut topics = self.lock();
        let workers = topics.all.entry(topic.clone()).or_default();
        *workers += 1;
        if *workers == 1 {
            topics.note(topic, true);
            self.changed.notify_one();
        }
    }

    /// A worker has no session in a topic any more.
    pub fn remove(&self, topic: &Topic) {
        let mut topics = self.lock();
        let Some(workers) = topics.all.get_mut(topic) else {
            return;
        };
        *workers -= 1;
        if *workers == 0 {
            topics.all.remove(topic);
            topics.note(topic.clone(), false);
            self.changed.notify_one();
        }
    }

    /// Takes changes out, `most` at most, in order.
    pub fn take_changes(&self, most: usize) -> Vec<InterestChange> {
        let mut topics = self.lock();
        let some = topics.changes.len().min(most);
        topics.changes.drain(..some).collect()
    }

    /// The topics behind `after` in their order, `most` at most.
    pub fn some(&self, after: Option<&Topic>, most: usize) -> Vec<Topic> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let topics = self.lock();
        let behind = topics.all.range::<Topic, _>((from, Bound::Unbounded));
        behind.map(|(topic, _)| topic.clone()).take(most).collect()
    }

    /// Waits for a change.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Topics {
    fn note(&mut self, topic: Topic, wanted: bool) {
        self.changes.push_back(InterestChange { topic, wanted });
    }
}

/// A message for sessions of the workers.
#[derive(Debug)]
pub struct Delivery {
    /// Who gets it. Of several routes only the first is there: `routes` has all.
    pub to: Vec<Destination>,
    /// The routes among them, whose sessions are found in one walk.
    pub routes: HashSet<RouteName>,
    /// Who does not.
    pub except: Exclusions,
    /// Which side.
    pub side: Recipient,
    /// For backends, whose frames are masked one by one.
    pub message: Message,
    /// For clients: made once for all of them.
    pub frame: Arc<[u8]>,
    /// For clients that take events: made once for all of them, when the first needs it.
    event: OnceLock<Arc<[u8]>>,
    /// The payload of a text message in a binary frame, for subscribers that want that.
    binary_frame: OnceLock<Arc<[u8]>>,
    /// When it is no longer delivered.
    pub expires: Option<SystemTime>,
    /// Its place in the history, if it is kept.
    pub recorded: Option<Box<RecordedAt>>,
    /// When this process got it, where the process before or after this one got it too. A session
    /// that comes from there later may have it already.
    pub came: Option<Instant>,
}

/// The place of a message in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedAt {
    /// Larger than those of all messages before.
    pub id: HistoryId,
    /// The groups whose history has it.
    pub groups: Vec<GroupName>,
    /// As it was published, for another process.
    pub publication: Publication,
}

impl Delivery {
    /// A message that is kept.
    pub fn recorded(at: RecordedAt) -> Self {
        let publication = at.publication.clone();
        Self {
            recorded: Some(Box::new(at)),
            ..publication.into()
        }
    }

    /// The same, which came at this time to the other process of a hand-over too.
    #[must_use]
    pub fn that_came(self, came: Option<Instant>) -> Self {
        Self { came, ..self }
    }

    /// Bytes that it holds at most: the payload, and the frames for both kinds of clients.
    pub fn bytes_max(&self) -> usize {
        self.message.len() + self.frame.len() + event_bytes_max(&self.message)
    }

    /// For how long it is still delivered; `None` where it does not expire.
    pub fn left(&self) -> Option<Duration> {
        let left = self.expires?.duration_since(clock::wall());
        Some(left.unwrap_or(Duration::ZERO))
    }

    /// The frame for clients that take events.
    pub fn event(&self) -> &Arc<[u8]> {
        let id = || self.recorded.as_ref().map(|at| at.id.to_string());
        let frame = || event_frame(id().as_deref(), &self.message);
        self.event.get_or_init(frame)
    }
}

/// Sessions that a message is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Those that a publisher named.
    Target(Target),
    /// Those that are subscribed to a name at the broker.
    Subscribers(Subscription),
}

impl Delivery {
    /// What another service published under `name`, for its subscribers.
    pub fn of_broker(name: &Arc<str>, payload: &[u8]) -> Self {
        let message = match std::str::from_utf8(payload) {
            Ok(text) => Message::Text(text.into()),
            Err(_) => Message::Binary(payload.into()),
        };
        let subscribers = |message_type| {
            Destination::Subscribers(Subscription {
                name: Arc::clone(name),
                message_type,
            })
        };
        let types = [MessageType::Auto, MessageType::Text, MessageType::Binary];
        Self {
            to: types.map(subscribers).into(),
            routes: HashSet::new(),
            except: Exclusions::default(),
            side: Recipient::Client,
            frame: client_frame(&message),
            message,
            event: OnceLock::new(),
            binary_frame: OnceLock::new(),
            expires: None,
            recorded: None,
            came: None,
        }
    }

    /// The frame for clients of a destination; `None` if they do not take such payloads.
    pub fn frame_for(&self, destination: &Destination) -> Option<&Arc<[u8]>> {
        let Destination::Subscribers(Subscription { message_type, .. }) = destination else {
            return Some(&self.frame);
        };
        match (message_type, &self.message) {
            (MessageType::Text, Message::Binary(_)) => None,
            (MessageType::Binary, Message::Text(text)) => Some(
                self.binary_frame
                    .get_or_init(|| client_frame(&Message::Binary(text.as_bytes().into()))),
            ),
            _ => Some(&self.frame),
        }
    }

    /// Whether a session may be in more than one destination.
    pub fn overlaps(&self) -> bool {
        let targets = |one: &Destination| matches!(one, Destination::Target(_));
        self.to.len() > 1 && self.to.iter().any(targets)
    }
}

impl From<Publication> for Delivery {
    fn from(publication: Publication) -> Self {
        let (to, routes) = distinct(publication.to);
        Self {
            frame: client_frame(&publication.message),
            binary_frame: OnceLock::new(),
            to: to.into_iter().map(Destination::Target).collect(),
            routes,
            except: Exclusions::new(publication.except),
            side: publication.side,
            message: publication.message,
            event: OnceLock::new(),
            expires: publication.expires,
            recorded: None,
            came: None,
        }
    }
}

/// Targets without repetitions, and the routes among them. All sessions are all there is.
fn distinct(mut targets: Vec<Target>) -> (Vec<Target>, HashSet<RouteName>) {
    let mut routes = HashSet::new();
    if targets.contains(&Target::All) {
        return (vec![Target::All], routes);
    }
    targets.sort_unstable();
    targets.dedup();
    targets.retain(|target| match target {
        Target::Route(name) => routes.insert(name.clone()) && routes.len() == 1,
        _ => true,
    });
    (targets, routes)
}

/// What is done with published messages and groups on a worker.
#[derive(Debug)]
pub enum MessageCommand {
    /// Delivers a message, behind those that came before it.
    Deliver {
        /// The message.
        delivery: Arc<Delivery>,
        /// Receives the answer when all sessions of the worker were visited; dropped if too many
        /// messages wait already.
        answer: oneshot::Sender<DeliveryCounts>,
    },
    /// Sends a session the messages that it has missed, behind those that came before.
    Replay {
        /// Which.
        id: SessionId,
        /// The messages, in order.
        deliveries: Arc<[Arc<Delivery>]>,
        /// Others may be missing.
        gap: bool,
        /// Further ones follow these.
        more: bool,
        /// The newest message of the history: without further ones, the session has all up to it.
        last: HistoryId,
        /// Receives the answer at once: whether the worker has the session.
        answer: oneshot::Sender<bool>,
    },
    /// Makes a session a member of a group.
    Join {
        /// Which.
        id: SessionId,
        /// Which group.
        group: GroupName,
        /// For how long; `None` until the session ends.
        ttl: Option<Duration>,
        /// What the session is described by there; `None` leaves what is.
        metadata: Option<Metadata>,
        /// Receives the answer: whether it is new. `None` if the worker has no such session.
        answer: oneshot::Sender<Option<Result<bool, JoinError>>>,
    },
    /// Ends a membership.
    Leave {
        /// Which.
        id: SessionId,
        /// Which group.
        group: GroupName,
        /// Receives the answer: whether there was one. `None` if the worker has no such session.
        answer: oneshot::Sender<Option<bool>>,
    },
    /// The members of a group in a slice.
    Members {
        /// Which group.
        group: GroupName,
        /// The slice of the walk.
        slice: Slice,
        /// Receives the answer.
        answer: oneshot::Sender<Sliced<GroupSlice>>,
    },
    /// The groups of the sessions in a slice, one for each membership.
    Groups {
        /// The slice of the walk.
        slice: Slice,
        /// Receives the answer.
        answer: oneshot::Sender<Sliced<Vec<GroupName>>>,
    },
    /// The members of a watched group in a slice, reported in the order of joins and leaves.
    Roster {
        /// Which group.
        group: GroupName,
        /// For whom.
        asked: RosterAsk,
        /// It begins behind this one.
        after: Option<SessionId>,
    },
}

/// Some members of a group on a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupSlice {
    /// These.
    pub members: Vec<Member>,
    /// How many the group has on the worker.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_found_in_one_walk() {
        let target = |text: &str| text.parse::<Target>().expect("a target");
        let texts = ["route:b", "group:x", "route:a", "route:b", "group:x"];
        let (to, routes) = distinct(texts.map(target).to_vec());
        assert_eq!(to, [target("group:x"), target("route:a")]);
        assert_eq!(routes, HashSet::from(["a".into(), "b".into()]));
        let (to, routes) = distinct(["route:b", "all"].map(target).to_vec());
        assert!(to == [Target::All] && routes.is_empty());
    }
}
