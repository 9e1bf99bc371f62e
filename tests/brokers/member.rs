//! One gateway's end of a broker, and waiting for what it sees.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sessile::config::snapshot;
use sessile::core::messages::topic::Topic;
use sessile::io::broker::{Broker, NotCarried, ReceivedStream, open};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long anything may take; long, because machines are shared.
pub const DEADLINE: Duration = Duration::from_secs(120);
const MARKER: &str = "marker";

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A gateway as the broker sees it.
pub struct Member {
    pub broker: Broker,
    pub received: ReceivedStream,
    driver: JoinHandle<()>,
}

impl Member {
    /// Starts a driver.
    pub fn open(settings: &snapshot::Broker) -> Self {
        let (broker, received, driver) = open(settings, "node-1".into());
        Self {
            broker,
            received,
            driver: tokio::spawn(driver),
        }
    }

    /// Starts a driver and waits until it is connected.
    pub async fn connected(settings: &snapshot::Broker) -> Self {
        let member = Self::open(settings);
        member.wait_for(true).await;
        member
    }

    /// Waits until it is connected, or not.
    pub async fn wait_for(&self, connected: bool) {
        let mut status = self.broker.watch_status();
        let waited = timeout(DEADLINE, status.wait_for(|one| one.connected == connected)).await;
        waited
            .unwrap_or_else(|_| panic!("not {connected}: {:?}", self.broker.status()))
            .expect("the driver runs");
    }

    pub async fn publish(
        &self,
        topic: &Topic,
        payload: impl Into<Bytes>,
    ) -> Result<(), NotCarried> {
        let topic = topic.clone();
        self.broker.publish(topic, payload.into(), Vec::new()).await
    }

    /// The next message that is no marker.
    pub async fn next(&mut self) -> (Topic, Bytes) {
        loop {
            let next = timeout(DEADLINE, self.received.next()).await;
            let next = next.expect("a message in time").expect("the driver runs");
            if next.payload != MARKER {
                return (next.topic, next.payload);
            }
        }
    }

    /// Waits until what `self` publishes under the topic arrives at `other`, its subscriber.
    pub async fn reaches(&self, other: &mut Self, topic: &Topic) {
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < DEADLINE, "nothing arrives under {topic}");
            self.publish(topic, MARKER).await.ok();
            let next = timeout(Duration::from_millis(50), other.received.next()).await;
            if let Ok(next) = next {
                let next = next.expect("the driver runs");
                assert_eq!(next.payload, MARKER, "under {}", next.topic);
                // Several may have been under way for the topic before.
                if next.topic == *topic {
                    return;
                }
            }
        }
    }

    /// Drops the broker, with which its driver ends.
    pub async fn close(self) {
        let Self {
            broker,
            mut received,
            driver,
        } = self;
        drop(broker);
        timeout(DEADLINE, driver)
            .await
            .expect("the driver ends")
            .expect("it does not panic");
        while received.next().await.is_some() {}
    }
}
