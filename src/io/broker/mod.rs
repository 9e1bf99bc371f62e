//! What carries published messages between the gateways of a fleet, and from services that publish
//! at the broker itself. Each kind of broker has a driver; the gateway sees a [`Broker`].
//!
//! A driver keeps a connection, reconnects with backoff, and subscribes again to everything that is
//! wanted. It stores nothing while the broker is gone: what cannot be handed over is refused at
//! once, and the publisher is told. Messages are carried at most once.

#[cfg(any(feature = "nats", feature = "rabbitmq", feature = "redis"))]
mod drive;
#[cfg_attr(
    not(feature = "redis"),
    allow(dead_code, reason = "only Redis has a log")
)]
mod history_log;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(any(feature = "nats", feature = "rabbitmq", feature = "redis"))]
mod link;
#[cfg(feature = "nats")]
mod nats;
mod open;
mod outlet;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(any(
    feature = "kafka",
    feature = "nats",
    feature = "rabbitmq",
    feature = "redis"
))]
mod reconnect;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(
    feature = "kafka",
    feature = "nats",
    feature = "rabbitmq",
    feature = "redis"
))]
mod refusals;
mod subscriptions;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::base::clock;
use crate::core::messages::topic::Topic;

pub use crate::io::broker::history_log::{HistoryLog, LogDriver, LogEntry, LogEvent, LogEvents};
pub use crate::io::broker::open::{Driver, open, open_log};
pub use crate::io::broker::outlet::{ClientPayload, Confirmation, Outlet, Sender, TooLarge};
pub use crate::io::broker::subscriptions::Subscriptions;

/// Largest payload that a gateway hands to a broker or takes from one. NATS' own bound is by
/// default the same; a broker's smaller bound is found when it refuses.
pub const PAYLOAD_MAX: usize = 1024 * 1024;

/// Messages that wait for the broker's connection; further ones are refused.
const OUTGOING_MAX: usize = 4096;
/// Messages of the broker that wait for the gateway; further ones are dropped and counted.
const INCOMING_MAX: usize = 4096;
/// Bytes of payload in either queue.
const QUEUED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// For the broker to take a message.
const PUBLISH_MAX: Duration = Duration::from_secs(5);

/// The gateway's end of a broker. Cheap to clone; the driver ends when all clones are dropped.
///
/// Every kind of broker but memory also returns to a gateway what the gateway itself has published
/// under a topic that it wants.
#[derive(Clone, Debug)]
pub struct Broker {
    outgoing: mpsc::Sender<Outgoing>,
    room: Arc<Semaphore>,
    wanted: Arc<Subscriptions>,
    status: watch::Receiver<BrokerStatus>,
}

/// The driver's end of a broker.
#[derive(Debug)]
pub struct DriverEnd {
    /// What is to be published, in order.
    pub outgoing: mpsc::Receiver<Outgoing>,
    /// What is to be subscribed.
    pub wanted: Arc<Subscriptions>,
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
    /// Receives whether the broker has it. A message is not sent once the receiver is gone.
    pub confirm: oneshot::Sender<Result<(), NotCarried>>,
    /// Its share of the bytes that may wait.
    _room: OwnedSemaphorePermit,
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
    /// The connection was lost after the message was sent, so that the broker may have it or not.
    #[error("the connection to the broker was lost before it confirmed the message")]
    Lost,
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
    /// Why it is not connected, where that is known; or which subscription it refused.
    pub error: Option<String>,
    /// How often a connection was made. Each but the first is a gap: what was published between is
    /// lost, and nothing counts it.
    pub connects: u64,
}

/// Takes the messages of a driver.
#[derive(Clone, Debug)]
pub struct Incoming {
    queue: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    dropped: watch::Sender<u64>,
    missed: Arc<AtomicU64>,
    compressed: Arc<AtomicU64>,
}

/// The stream of what came, and how many messages were dropped because it was full.
#[derive(Debug)]
pub struct ReceivedStream {
    queue: mpsc::Receiver<Queued>,
    dropped: watch::Receiver<u64>,
    missed: Arc<AtomicU64>,
    compressed: Arc<AtomicU64>,
}

/// A message, when it came, and its share of the bytes that may wait.
type Queued = (Received, Instant, OwnedSemaphorePermit);

/// The ends of a broker that is not connected yet.
pub fn ends() -> (Broker, ReceivedStream, DriverEnd) {
    let (outgoing, outgoing_receiver) = mpsc::channel(OUTGOING_MAX);
    let (queue, queue_receiver) = mpsc::channel(INCOMING_MAX);
    let dropped = watch::Sender::new(0);
    let compressed = Arc::new(AtomicU64::new(0));
    let missed = Arc::new(AtomicU64::new(0));
    let status = watch::Sender::new(BrokerStatus {
        connected: false,
        since: clock::wall(),
        error: None,
        connects: 0,
    });
    let wanted = Arc::new(Subscriptions::default());
    let room = || Arc::new(Semaphore::new(QUEUED_BYTES_MAX));
    let broker = Broker {
        outgoing,
        room: room(),
        wanted: Arc::clone(&wanted),
        status: status.subscribe(),
    };
    let received = ReceivedStream {
        queue: queue_receiver,
        dropped: dropped.subscribe(),
        missed: Arc::clone(&missed),
        compressed: Arc::clone(&compressed),
    };
    let driver = DriverEnd {
        outgoing: outgoing_receiver,
        wanted,
        incoming: Incoming {
            queue,
            room: room(),
            dropped,
            missed,
            compressed,
        },
        status,
    };
    (broker, received, driver)
}

/// Receives whether the broker has a message.
pub type Answer = oneshot::Receiver<Result<(), NotCarried>>;

/// Waits until the broker has a message.
///
/// # Errors
/// When it may not have it.
pub async fn confirmed(answer: Answer) -> Result<(), NotCarried> {
    match timeout(PUBLISH_MAX, answer).await {
        Ok(Ok(confirmed)) => confirmed,
        Ok(Err(_)) => Err(NotCarried::Lost),
        Err(_) => Err(NotCarried::TimedOut),
    }
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
        confirmed(self.offer(topic, payload, headers)?).await
    }

    /// Hands a message over to the broker's connection; see [`confirmed`]. It is not sent if the
    /// answer is dropped before.
    ///
    /// # Errors
    /// When it is not taken now.
    pub fn offer(
        &self,
        topic: Topic,
        payload: Bytes,
        headers: Vec<(String, String)>,
    ) -> Result<Answer, NotCarried> {
        if !self.status.borrow().connected {
            return Err(NotCarried::NotConnected);
        }
        if payload.len() > PAYLOAD_MAX {
            let bound = format!("it is larger than {PAYLOAD_MAX} bytes");
            return Err(NotCarried::Refused(bound));
        }
        let room = Arc::clone(&self.room).try_acquire_many_owned(permits(&payload));
        let room = room.map_err(|_| NotCarried::Busy)?;
        let (confirm, answer) = oneshot::channel();
        let outgoing = Outgoing {
            topic,
            payload,
            headers,
            confirm,
            _room: room,
        };
        self.outgoing
            .try_send(outgoing)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => NotCarried::Busy,
                mpsc::error::TrySendError::Closed(_) => NotCarried::NotConnected,
            })?;
        Ok(answer)
    }

    /// Has the messages of a topic delivered from some time soon on.
    pub fn subscribe(&self, topic: Topic) {
        self.wanted.change(topic, true);
    }

    /// Has them delivered no longer.
    pub fn unsubscribe(&self, topic: &Topic) {
        self.wanted.change(topic.clone(), false);
    }

    /// Whether the messages of a topic are wanted.
    pub fn is_subscribed(&self, topic: &Topic) -> bool {
        self.wanted.contains(topic)
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

impl Incoming {
    /// Passes a message on. One that finds the queue full is dropped and counted: a broker must not
    /// be slowed down by a gateway.
    pub fn pass_on(&self, received: Received) {
        // What others publish must not take the place of what the gateways send one another.
        let foreign = matches!(received.topic, Topic::Foreign(_));
        let little = self.queue.capacity() < INCOMING_MAX / 4
            || self.room.available_permits() < QUEUED_BYTES_MAX / 4;
        if foreign && little {
            self.count_dropped();
            return;
        }
        let room = Arc::clone(&self.room).try_acquire_many_owned(permits(&received.payload));
        let queued = |room| self.queue.try_send((received, clock::now(), room)).is_ok();
        match (room.is_ok_and(queued), foreign) {
            (true, _) => {}
            (false, true) => self.count_dropped(),
            (false, false) => self.count_missed(1),
        }
    }

    /// Counts messages of the gateways that were dropped: signals may have been among them.
    pub fn count_missed(&self, messages: u64) {
        self.missed.fetch_add(messages, Ordering::Relaxed);
        self.count_unread(messages);
    }

    /// Counts a message that was dropped, and was none of the gateways' signals, which are small.
    pub fn count_dropped(&self) {
        self.count_unread(1);
    }

    /// Counts messages that were dropped unread.
    pub fn count_unread(&self, messages: u64) {
        if messages > 0 {
            let add = |count: &mut u64| *count = count.saturating_add(messages);
            self.dropped.send_modify(add);
        }
    }

    /// Counts messages that cannot be read because they are compressed; true for the first.
    pub fn count_compressed(&self, messages: u64) -> bool {
        self.compressed.fetch_add(messages, Ordering::Relaxed) == 0
    }
}

impl ReceivedStream {
    /// The next message, and when it came; `None` when the driver has ended.
    pub async fn next_with_time(&mut self) -> Option<(Received, Instant)> {
        let (received, came, _room) = self.queue.recv().await?;
        Some((received, came))
    }

    /// The same without the time.
    pub async fn next(&mut self) -> Option<Received> {
        self.next_with_time().await.map(|(received, _)| received)
    }

    /// Messages so far among those that were dropped that may have been signals of gateways.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Messages that were dropped so far.
    pub fn dropped(&self) -> u64 {
        *self.dropped.borrow()
    }

    /// Messages so far that cannot be read because they are compressed.
    pub fn compressed(&self) -> u64 {
        self.compressed.load(Ordering::Relaxed)
    }
}

/// What a payload takes of the bytes that may wait.
fn permits(payload: &Bytes) -> u32 {
    u32::try_from(payload.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(topic: Topic, bytes: usize) -> Received {
        Received {
            topic,
            payload: vec![0; bytes].into(),
        }
    }

    /// What other services publish takes no place from the gateways, and does not make them deaf.
    #[test]
    fn i12_messages_of_others_that_are_dropped_are_no_missed_signals() {
        for bytes in [1, PAYLOAD_MAX] {
            let (_broker, stream, driver) = ends();
            let others = || received(Topic::Foreign("a".into()), bytes);
            while stream.dropped() == 0 {
                driver.incoming.pass_on(others());
            }
            driver.incoming.count_dropped();
            assert_eq!((stream.dropped(), stream.missed()), (2, 0));
            driver.incoming.pass_on(received(Topic::Fleet, PAYLOAD_MAX));
            assert_eq!(stream.dropped(), 2, "there is room for it");
            while stream.missed() == 0 {
                driver.incoming.pass_on(received(Topic::Fleet, bytes));
            }
            assert_eq!((stream.dropped(), stream.missed()), (3, 1));
        }
    }
}
