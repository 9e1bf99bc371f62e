//! Messages of clients on their way to the broker, for routes without a backend.

mod sender;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::Counter;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::core::messages::topic::Topic;
use crate::io::broker::{Broker, NotCarried, PUBLISH_MAX, confirmed};

pub use crate::io::broker::outlet::sender::{ClientPayload, Sender, TooLarge};

/// Whether the broker has a message; the task goes on when this is dropped.
pub type Confirmation = JoinHandle<Result<(), NotCarried>>;

/// What takes messages of clients: the broker, and counts of what became of them.
pub struct Outlet {
    opened: OnceLock<Opened>,
    carried: Counter,
    not_carried: Counter,
    /// Messages that the broker has neither confirmed nor refused.
    unconfirmed: watch::Sender<usize>,
}

struct Opened {
    broker: Broker,
    /// Outlives the workers, whose sessions may be gone before the broker confirms.
    runtime: Handle,
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").finish_non_exhaustive()
    }
}

impl Outlet {
    /// An outlet without a broker, that counts messages that the broker has, and others.
    pub fn new([carried, not_carried]: [Counter; 2]) -> Self {
        Self {
            opened: OnceLock::new(),
            carried,
            not_carried,
            unconfirmed: watch::Sender::new(0),
        }
    }

    /// Messages go to this broker from now on. The present runtime waits for confirmations.
    pub fn open(&self, broker: Broker) {
        let runtime = Handle::current();
        // It is opened once.
        let _ = self.opened.set(Opened { broker, runtime });
    }

    /// Hands a message over to the broker; it is sent at most once. The outcome is counted, whether
    /// it is awaited or not.
    ///
    /// # Errors
    /// When the broker does not take it now. This is not counted: it may be offered again.
    pub fn offer(
        self: &Arc<Self>,
        sender: &Sender,
        message: &ClientPayload,
    ) -> Result<Confirmation, NotCarried> {
        let opened = self.opened.get().ok_or(NotCarried::NotConnected)?;
        let topic = Topic::Foreign(Arc::clone(&sender.name));
        let headers = message.headers.clone();
        let answer = opened
            .broker
            .offer(topic, message.payload.clone(), headers)?;
        self.unconfirmed.send_modify(|count| *count += 1);
        let this = Arc::clone(self);
        Ok(opened.runtime.spawn(async move {
            let outcome = confirmed(answer).await;
            match &outcome {
                Ok(()) => this.carried.increment(1),
                Err(_) => this.note_lost(),
            }
            this.unconfirmed.send_modify(|count| *count -= 1);
            outcome
        }))
    }

    /// Counts a message that does not get to the broker.
    pub fn note_lost(&self) {
        self.not_carried.increment(1);
    }

    /// Waits until no message is on its way, for as long as a broker may take.
    pub async fn settled(&self) {
        let mut unconfirmed = self.unconfirmed.subscribe();
        let none = unconfirmed.wait_for(|count| *count == 0);
        // Those that are left are counted by nothing: the process ends.
        let _ = timeout(PUBLISH_MAX + Duration::from_secs(1), none).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::broker::outlet::sender::tests::sender;
    use crate::io::broker::{DriverEnd, ends};

    fn outlet() -> (Arc<Outlet>, DriverEnd) {
        let (broker, _received, end) = ends();
        let outlet = Outlet::new([Counter::noop(), Counter::noop()]);
        outlet.open(broker);
        (Arc::new(outlet), end)
    }

    #[tokio::test]
    async fn a_message_that_the_broker_may_have_is_not_offered_again() {
        let (outlet, mut end) = outlet();
        let sender = sender(false);
        let message = sender.encode(true, b"x".to_vec()).expect("it fits");
        let refused = outlet.offer(&sender, &message).expect_err("no connection");
        assert_eq!(refused, NotCarried::NotConnected);
        assert!(end.outgoing.try_recv().is_err(), "it is still the caller's");
        end.status.send_modify(|status| status.connected = true);
        let confirmation = outlet.offer(&sender, &message).expect("a connection");
        let outgoing = end.outgoing.recv().await.expect("a message");
        assert_eq!(outgoing.topic, Topic::Foreign("in.7".into()));
        outgoing
            .confirm
            .send(Err(NotCarried::Lost))
            .expect("it is awaited");
        assert_eq!(confirmation.await.expect("an end"), Err(NotCarried::Lost));
        assert!(end.outgoing.try_recv().is_err(), "nothing is sent again");
    }

    /// A session that ends or moves on does not take its message back.
    #[tokio::test]
    async fn the_process_waits_for_messages_whose_sessions_are_gone() {
        let (outlet, mut end) = outlet();
        end.status.send_modify(|status| status.connected = true);
        let sender = sender(false);
        let message = sender.encode(true, b"x".to_vec()).expect("it fits");
        drop(outlet.offer(&sender, &message).expect("a connection"));
        let waiting = Arc::clone(&outlet);
        let waiting = tokio::spawn(async move { waiting.settled().await });
        let outgoing = end.outgoing.recv().await.expect("a message");
        assert!(!waiting.is_finished());
        outgoing.confirm.send(Ok(())).expect("it is awaited");
        waiting.await.expect("all is settled");
        assert_eq!(*outlet.unconfirmed.borrow(), 0);
    }
}
