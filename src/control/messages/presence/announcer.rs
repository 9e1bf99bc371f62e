//! Publishes joins and leaves at the broker, for services that follow it. Each gateway publishes
//! those of its own sessions, so that each is published once. Nothing is stored while the broker is
//! gone.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::base::clock;
use crate::base::group::GroupName;
use crate::core::messages::presence::Item;
use crate::core::messages::topic::Topic;
use crate::io::broker::{Answer, Broker, confirmed};
use crate::live::PresenceFeed;
use crate::telemetry::metrics::MessageMetrics;

/// Events that the broker has not confirmed. Further ones are dropped and counted (I8).
const WAITING_MAX: usize = 4096;
/// What metrics call them.
const DIRECTION: &str = "presence";

/// What publishes joins and leaves.
#[derive(Debug)]
pub(super) struct Announcer {
    broker: Broker,
    /// What the gateways' own names begin with.
    prefix: Arc<str>,
    node: Arc<str>,
    metrics: Arc<MessageMetrics>,
    /// In the order in which they were handed over.
    waiting: mpsc::Sender<Answer>,
    /// Reports of workers that were lost, as far as they are counted.
    losses: u64,
}

impl Announcer {
    /// Starts what counts the confirmations.
    pub(super) fn start(
        (broker, prefix): (Broker, Arc<str>),
        node: Arc<str>,
        metrics: Arc<MessageMetrics>,
        background: &mut JoinSet<()>,
    ) -> Self {
        let (waiting, answers) = mpsc::channel(WAITING_MAX);
        background.spawn(count(answers, Arc::clone(&metrics)));
        Self {
            broker,
            prefix,
            node,
            metrics,
            waiting,
            losses: 0,
        }
    }

    /// Publishes a change of a group, if its route to the broker is configured.
    pub(super) fn announce(&self, feed: &PresenceFeed, group: &GroupName, item: &Item) {
        let Some(name) = feed.published(group) else {
            return;
        };
        let Some(event) = self.event(group, item) else {
            return;
        };
        // Clients may choose the names of groups.
        let name = match name.fill(&self.prefix, |_| Some(group.as_str())) {
            Ok(name) => name,
            Err(fault) => {
                tracing::debug!(%group, %fault, "joins and leaves are not published");
                return self.metrics.broker(DIRECTION, "refused");
            }
        };
        let Ok(place) = self.waiting.try_reserve() else {
            return self.metrics.broker(DIRECTION, "dropped");
        };
        let payload = event.to_string().into();
        match self.broker.offer(Topic::Foreign(name), payload, Vec::new()) {
            Ok(answer) => place.send(answer),
            Err(_) => self.metrics.broker(DIRECTION, "not_carried"),
        }
    }

    /// So many reports of workers were lost so far; joins and leaves of any group.
    pub(super) fn note_losses(&mut self, losses: u64) {
        let before = std::mem::replace(&mut self.losses, losses);
        (before..losses).for_each(|_| self.metrics.broker(DIRECTION, "dropped"));
    }

    /// The event; `None` for an item that is no join or leave.
    fn event(&self, group: &GroupName, item: &Item) -> Option<serde_json::Value> {
        let mut event = match item {
            Item::Member(member) => {
                let mut event = json!({
                    "event": "join",
                    "session": member.id,
                    "route": member.route.as_str(),
                });
                if let Some(principal) = &member.principal {
                    event["principal"] = json!(**principal);
                }
                if let Some(metadata) = &member.metadata {
                    event["metadata"] = json!(metadata);
                }
                event
            }
            Item::Left { id, moved: false } => json!({ "event": "leave", "session": id }),
            // Another process of the gateway has it.
            Item::Left { moved: true, .. } | Item::More | Item::Whole => return None,
        };
        event["group"] = json!(group.as_str());
        event["node"] = json!(*self.node);
        event["time_ms"] = json!(clock::unix_millis(clock::wall()));
        Some(event)
    }
}

async fn count(mut answers: mpsc::Receiver<Answer>, metrics: Arc<MessageMetrics>) {
    while let Some(answer) = answers.recv().await {
        let outcome = match confirmed(answer).await {
            Ok(()) => "carried",
            Err(_) => "not_carried",
        };
        metrics.broker(DIRECTION, outcome);
    }
}
