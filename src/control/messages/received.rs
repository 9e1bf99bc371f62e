//! What comes from the broker: messages of other nodes and of other services, and signals.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

use crate::base::group::GroupName;
use crate::base::target::Target;
use crate::control::messages::counts::{ANSWER_MAX, added, none_here};
use crate::control::messages::fleet::Fleet;
use crate::control::messages::{Messages, history, may_come_again};
use crate::core::messages::dedup::DedupResult;
use crate::core::messages::delivery::DeliveryCounts;
use crate::core::messages::envelope::{Content, Envelope};
use crate::core::messages::signal::{Answer, Signal};
use crate::core::messages::topic::Topic;
use crate::io::broker::{Received, ReceivedStream};
use crate::live::{Delivery, QueuedCommands};

impl Messages {
    /// Delivers what comes from the broker, in the order in which it comes.
    pub(super) async fn receive(self: Arc<Self>, mut received: ReceivedStream) {
        let (mut dropped, mut compressed, mut missed) = (0, 0, 0);
        while let Some((message, came)) = received.next_with_time().await {
            self.set_taking(true);
            let outcome = self.take(&message, came).await;
            self.set_taking(false);
            if let Some(outcome) = outcome {
                self.metrics.broker("received", outcome);
            }
            let now = received.dropped();
            let more = now - std::mem::replace(&mut dropped, now);
            self.metrics.lost("dropped", more);
            let now = received.compressed();
            let unread = now - std::mem::replace(&mut compressed, now);
            self.metrics.lost("compressed", unread);
            let before = std::mem::replace(&mut missed, received.missed());
            if let Some(fleet) = self.fleet.as_ref().filter(|_| missed > before) {
                fleet.set_missed();
            }
        }
    }

    fn set_taking(&self, taking: bool) {
        if let Some(fleet) = &self.fleet {
            fleet.set_taking(taking);
        }
    }

    /// Delivers a message of the broker that came at this time. Returns what became of it; `None`
    /// if the workers have it, which are asked.
    async fn take(self: &Arc<Self>, message: &Received, came: Instant) -> Option<&'static str> {
        // Those of a broker in this process come to no other.
        let came = self.fleet.as_ref().map(|_| came);
        if let Topic::Foreign(name) = &message.topic {
            let delivery = Delivery::of_broker(name, &message.payload).that_came(came);
            let room = self.room_of_workers().await;
            let queued = history::queue(&self.live, Arc::new(delivery)).await;
            self.follow_up(queued, room, Vec::new(), None);
            return None;
        }
        let Envelope { from, content } = match Envelope::decode(&message.payload) {
            Ok(envelope) => envelope,
            Err(error) => {
                tracing::debug!(topic = %message.topic, %error, "not a message of a gateway");
                return Some("malformed");
            }
        };
        let Some(fleet) = self.fleet.as_ref().filter(|fleet| from != *fleet.process()) else {
            return Some("own");
        };
        fleet.heard(&from);
        let (publication, ask) = match content {
            Content::Message { publication, ask } => (publication, ask),
            Content::Signal(signal) => {
                self.take_signal(fleet, from, signal);
                return Some("signal");
            }
        };
        let ask = ask.filter(|ask| fleet.counts_first(&from, *ask));
        let id = publication.id.as_ref();
        let id = id.filter(|_| may_come_again(&publication));
        if id.is_some_and(|id| self.note(id, true) != DedupResult::New) {
            if let Some(ask) = ask {
                fleet.answer(from, ask, async { none_here() });
            }
            return Some("duplicate");
        }
        let kept = self.history.as_ref().filter(|_| self.shared.is_none());
        let groups = kept.map_or_else(Vec::new, |history| history.kept_of(&publication));
        // The order is that of the queue; the workers count what becomes of it.
        let room = self.room_of_workers().await;
        let queued = self.queue(publication, came).await;
        self.follow_up(queued, room, groups, ask.map(|ask| (from, ask)));
        None
    }

    /// Waits until the workers' queues have room for a message: it is held until they answer.
    async fn room_of_workers(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.incoming).acquire_owned().await.ok()
    }

    /// Waits for the workers' answers about a message, counts it, and answers the node that asks.
    /// `groups` are those whose history has it.
    fn follow_up(
        self: &Arc<Self>,
        queued: QueuedCommands<DeliveryCounts>,
        room: Option<OwnedSemaphorePermit>,
        groups: Vec<GroupName>,
        asker: Option<(Arc<str>, u64)>,
    ) {
        let hub = Arc::clone(self);
        tokio::spawn(async move {
            let (counts, unanswered) = added(queued.answers(ANSWER_MAX).await);
            drop(room);
            let all = unanswered == 0;
            let outcome = if all { "delivered" } else { "dropped" };
            hub.metrics.broker("received", outcome);
            if let Some(history) = hub.history.as_ref().filter(|_| !all) {
                history.interrupt_of(&groups).await;
            }
            if let Some((fleet, (from, ask))) = hub.fleet.as_ref().zip(asker) {
                let answer = hub.counted(Answer::Counts { counts, unanswered });
                fleet.answer(from, ask, async { answer });
            }
        });
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
                    let none = self.counted(none_here());
                    fleet.answer(from, ask, async { none });
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
