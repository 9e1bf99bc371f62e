//! One step of a hand-over: a message of the other process, and the reasons why it may not come.

use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::io::handover::{Message, Wire, WireError};

/// Limit on the wait for one message of the other process, while it has nothing else to do.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("the other process is gone")]
    Gone,
    #[error("the other process did not answer within {} s", .0.as_secs())]
    Silent(Duration),
    #[error("unexpected message of the other process: {0}")]
    Unexpected(String),
    #[error("this process is stopping")]
    Stopped,
}

/// The next message, within `limit`, unless this process is stopped.
pub(super) async fn receive<T: DeserializeOwned>(
    wire: &mut Wire,
    limit: Duration,
    stop: &mut watch::Receiver<bool>,
) -> Result<Message<T>, StepError> {
    tokio::select! {
        received = tokio::time::timeout(limit, wire.receive()) => {
            received.map_err(|_| StepError::Silent(limit))??.ok_or(StepError::Gone)
        }
        // A dropped sender means stop.
        _ = stop.wait_for(|stop| *stop) => Err(StepError::Stopped),
    }
}
