//! The calls of one worker's sessions. Which form events have is the dialect's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::snapshot::Dialect;
use crate::core::relay::ClientMessage;
use crate::io::ends::{Called, Caller, End, Functions};
use crate::live::Live;
use crate::proxy::functions::connecting::{Connecting, Verdict};
use crate::proxy::functions::error::CallError;
use crate::proxy::functions::registry::FunctionRegistry;
use crate::proxy::functions::requests::Requests;
use crate::proxy::functions::{aws, cloudevents};
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
        let requests = &self.0.requests;
        let config = requests.config(&caller.function)?;
        match config.dialect {
            Dialect::Aws => aws::connect(requests, &config, caller, request).await,
            Dialect::Cloudevents => cloudevents::connect(requests, &config, caller, request).await,
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

    async fn message_event(&self, caller: &Caller, message: ClientMessage) -> Called {
        let requests = &self.0.requests;
        let Ok(config) = requests.config(&caller.function) else {
            return aws::no_function(caller);
        };
        match config.dialect {
            Dialect::Aws => aws::message(requests, &config, caller, message).await,
            Dialect::Cloudevents => cloudevents::message(requests, &config, caller, message).await,
        }
    }

    async fn begin_event(&self, caller: &Caller) -> Result<(), CallError> {
        let requests = &self.0.requests;
        let config = requests.config(&caller.function)?;
        match config.dialect {
            Dialect::Aws => Ok(()),
            Dialect::Cloudevents => cloudevents::connected(requests, &config, caller).await,
        }
    }

    async fn end_event(&self, caller: &Caller, end: End) -> Result<(), CallError> {
        let requests = &self.0.requests;
        let config = requests.config(&caller.function)?;
        match config.dialect {
            Dialect::Aws => aws::disconnect(requests, &config, caller, end).await,
            Dialect::Cloudevents => cloudevents::disconnected(requests, &config, caller, end).await,
        }
    }

    /// Counts a call as under way until the result is dropped.
    fn open(&self) -> Open {
        self.0.open.send_modify(|open| *open += 1);
        Open(Arc::clone(&self.0))
    }
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
        let (this, caller, open) = (self.clone(), Arc::clone(caller), self.open());
        drop(tokio::spawn(async move {
            let _turn = caller.turn.lock().await;
            note(&caller, this.begin_event(&caller).await);
            drop(open);
        }));
    }

    fn message(&self, caller: &Arc<Caller>, message: ClientMessage) -> JoinHandle<Called> {
        let (this, caller, open) = (self.clone(), Arc::clone(caller), self.open());
        tokio::spawn(async move {
            let _turn = caller.turn.lock().await;
            let called = this.message_event(&caller, message).await;
            drop(open);
            called
        })
    }

    fn disconnect(&self, caller: &Arc<Caller>, end: End) {
        // A session that is dropped with its worker has no runtime any more.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let (this, caller, open) = (self.clone(), Arc::clone(caller), self.open());
        drop(runtime.spawn(async move {
            let _turn = caller.turn.lock().await;
            note(&caller, this.end_event(&caller, end).await);
            drop(open);
        }));
    }
}

/// An event whose outcome changes nothing.
fn note(caller: &Caller, outcome: Result<(), CallError>) {
    if let Err(error) = outcome {
        let session = &caller.connection.id;
        tracing::debug!(%session, function = %caller.function, %error, "a function has not taken an event");
    }
}
