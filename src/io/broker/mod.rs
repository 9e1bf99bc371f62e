//! What carries published messages between the gateways of a fleet, and from services that publish
//! at the broker itself. Each kind of broker has a driver; the gateway sees a [`Broker`].
//!
//! A driver keeps a connection, reconnects with backoff, and subscribes again to everything that is
//! wanted. It stores nothing while the broker is gone: what cannot be handed over is refused at
//! once, and the publisher is told. Messages are carried at most once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::base::clock;
use crate::core::messages::topic::Topic;

/// Messages that wait for the broker's connection; further ones are refused.
const OUTGOING_MAX: usize = 4096;
/// Messages of the broker that wait for the gateway; further ones are dropped and counted.
const INCOMING_MAX: usize = 4096;
/// For the broker to take a message.
const PUBLISH_MAX: Duration = Duration::from_secs(5);

/// The gateway's end of a broker. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Broker {
    outgoing: mpsc::Sender<Outgoing>,
    wanted: Arc<Wanted>,
    status: watch::Receiver<BrokerStatus>,
}

/// The driver's end of a broker.
#[derive(Debug)]
pub struct DriverEnd {
    /// What is to be published, in order.
    pub outgoing: mpsc::Receiver<Outgoing>,
    /// What is to be subscribed.
    pub wanted: Arc<Wanted>,
    /// Takes what came.
    pub incoming: Incoming,
    /// Shows how the connection is.
    pub status: watch::Sender<BrokerStatus>,
}

/// A message for the broker.
#[derive(Debug)]
pub struct Outgoing {
    /// Under which topic.
    pub topic: Topic,
    /// As it is carried.
    pub payload: Bytes,
    /// Fields beside the payload, for brokers that have such (NATS, RabbitMQ, Kafka).
    pub headers: Vec<(String, String)>,
    /// Receives whether the broker has it.
    pub taken: oneshot::Sender<Result<(), NotCarried>>,
}

/// A message that came from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The topic, among those that are subscribed.
    pub topic: Topic,
    /// As it was carried.
    pub payload: Bytes,
}

/// The broker does not have a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCarried {
    /// There is no connection now.
    #[error("the broker is not connected")]
    NotConnected,
    /// Too many messages wait for it.
    #[error("too many messages wait for the broker")]
    Busy,
    /// It did not confirm in time, so that it may have the message or not.
    #[error("the broker did not answer in time")]
    TimedOut,
    /// It refused the message.
    #[error("the broker refused the message: {0}")]
    Refused(String),
}

/// How the connection to a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerStatus {
    /// Whether messages are carried now.
    pub connected: bool,
    /// Since when it is so.
    pub since: SystemTime,
    /// Why it is not connected, where that is known.
    pub error: Option<String>,
    /// How often a connection was made.
    pub connects: u64,
}

/// The topics that are to be subscribed. The driver compares its own with them whenever they
/// change and whenever it has connected.
#[derive(Debug)]
pub struct Wanted {
    topics: Mutex<BTreeSet<Topic>>,
    changed: watch::Sender<u64>,
}

/// Takes the messages of a driver.
#[derive(Clone, Debug)]
pub struct Incoming {
    queue: mpsc::Sender<Received>,
    dropped: watch::Sender<u64>,
}

/// The stream of what came, and how many messages were dropped because it was full.
#[derive(Debug)]
pub struct ReceivedStream {
    queue: mpsc::Receiver<Received>,
    dropped: watch::Receiver<u64>,
}

/// The ends of a broker that is not connected yet.
pub fn ends() -> (Broker, ReceivedStream, DriverEnd) {
    let (outgoing, outgoing_receiver) = mpsc::channel(OUTGOING_MAX);
    let (queue, queue_receiver) = mpsc::channel(INCOMING_MAX);
    let dropped = watch::Sender::new(0);
    let status = watch::Sender::new(BrokerStatus {
        connected: false,
        since: clock::wall(),
        error: None,
        connects: 0,
    });
    let wanted = Arc::new(Wanted {
        topics: Mutex::default(),
        changed: watch::Sender::new(0),
    });
    let broker = Broker {
        outgoing,
        wanted: Arc::clone(&wanted),
        status: status.subscribe(),
    };
    let received = ReceivedStream {
        queue: queue_receiver,
        dropped: dropped.subscribe(),
    };
    let driver = DriverEnd {
        outgoing: outgoing_receiver,
        wanted,
        incoming: Incoming { queue, dropped },
        status,
    };
    (broker, received, driver)
}

impl Broker {
    /// Hands a message over to the broker, and waits until it has it.
    ///
    /// # Errors
    /// When it may not have it.
    pub async fn publish(
        &self,
        topic: Topic,
        payload: Bytes,
        headers: Vec<(String, String)>,
    ) -> Result<(), NotCarried> {
        if !self.status.borrow().connected {
            return Err(NotCarried::NotConnected);
        }
        let (taken, answer) = oneshot::channel();
        let outgoing = Outgoing {
            topic,
            payload,
            headers,
            taken,
        };
        let queued = self.outgoing.try_send(outgoing);
        queued.map_err(|_| NotCarried::Busy)?;
        match timeout(PUBLISH_MAX, answer).await {
            Ok(Ok(taken)) => taken,
            Ok(Err(_)) => Err(NotCarried::NotConnected),
            Err(_) => Err(NotCarried::TimedOut),
        }
    }

    /// Has the messages of a topic delivered from some time soon on.
    pub fn subscribe(&self, topic: Topic) {
        self.wanted.change(|topics| topics.insert(topic));
    }

    /// Has them delivered no longer.
    pub fn unsubscribe(&self, topic: &Topic) {
        self.wanted.change(|topics| topics.remove(topic));
    }

    /// How the connection is.
    pub fn status(&self) -> BrokerStatus {
        self.status.borrow().clone()
    }

    /// Follows how the connection is.
    pub fn watch_status(&self) -> watch::Receiver<BrokerStatus> {
        self.status.clone()
    }
}

impl Wanted {
    fn change(&self, change: impl FnOnce(&mut BTreeSet<Topic>) -> bool) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if change(&mut topics) {
            self.changed.send_modify(|version| *version += 1);
        }
    }

    /// All of them.
    pub fn topics(&self) -> BTreeSet<Topic> {
        let topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.clone()
    }

    /// Reports each change.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

impl Incoming {
    /// Passes a message on. One that finds the queue full is dropped and counted: a broker must not
    /// be slowed down by a gateway.
    pub fn pass_on(&self, received: Received) {
        if self.queue.try_send(received).is_err() {
            self.dropped.send_modify(|count| *count += 1);
        }
    }
}

impl ReceivedStream {
    /// The next message; `None` when the driver has ended.
    pub async fn next(&mut self) -> Option<Received> {
        self.queue.recv().await
    }

    /// Messages that were dropped so far.
    pub fn dropped(&self) -> u64 {
        *self.dropped.borrow()
    }
}
