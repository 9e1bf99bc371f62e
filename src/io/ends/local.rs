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
use crate::io::ends::calling::{Called, Caller, Calling, Functions, SessionEnd};
use crate::io::ends::publishing::{Loss, Publishing};

/// Bytes that are read at once: the answers to them are bounded too.
const STEP: usize = 64 << 10;

/// An end without a socket.
#[derive(Debug, Default)]
pub struct LocalEnd {
    backend: LocalBackend,
    answers: Answers,
    messages: Messages,
    /// No further message is taken: the session goes to another process when the function has
    /// answered.
    paused: bool,
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
    Called(Calling),
}

/// It, for another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// Only where messages go to a function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caller: Option<Arc<Caller>>,
}

/// What ends need that are made of the state of another process.
pub struct EndServices<'a> {
    /// Where messages go that are published.
    pub outlet: &'a Arc<Outlet>,
    /// What calls functions.
    pub functions: &'a Arc<dyn Functions>,
}

impl LocalEnd {
    /// An end that publishes the messages of its client.
    pub fn publishing(sender: Arc<Sender>, outlet: Arc<Outlet>) -> Self {
        Self {
            messages: Messages::Published(Publishing::new(sender, outlet, None)),
            ..Self::default()
        }
    }

    /// An end that calls a function with the messages of its client, and with its end. The client
    /// gets what the function has answered already (`first`).
    pub fn calling(caller: Arc<Caller>, functions: Arc<dyn Functions>, first: Called) -> Self {
        let mut this = Self {
            messages: Messages::Called(Calling::new(caller, functions)),
            ..Self::default()
        };
        this.answer(first);
        this
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
            _ => None,
        }
    }

    /// Goes on where another process stopped, once that process does not own it any more
    /// (`set_packed`).
    pub fn from_state(state: LocalState, services: &EndServices<'_>) -> Self {
        let messages = match (state.sender, state.caller, state.refuses) {
            (Some(sender), ..) => {
                let outlet = Arc::clone(services.outlet);
                Messages::Published(Publishing::new(sender, outlet, state.waiting))
            }
            (None, Some(caller), _) => {
                Messages::Called(Calling::new(caller, Arc::clone(services.functions)))
            }
            (None, None, true) => Messages::Refused,
            (None, None, false) => Messages::Dropped,
        };
        let mut this = Self {
            backend: state.backend,
            answers: Answers::of(state.answers),
            messages,
            paused: false,
        };
        this.set_packed(true);
        this
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
            caller: match &self.messages {
                Messages::Called(calling) => Some(Arc::clone(calling.caller())),
                _ => None,
            },
        }
    }

    /// Whether messages go to a function.
    pub fn calls_function(&self) -> bool {
        matches!(self.messages, Messages::Called(_))
    }

    /// Whether a function has a message of the client, whose answer only this process gets.
    pub fn is_calling(&self) -> bool {
        matches!(&self.messages, Messages::Called(calling) if calling.is_busy())
    }

    /// Whether further messages of the client wait. They do while the session waits to be handed
    /// over; what the function has is answered.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
        if let Messages::Called(calling) = &mut self.messages {
            calling.set_paused(paused);
        }
    }

    /// The session has begun: its client has the 101.
    pub fn begin(&self) {
        if let Messages::Called(calling) = &self.messages {
            calling.begin();
        }
    }

    /// How the session ended, for a function.
    pub fn set_end(&mut self, end: SessionEnd) {
        if let Messages::Called(calling) = &mut self.messages {
            calling.set_end(end);
        }
    }

    /// Whether another process may have what waits here.
    pub fn set_packed(&mut self, packed: bool) {
        match &mut self.messages {
            Messages::Published(publishing) => publishing.set_packed(packed),
            Messages::Called(calling) => calling.set_packed(packed),
            Messages::Dropped | Messages::Refused => {}
        }
    }

    /// Waits for the message that is under way. Closes the session if it is lost, unless the route
    /// drops such messages; answers the client if a function does.
    fn poll_under_way(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.messages {
            Messages::Published(publishing) => {
                if let Err(loss) = ready!(publishing.poll(cx)) {
                    self.close(loss.close());
                }
            }
            // It has nothing more for the client.
            Messages::Called(calling) if self.backend.closed() && !calling.is_busy() => {}
            Messages::Called(calling) => {
                let called = ready!(calling.poll(cx));
                self.answer(called);
            }
            Messages::Dropped | Messages::Refused => {}
        }
        Poll::Ready(())
    }

    fn answer(&mut self, called: Called) {
        if self.backend.closed() {
            return;
        }
        self.answers.waiting.extend(called.frames);
        self.answers.wake(false);
        if let Some((code, reason)) = called.close {
            self.close((code, &reason));
        }
    }

    fn close(&mut self, (code, reason): (u16, &str)) {
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
            Messages::Called(_) if closed => Ok(()),
            Messages::Called(_) if !message.is_readable() => Err(Loss::NotText),
            Messages::Called(calling) => {
                calling.take(message);
                Ok(())
            }
        };
        if let Err(loss) = taken {
            self.close(loss.close());
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
        let _ = self.poll_under_way(cx);
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
        while !rest.is_empty()
            && !this.paused
            && this.poll_under_way(cx).is_ready()
            && this.answers.poll_room(cx).is_ready()
        {
            let read = this.backend.read(&mut rest, &mut this.answers.waiting);
            let read = read.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if let Some(message) = read {
                this.take(message);
            }
        }
        // Offers the last one, and has its outcome wake the relay.
        let _ = this.poll_under_way(cx);
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
