//! What comes from the broker: messages of other nodes and of other services, and signals.

use std::sync::Arc;

use crate::base::target::Target;
use crate::control::messages::counts::{ANSWER_MAX, none_here, sum};
use crate::control::messages::fleet::Fleet;
use crate::control::messages::{Messages, history};
use crate::core::messages::dedup::DedupResult;
use crate::core::messages::envelope::{Content, Envelope};
use crate::core::messages::signal::Signal;
use crate::core::messages::topic::Topic;
use crate::io::broker::{Received, ReceivedStream};
use crate::live::Delivery;

impl Messages {
    /// Delivers what comes from the broker, in the order in which it comes.
    pub(super) async fn receive(self: Arc<Self>, mut received: ReceivedStream) {
        let (mut dropped, mut compressed) = (0, 0);
        while let Some(message) = received.next().await {
            self.set_taking(true);
            let outcome = self.take(&message).await;
            self.set_taking(false);
            self.metrics.broker("received", outcome);
            let now = received.dropped();
            let more = now - std::mem::replace(&mut dropped, now);
            self.metrics.lost("dropped", more);
            let now = received.compressed();
            let unread = now - std::mem::replace(&mut compressed, now);
            self.metrics.lost("compressed", unread);
            if let Some(fleet) = self.fleet.as_ref().filter(|_| more > 0) {
                fleet.set_missed();
            }
        }
    }

    fn set_taking(&self, taking: bool) {
        if let Some(fleet) = &self.fleet {
            fleet.set_taking(taking);
        }
    }

    /// Delivers a message of the broker. Returns what became of it.
    async fn take(self: &Arc<Self>, message: &Received) -> &'static str {
        if let Topic::Foreign(name) = &message.topic {
            let delivery = Delivery::of_broker(name, &message.payload);
            drop(history::queue(&self.live, Arc::new(delivery)).await);
            return "delivered";
        }
        let Envelope { from, content } = match Envelope::decode(&message.payload) {
            Ok(envelope) => envelope,
            Err(error) => {
                tracing::debug!(topic = %message.topic, %error, "not a message of a gateway");
                return "malformed";
            }
        };
        let Some(fleet) = self.fleet.as_ref().filter(|fleet| from != *fleet.process()) else {
            return "own";
        };
        fleet.heard(&from);
        let (publication, ask) = match content {
            Content::Message { publication, ask } => (publication, ask),
            Content::Signal(signal) => {
                self.take_signal(fleet, from, signal);
                return "signal";
            }
        };
        let ask = ask.filter(|ask| fleet.counts_first(&from, *ask));
        let id = publication.id.as_ref();
        if id.is_some_and(|id| self.note(id, true) != DedupResult::New) {
            if let Some(ask) = ask {
                fleet.answer(from, ask, async { none_here() });
            }
            return "duplicate";
        }
        // The order is that of the queue; the workers count what becomes of it.
        let queued = self.queue(publication).await;
        if let Some(ask) = ask {
            fleet.answer(from, ask, async { sum(queued.answers(ANSWER_MAX).await) });
        }
        "delivered"
    }

    fn take_signal(self: &Arc<Self>, fleet: &Arc<Fleet>, from: Arc<str>, signal: Signal) {
        match signal {
            Signal::Alive { name } => fleet.hear(&from, &name),
            Signal::Hello { name } => {
                fleet.hear(&from, &name);
                fleet.greet(from);
            }
            Signal::Goodbye => fleet.leave(&from),
            Signal::Census { ask, to } => {
                let gets = |target: &Target| fleet.broker().is_subscribed(&Topic::of(target));
                if !to.iter().any(gets) && fleet.counts_first(&from, ask) {
                    fleet.answer(from, ask, async { none_here() });
                }
            }
            Signal::Watch { groups, again } => self.presence.watched(from, groups, again),
            Signal::Roster(part) => self.presence.came(from, part),
            Signal::Question { ask, question } => {
                let hub = Arc::clone(self);
                fleet.answer(from, ask, async move { hub.answer(question).await });
            }
            Signal::Answer { ask, answer } => fleet.answered(ask, &from, answer),
        }
    }
}
