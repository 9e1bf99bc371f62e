//! Subscribes to the topics of this node's sessions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::base::clock;
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
pub(super) async fn follow(interest: Arc<Interest>, broker: Broker) {
    let mut lingering = VecDeque::new();
    loop {
        let changes = interest.take_changes(CHANGES_MAX);
        if changes.is_empty() {
            tokio::select! {
                () = interest.changed() => {}
                () = sleep(LOOK_EVERY), if !lingering.is_empty() => {}
            }
        }
        for InterestChange { topic, wanted } in changes {
            match wanted {
                true => broker.subscribe(topic),
                false => lingering.push_back((clock::now() + LINGER, topic)),
            }
        }
        end_lingering(&mut lingering, &interest, &broker);
        tokio::task::yield_now().await;
    }
}

fn end_lingering(lingering: &mut VecDeque<(Instant, Topic)>, interest: &Interest, broker: &Broker) {
    let now = clock::now();
    while lingering.front().is_some_and(|(until, _)| *until <= now) {
        // A session may have come back to it, which has been subscribed all the time.
        if let Some((_, topic)) = lingering.pop_front()
            && !interest.has(&topic)
        {
            broker.unsubscribe(&topic);
        }
    }
}
