//! The messages of one client as events for a function: one after the other.

use std::borrow::Cow;
use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::base::message::Message;
use crate::core::functions::connection::Connection;
use crate::core::functions::grip::{GripSession, ToClient};
use crate::core::relay::ClientMessage;
use crate::core::wire::frame::{Opcode, control_frame, data_frame};
use crate::io::ends::due::{After, Due, What};

/// Whose events they are.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caller {
    /// What all of them have in common.
    pub connection: Connection,
    /// What the function keeps with the session.
    #[serde(default)]
    kept: std::sync::Mutex<Kept>,
    /// Held while the function has an event of the session: it gets one after the other.
    #[serde(skip)]
    pub turn: Mutex<()>,
}

impl Caller {
    /// A session that begins.
    pub fn new(connection: Connection, kept: Kept) -> Self {
        Self {
            connection,
            kept: kept.into(),
            turn: Mutex::default(),
        }
    }

    /// What the function keeps with it. It must not be held over a wait.
    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a function keeps with a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kept {
    /// Who it is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The subprotocol that was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subprotocol: Option<String>,
    /// The session as the dialect of GRIP has it. A process that does not know this refuses the
    /// session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grip: Option<Box<GripSession>>,
}

/// How a session ended, for its last event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    /// The close code.
    pub code: u16,
    /// It ended by a close frame.
    pub by_frame: bool,
    /// The client ended it.
    pub by_client: bool,
    /// Why.
    pub reason: &'static str,
}

/// What the client gets of a function's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Called {
    /// Frames, in order.
    pub frames: Vec<u8>,
    /// Then the session is closed with this code and reason.
    pub close: Option<(u16, Cow<'static, str>)>,
}

impl Called {
    /// One message.
    pub fn reply(message: &Message) -> Self {
        let (opcode, payload) = match message {
            Message::Text(text) => (Opcode::Text, text.as_bytes()),
            Message::Binary(bytes) => (Opcode::Binary, &**bytes),
        };
        Self {
            frames: data_frame(opcode, payload, None),
            close: None,
        }
    }

    /// A frame behind the others.
    pub fn push(&mut self, frame: &ToClient) {
        let frame = match frame {
            ToClient::Text(text) => data_frame(Opcode::Text, text.as_bytes(), None),
            ToClient::Binary(bytes) => data_frame(Opcode::Binary, bytes, None),
            ToClient::Ping(bytes) => control_frame(Opcode::Ping, bytes, None),
            ToClient::Pong(bytes) => control_frame(Opcode::Pong, bytes, None),
        };
        self.frames.extend(frame);
    }

    /// The end of the session.
    pub fn close(code: u16, reason: &'static str) -> Self {
        Self {
            frames: Vec::new(),
            close: Some((code, reason.into())),
        }
    }
}

/// What calls functions for the sessions of one worker.
pub trait Functions: fmt::Debug + Send + Sync {
    /// The event of a session that has begun; nothing waits for its outcome.
    fn begin(&self, caller: &Arc<Caller>);

    /// Begins the event of a message; `None` where the function has asked to be asked. It goes on
    /// if the result is dropped.
    fn call(&self, caller: &Arc<Caller>, message: Option<ClientMessage>) -> JoinHandle<Called>;

    /// The last event of a session; nothing waits for its outcome.
    fn disconnect(&self, caller: &Arc<Caller>, end: SessionEnd);
}

/// What calls the function for one client.
#[derive(Debug)]
pub(super) struct Calling {
    caller: Arc<Caller>,
    functions: Arc<dyn Functions>,
    under_way: Option<JoinHandle<Called>>,
    /// What is due without a message, once `begun`.
    due: Option<Due>,
    begun: bool,
    /// The session waits to be handed over: the function is not asked.
    paused: bool,
    end: SessionEnd,
    /// Another process may have the session.
    packed: bool,
}

impl Calling {
    pub(super) fn new(caller: Arc<Caller>, functions: Arc<dyn Functions>) -> Self {
        Self {
            caller,
            functions,
            under_way: None,
            due: None,
            begun: false,
            paused: false,
            end: SessionEnd {
                code: 1006,
                by_frame: false,
                by_client: false,
                reason: "the session did not begin",
            },
            packed: false,
        }
    }

    pub(super) fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    pub(super) fn begin(&self) {
        self.functions.begin(&self.caller);
    }

    /// Whether the function has a message of this client.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }

    pub(super) fn set_packed(&mut self, packed: bool) {
        self.packed = packed;
    }

    pub(super) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    pub(super) fn set_end(&mut self, end: SessionEnd) {
        self.end = end;
    }

    /// Begins to call. No message may be under way. It is dropped if the function gets no further
    /// event.
    pub(super) fn take(&mut self, message: ClientMessage) {
        let kept = self.caller.kept();
        let over = kept.grip.as_ref().is_some_and(|session| session.is_over());
        drop(kept);
        if !over {
            self.under_way = Some(self.functions.call(&self.caller, Some(message)));
        }
    }

    /// Ready when no message is under way any more.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Called> {
        loop {
            if let Some(call) = &mut self.under_way {
                let called = ready!(Pin::new(call).poll(cx));
                self.under_way = None;
                // The task ends early with its runtime only, or by a panic.
                let called = called
                    .unwrap_or_else(|_| Called::close(1011, "the call of the function ended"));
                let sent = !called.frames.is_empty();
                self.set_due(After::Answer { sent });
                if called != Called::default() {
                    return Poll::Ready(called);
                }
            }
            match self.poll_due(cx) {
                // Its timer wakes the task.
                Poll::Pending => return Poll::Ready(Called::default()),
                Poll::Ready(Some(frame)) => return Poll::Ready(frame),
                Poll::Ready(None) => {}
            }
        }
    }

    /// Ready when something was due: a frame for the client, or a call that is under way now.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Option<Called>> {
        if !self.begun {
            self.begun = true;
            self.set_due(After::Begin);
        }
        let what = loop {
            let Some(due) = &mut self.due else {
                return Poll::Pending;
            };
            match ready!(due.poll(cx)) {
                // The session could not go before the answer.
                What::Ask if self.paused => self.due = due.put_off(),
                what => break what,
            }
        };
        if what == What::Ask {
            self.under_way = Some(self.functions.call(&self.caller, None));
            return Poll::Ready(None);
        }
        let mut kept = self.caller.kept();
        let frame = kept.grip.as_mut().and_then(|session| match what {
            What::Delayed => session.take_delayed(),
            What::KeepAlive | What::Ask => session.keep_alive(),
        });
        drop(kept);
        self.set_due(After::Frame);
        let mut called = Called::default();
        frame.iter().for_each(|frame| called.push(frame));
        Poll::Ready(Some(called))
    }

    /// When what is due, after this.
    fn set_due(&mut self, after: After) {
        let kept = self.caller.kept();
        let waits = kept.grip.as_ref().map(|session| session.waits());
        self.due = Due::next(self.due.as_ref(), waits.unwrap_or_default(), after);
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        if !self.packed {
            self.functions.disconnect(&self.caller, self.end);
        }
    }
}

#[cfg(test)]
mod tests;
