//! The messages of one client as events for a function: one after the other.

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
use crate::core::relay::ClientMessage;

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
}

/// How a session ended, for its last event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    /// The close code.
    pub code: u16,
    /// Why.
    pub reason: &'static str,
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Called {
    /// The function has it.
    Done,
    /// The client gets this.
    Reply(Message),
    /// The session is closed with this code and reason.
    Close(u16, &'static str),
}

/// What calls functions for the sessions of one worker.
pub trait Functions: fmt::Debug + Send + Sync {
    /// The event of a session that has begun; nothing waits for its outcome.
    fn begin(&self, caller: &Arc<Caller>);

    /// Begins the event of a message. It goes on if the result is dropped.
    fn message(&self, caller: &Arc<Caller>, message: ClientMessage) -> JoinHandle<Called>;

    /// The last event of a session; nothing waits for its outcome.
    fn disconnect(&self, caller: &Arc<Caller>, end: SessionEnd);
}

/// What calls the function for one client.
#[derive(Debug)]
pub(super) struct Calling {
    caller: Arc<Caller>,
    functions: Arc<dyn Functions>,
    under_way: Option<JoinHandle<Called>>,
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
            end: SessionEnd {
                code: 1006,
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

    pub(super) fn set_end(&mut self, end: SessionEnd) {
        self.end = end;
    }

    /// Begins to call. No message may be under way.
    pub(super) fn take(&mut self, message: ClientMessage) {
        self.under_way = Some(self.functions.message(&self.caller, message));
    }

    /// Ready when no message is under way any more.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Called> {
        let Some(call) = &mut self.under_way else {
            return Poll::Ready(Called::Done);
        };
        let called = ready!(Pin::new(call).poll(cx));
        self.under_way = None;
        // The task ends early with its runtime only, or by a panic.
        Poll::Ready(called.unwrap_or(Called::Close(1011, "the call of the function ended")))
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
