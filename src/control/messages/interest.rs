//! Subscribes to the topics of this node's sessions.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::base::clock;
use crate::control::messages::history::NodeHistory;
use crate::core::messages::topic::Topic;
use crate::io::broker::Broker;
use crate::live::{Interest, InterestChange};

/// Changes that are taken in one go.
const CHANGES_MAX: usize = 1000;
/// A topic without sessions stays subscribed for so long: its user may only be reconnecting.
const LINGER: Duration = Duration::from_secs(10);
/// Between two looks at topics that linger.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Keeps the subscriptions equal to what sessions are in.
/// Gaps of a group's history that follow from that are noted.
pub(super) async fn follow(
    interest: Arc<Interest>,
    broker: Broker,
    history: Option<Arc<NodeHistory>>,
) {
    let mut lingering = Lingering::default();
    loop {
        let changes = interest.take_changes(CHANGES_MAX);
        if changes.is_empty() {
            tokio::select! {
                () = interest.changed() => {}
                () = sleep(LOOK_EVERY), if !lingering.order.is_empty() => {}
            }
        }
        for InterestChange { topic, wanted } in changes {
            match wanted {
                true => {
                    lingering.until.remove(&topic);
                    broker.subscribe(topic);
                }
                false => lingering.add(topic),
            }
        }
        for topic in lingering.end(&broker) {
            if let (Topic::Group(group), Some(history)) = (&topic, &history) {
                history.interrupt(group).await;
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Topics without sessions that are still subscribed.
#[derive(Default)]
struct Lingering {
    order: VecDeque<(Instant, Topic)>,
    /// Until when each lingers. An entry of `order` with another time is out of date.
    until: HashMap<Topic, Instant>,
}

impl Lingering {
    fn add(&mut self, topic: Topic) {
        let until = clock::now() + LINGER;
        self.until.insert(topic.clone(), until);
        self.order.push_back((until, topic));
    }

    /// Ends the subscriptions whose time is over, and returns them.
    fn end(&mut self, broker: &Broker) -> Vec<Topic> {
        let now = clock::now();
        let mut ended = Vec::new();
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            let Some((until, topic)) = self.order.pop_front() else {
                break;
            };
            if self.until.get(&topic) == Some(&until) {
                self.until.remove(&topic);
                broker.unsubscribe(&topic);
                ended.push(topic);
            }
        }
        ended
    }
}
