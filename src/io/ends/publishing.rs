//! The messages of one client on their way to the broker: one after the other.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::core::relay::ClientMessage;
use crate::io::broker::{ClientPayload, Confirmation, NotCarried, Outlet, Sender};

/// Between two attempts to hand a message over to a broker that takes none.
const PAUSE: Duration = Duration::from_millis(200);

/// What publishes the messages of a client.
#[derive(Debug)]
pub(super) struct Publishing {
    sender: Arc<Sender>,
    outlet: Arc<Outlet>,
    under_way: UnderWay,
    /// Another process may have the message that waits.
    packed: bool,
}

#[derive(Debug, Default)]
enum UnderWay {
    #[default]
    Nothing,
    /// The broker was not offered it yet, or takes none for now.
    Waiting {
        message: Box<ClientPayload>,
        until: Instant,
        again: Pin<Box<Sleep>>,
    },
    /// The broker may have it.
    Offered(Confirmation),
}

/// Why the session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// The broker has not confirmed a message.
    NotConfirmed,
    /// It refuses a message.
    Refused,
    /// With its sender, a message is larger than brokers take.
    TooLarge,
    /// A text message is not UTF-8.
    NotText,
    /// Clients of the route only listen.
    NotAllowed,
}

impl Loss {
    /// Code and reason for the client.
    pub(super) fn close(self) -> (u16, &'static str) {
        match self {
            Self::NotConfirmed => (1013, "the broker has not confirmed the message"),
            Self::Refused => (1011, "the broker refuses the message"),
            Self::TooLarge => (1009, "the message is too large for the broker"),
            Self::NotText => (1007, "a text message is not UTF-8"),
            Self::NotAllowed => (1008, "clients of this route only listen"),
        }
    }
}

impl Publishing {
    /// Begins with a message that waits, if there is one.
    pub(super) fn new(
        sender: Arc<Sender>,
        outlet: Arc<Outlet>,
        waiting: Option<ClientPayload>,
    ) -> Self {
        let mut this = Self {
            sender,
            outlet,
            under_way: UnderWay::Nothing,
            packed: false,
        };
        if let Some(message) = waiting {
            this.wait_with(message);
        }
        this
    }

    pub(super) fn sender(&self) -> &Arc<Sender> {
        &self.sender
    }

    /// The message that the broker was not offered.
    pub(super) fn waiting(&self) -> Option<&ClientPayload> {
        match &self.under_way {
            UnderWay::Waiting { message, .. } => Some(message),
            _ => None,
        }
    }

    pub(super) fn set_packed(&mut self, packed: bool) {
        self.packed = packed;
    }

    pub(super) fn note_lost(&self) {
        self.outlet.note_lost();
    }

    /// Begins to publish a message. None may be under way.
    ///
    /// # Errors
    /// When no broker would take it.
    pub(super) fn take(&mut self, message: ClientMessage) -> Result<(), Loss> {
        if !message.is_readable() {
            return Err(Loss::NotText);
        }
        let ClientMessage { is_text, payload } = message;
        let encoded = self.sender.encode(is_text, payload);
        self.wait_with(encoded.map_err(|_| Loss::TooLarge)?);
        Ok(())
    }

    fn wait_with(&mut self, message: ClientPayload) {
        self.under_way = UnderWay::Waiting {
            message: Box::new(message),
            until: Instant::now() + self.sender.wait,
            again: Box::pin(sleep(Duration::ZERO)),
        };
    }

    /// Ready when no message is under way any more.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Loss>> {
        loop {
            let outcome = match &mut self.under_way {
                UnderWay::Nothing => return Poll::Ready(Ok(())),
                UnderWay::Offered(confirmation) => {
                    let outcome = ready!(Pin::new(confirmation).poll(cx));
                    // The task ends only with its runtime.
                    outcome.unwrap_or(Err(NotCarried::Lost))
                }
                UnderWay::Waiting {
                    message,
                    until,
                    again,
                } => match self.outlet.offer(&self.sender, message) {
                    Ok(confirmation) => {
                        self.under_way = UnderWay::Offered(confirmation);
                        continue;
                    }
                    Err(NotCarried::NotConnected | NotCarried::Busy) if Instant::now() < *until => {
                        again.as_mut().reset(Instant::now() + PAUSE);
                        ready!(again.as_mut().poll(cx));
                        continue;
                    }
                    Err(not_carried) => {
                        self.outlet.note_lost();
                        Err(not_carried)
                    }
                },
            };
            self.under_way = UnderWay::Nothing;
            return Poll::Ready(self.judge(outcome));
        }
    }

    fn judge(&self, outcome: Result<(), NotCarried>) -> Result<(), Loss> {
        let Err(not_carried) = outcome else {
            return Ok(());
        };
        let sender = &self.sender;
        tracing::debug!(session = sender.session, route = sender.route, %not_carried, "a message is lost");
        match (sender.drops, not_carried) {
            (true, _) => Ok(()),
            (false, NotCarried::Refused(_)) => Err(Loss::Refused),
            (false, _) => Err(Loss::NotConfirmed),
        }
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        if self.waiting().is_some() && !self.packed {
            self.outlet.note_lost();
        }
    }
}
