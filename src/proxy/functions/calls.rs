//! The calls of one worker's sessions. Which form events have is the dialect's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::snapshot::{Dialect, Function};
use crate::core::relay::ClientMessage;
use crate::io::ends::{Called, Caller, Functions, SessionEnd};
use crate::live::Live;
use crate::proxy::functions::connecting::{Connecting, Verdict};
use crate::proxy::functions::error::CallError;
use crate::proxy::functions::registry::FunctionRegistry;
use crate::proxy::functions::requests::{Call, Requests};
use crate::proxy::functions::{aws, cloudevents, grip};
use crate::telemetry::metrics::Metrics;

/// What the worker's sessions call functions with.
#[derive(Clone)]
pub(crate) struct FunctionCalls(Arc<Inner>);

struct Inner {
    requests: Requests,
    /// Calls that are under way.
    open: watch::Sender<usize>,
}

impl fmt::Debug for FunctionCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionCalls").finish_non_exhaustive()
    }
}

impl FunctionCalls {
    pub(crate) fn new(
        live: Arc<Live>,
        registry: Arc<FunctionRegistry>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self(Arc::new(Inner {
            requests: Requests::new(live, registry, metrics),
            open: watch::Sender::new(0),
        }))
    }

    /// Asks whether a session may begin.
    ///
    /// # Errors
    /// When there is no answer.
    pub(crate) async fn connect(
        &self,
        caller: &Caller,
        request: Connecting<'_>,
    ) -> Result<Verdict, CallError> {
        let config = self.config(caller)?;
        let call = self.call_of(&config, caller);
        match config.dialect {
            Dialect::Aws => aws::connect(call, request).await,
            Dialect::Cloudevents => cloudevents::connect(call, request).await,
            Dialect::Grip => grip::connect(call, request).await,
        }
    }

    /// Waits until no call is under way, for `limit` at most.
    pub(crate) async fn settled(&self, limit: Duration) {
        let mut open = self.0.open.subscribe();
        let none = open.wait_for(|open| *open == 0);
        // What is left then ends with the process.
        let _ = timeout(limit, none).await;
    }

    /// Drops connections to functions that were replaced or removed.
    pub(crate) fn tidy(&self) {
        self.0.requests.tidy();
    }

    fn config(&self, caller: &Caller) -> Result<Arc<Function>, CallError> {
        self.0.requests.config(&caller.connection.function)
    }

    fn call_of<'c>(&'c self, config: &'c Arc<Function>, caller: &'c Caller) -> Call<'c> {
        Call {
            requests: &self.0.requests,
            config,
            caller,
        }
    }

    async fn message_event(&self, caller: &Caller, message: Option<ClientMessage>) -> Called {
        let id = aws::new_id();
        let is_asked = message.is_none();
        let config = self.config(caller);
        let dialect = config.as_ref().map(|config| config.dialect).ok();
        let outcome = match config {
            Ok(config) => {
                let call = self.call_of(&config, caller);
                message_of(call, message, &id).await
            }
            Err(error) => Err(error),
        };
        let error = match outcome {
            Ok(called) => return called,
            // It is asked again.
            Err(CallError::Busy) if is_asked => return Called::default(),
            Err(CallError::Busy) => return Called::close(1013, "the function is busy"),
            Err(error) => error,
        };
        note(caller, &error);
        let is_grip = caller.kept().grip.is_some();
        match dialect {
            Some(Dialect::Cloudevents | Dialect::Grip) => Called::close(1011, FAILED),
            // Its client does not know the texts of AWS.
            Some(Dialect::Aws) | None if is_grip => Called::close(1011, FAILED),
            Some(Dialect::Aws) | None => Called::reply(&aws::fault(&error, caller, &id)),
        }
    }

    /// Sends an event that the client does not wait for, behind those before it.
    fn spawn(&self, caller: &Arc<Caller>, event: Note) {
        // A session that is dropped with its worker has no runtime any more.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let (this, caller, open) = (self.clone(), Arc::clone(caller), self.open());
        drop(runtime.spawn(async move {
            let _turn = caller.turn.lock().await;
            let sent = this.send(&caller, event).await;
            sent.unwrap_or_else(|error| note(&caller, &error));
            drop(open);
        }));
    }

    async fn send(&self, caller: &Caller, event: Note) -> Result<(), CallError> {
        let config = self.config(caller)?;
        let call = self.call_of(&config, caller);
        match (config.dialect, event) {
            (Dialect::Aws, Note::End(end)) => aws::disconnect(call, end).await,
            (Dialect::Cloudevents, Note::End(end)) => cloudevents::disconnected(call, end).await,
            (Dialect::Grip, Note::End(end)) => grip::disconnected(call, end).await,
            (Dialect::Cloudevents, Note::Connected) => cloudevents::connected(call).await,
            (Dialect::Grip, Note::Detached) => grip::detached(call).await,
            // The function had another dialect when the event happened.
            (_, Note::Connected | Note::Detached) => Ok(()),
        }
    }

    /// A function that has detached itself from the session gets an event for that, once.
    fn note_detached(&self, caller: &Arc<Caller>) {
        let mut kept = caller.kept();
        let detached = kept.grip.as_mut().is_some_and(|one| one.take_detached());
        drop(kept);
        if detached {
            self.spawn(caller, Note::Detached);
        }
    }

    /// Counts a call as under way until the result is dropped.
    fn open(&self) -> Open {
        self.0.open.send_modify(|open| *open += 1);
        Open(Arc::clone(&self.0))
    }
}

/// The reason of a session whose function failed.
const FAILED: &str = "the function failed";

/// An event that the client does not wait for.
#[derive(Clone, Copy, Debug)]
enum Note {
    /// The session has begun.
    Connected,
    /// The function has detached itself.
    Detached,
    /// The session has ended.
    End(SessionEnd),
}

/// A call that is under way.
struct Open(Arc<Inner>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

impl Functions for FunctionCalls {
    fn begin(&self, caller: &Arc<Caller>) {
        let dialect = self.config(caller).map(|config| config.dialect);
        match dialect {
            // No other dialect has such an event.
            Ok(Dialect::Cloudevents) => self.spawn(caller, Note::Connected),
            _ => self.note_detached(caller),
        }
    }

    fn call(&self, caller: &Arc<Caller>, message: Option<ClientMessage>) -> JoinHandle<Called> {
        let (this, caller, open) = (self.clone(), Arc::clone(caller), self.open());
        tokio::spawn(async move {
            let _turn = caller.turn.lock().await;
            let called = this.message_event(&caller, message).await;
            this.note_detached(&caller);
            drop(open);
            called
        })
    }

    fn disconnect(&self, caller: &Arc<Caller>, end: SessionEnd) {
        self.spawn(caller, Note::End(end));
    }
}

/// What the client gets for its message; `id` is the request's.
async fn message_of(
    call: Call<'_>,
    message: Option<ClientMessage>,
    id: &str,
) -> Result<Called, CallError> {
    let reply = match (call.config.dialect, message) {
        (Dialect::Grip, message) => return grip::message(call, message).await,
        (Dialect::Aws, Some(message)) => aws::message(call, message, id).await?,
        (Dialect::Cloudevents, Some(message)) => cloudevents::message(call, message).await?,
        // The function was one of GRIP before.
        (_, None) => None,
    };
    Ok(reply.as_ref().map(Called::reply).unwrap_or_default())
}

/// An event that the function has not taken.
fn note(caller: &Caller, error: &CallError) {
    let (session, function) = (&caller.connection.id, &caller.connection.function);
    tracing::debug!(%session, %function, %error, "a function has not taken an event");
}
