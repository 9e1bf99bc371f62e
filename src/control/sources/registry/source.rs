//! A registry of services as a source.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use crate::base::source_id::SourceId;
use crate::control::sources::registry::state::RegistryState;
use crate::control::sources::source::{Source, Work};
use crate::control::sources::status::{ServiceStatuses, SourceStatus};

/// How long a start waits for a registry if there is a last known good state.
const START_KNOWN: Duration = Duration::from_millis(500);

/// A registry that is followed.
pub struct RegistrySource {
    id: SourceId,
    state: Arc<RegistryState>,
    /// Until it is run.
    follow: Mutex<Option<Work<()>>>,
    /// What is to do before the gateway ends.
    leave: Mutex<Option<Work<()>>>,
    /// How long a start waits for the first answers.
    patience: Duration,
}

impl fmt::Debug for RegistrySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RegistrySource").field(&self.id).finish()
    }
}

impl RegistrySource {
    /// `follow` never ends. A start waits for `answer`, or less if something of the last run is in
    /// force.
    pub fn new(
        id: SourceId,
        state: Arc<RegistryState>,
        follow: impl Future<Output = ()> + Send + 'static,
        answer: Duration,
    ) -> Self {
        let known = state.followed().status().revision > 0;
        Self {
            id,
            state,
            follow: Mutex::new(Some(Box::pin(follow))),
            leave: Mutex::new(None),
            patience: if known {
                START_KNOWN.min(answer)
            } else {
                answer
            },
        }
    }

    /// With this to do before the gateway ends.
    #[must_use]
    pub fn leaving(mut self, leave: impl Future<Output = ()> + Send + 'static) -> Self {
        self.leave = Mutex::new(Some(Box::pin(leave)));
        self
    }
}

/// Takes work that is done once.
fn once(work: &Mutex<Option<Work<()>>>) -> Work<()> {
    let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
    work.unwrap_or_else(|| Box::pin(std::future::ready(())))
}

impl Source for RegistrySource {
    fn id(&self) -> SourceId {
        self.id
    }

    fn status(&self) -> SourceStatus {
        SourceStatus::Followed(Box::new(self.state.followed().status()))
    }

    fn follow(self: Arc<Self>) -> Work<()> {
        once(&self.follow)
    }

    fn leave(&self) -> Work<()> {
        once(&self.leave)
    }

    fn first_answer(&self) -> Work<bool> {
        let (state, patience) = (Arc::clone(&self.state), self.patience);
        Box::pin(
            async move { timeout(patience, state.followed().synced(usize::MAX)).await == Ok(true) },
        )
    }

    fn services(&self) -> Option<ServiceStatuses> {
        Some(self.state.statuses().clone())
    }

    fn accept(&self) -> Option<usize> {
        Some(self.state.followed().accept())
    }
}
