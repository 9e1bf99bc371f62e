//! The gateway itself as the backend's end of a session.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::core::relay::{ClientMessage, LocalBackend};
use crate::io::broker::{ClientPayload, Outlet, Sender};
use crate::io::ends::answers::Answers;
use crate::io::ends::publishing::{Loss, Publishing};

/// Bytes that are read at once: the answers to them are bounded too.
const STEP: usize = 64 << 10;

/// An end without a socket.
#[derive(Debug, Default)]
pub struct LocalEnd {
    backend: LocalBackend,
    answers: Answers,
    messages: Messages,
}

/// What becomes of messages of the client.
#[derive(Debug, Default)]
enum Messages {
    /// They are dropped: clients that take events send none.
    #[default]
    Dropped,
    /// They end the session.
    Refused,
    Published(Publishing),
}

/// It, for another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalState {
    backend: LocalBackend,
    #[serde(with = "crate::base::blob")]
    answers: Vec<u8>,
    /// Only where messages are published: a process that does not know this refuses the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sender: Option<Arc<Sender>>,
    /// Whether messages end the session.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    refuses: bool,
    /// A message that the broker was not offered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waiting: Option<ClientPayload>,
}

impl LocalEnd {
    /// An end that publishes the messages of its client.
    pub fn publishing(sender: Arc<Sender>, outlet: Arc<Outlet>) -> Self {
        Self {
            messages: Messages::Published(Publishing::new(sender, outlet, None)),
            ..Self::default()
        }
    }

    /// An end of a client that only listens.
    pub fn listening() -> Self {
        Self {
            messages: Messages::Refused,
            ..Self::default()
        }
    }

    fn publishes(&self) -> Option<&Publishing> {
        match &self.messages {
            Messages::Published(publishing) => Some(publishing),
            Messages::Dropped | Messages::Refused => None,
        }
    }

    /// Goes on where another process stopped.
    pub fn from_state(state: LocalState, outlet: &Arc<Outlet>) -> Self {
        let messages = match (state.sender, state.refuses) {
            (Some(sender), _) => {
                let outlet = Arc::clone(outlet);
                Messages::Published(Publishing::new(sender, outlet, state.waiting))
            }
            (None, true) => Messages::Refused,
            (None, false) => Messages::Dropped,
        };
        Self {
            backend: state.backend,
            answers: Answers::of(state.answers),
            messages,
        }
    }

    /// For another process. A message that the broker has not confirmed stays with this one.
    pub fn state(&self) -> LocalState {
        let publishing = self.publishes();
        LocalState {
            backend: self.backend.clone(),
            answers: self.answers.waiting.clone(),
            sender: publishing.map(|one| Arc::clone(one.sender())),
            refuses: matches!(self.messages, Messages::Refused),
            waiting: publishing.and_then(|one| one.waiting().cloned()),
        }
    }

    /// Whether another process may have what waits here.
    pub fn set_packed(&mut self, packed: bool) {
        if let Messages::Published(publishing) = &mut self.messages {
            publishing.set_packed(packed);
        }
    }

    /// Waits for the message that is under way; closes the session if it is lost, unless the route
    /// drops such messages.
    fn poll_published(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Messages::Published(publishing) = &mut self.messages else {
            return Poll::Ready(());
        };
        let outcome = publishing.poll(cx);
        if let Poll::Ready(Err(loss)) = outcome {
            self.close(loss);
        }
        outcome.map(drop)
    }

    fn close(&mut self, loss: Loss) {
        let (code, reason) = loss.close();
        self.backend.close(code, reason, &mut self.answers.waiting);
        self.answers.wake(true);
    }

    fn take(&mut self, message: ClientMessage) {
        let closed = self.backend.closed();
        let taken = match &mut self.messages {
            Messages::Dropped => Ok(()),
            Messages::Refused if closed => Ok(()),
            Messages::Refused => Err(Loss::NotAllowed),
            // What a client sends before it has read why the session ends.
            Messages::Published(publishing) if closed => {
                publishing.note_lost();
                Ok(())
            }
            Messages::Published(publishing) => publishing.take(message),
        };
        if let Err(loss) = taken {
            self.close(loss);
        }
    }
}

impl AsyncRead for LocalEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The outcome may close the session, which the relay reads here.
        let _ = self.poll_published(cx);
        let ended = self.backend.closed();
        self.answers.poll(cx, buffer, ended).map(Ok)
    }
}

impl AsyncWrite for LocalEnd {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.answers.poll_room(cx));
        let mut rest = &bytes[..bytes.len().min(STEP)];
        let offered = rest.len();
        // The client waits for its message: they stay in order, and only one is stored.
        while !rest.is_empty() && this.poll_published(cx).is_ready() {
            let read = this.backend.read(&mut rest, &mut this.answers.waiting);
            let read = read.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if let Some(message) = read {
                this.take(message);
            }
        }
        // Offers the last one, and has its outcome wake the relay.
        let _ = this.poll_published(cx);
        this.answers.wake(this.backend.closed());
        match offered - rest.len() {
            0 if offered > 0 => Poll::Pending,
            taken => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
