//! Why an event of a session got no answer.

use http::StatusCode;

use crate::base::names::FunctionName;
use crate::core::messages::index::JoinError;
use crate::io::client::ClientError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The file has no such function any more.
    #[error("there is no function `{0}`")]
    NoFunction(FunctionName),
    /// No function takes this event.
    #[error("no route of the function takes this event")]
    NoRoute,
    /// It has as many events as it may have.
    #[error("the function has too many events")]
    Busy,
    /// It was not asked, or has not answered.
    #[error("the function does not answer")]
    Client(#[from] ClientError),
    /// Its answer is that of a function that has failed.
    #[error("the function failed with status {0}")]
    Failed(StatusCode),
    /// Its answer has no meaning.
    #[error("the function's answer is none of its dialect")]
    Malformed,
    /// It does not let this gateway send events (`WebHook-Allowed-Origin`).
    #[error("the function does not allow events of `{0}`: set `origin`, or allow it there")]
    NotAllowed(String),
    /// The session cannot be a member of a group that its answer names.
    #[error("the function's answer names a group that the session cannot join: {0}")]
    NotJoined(JoinError),
    /// The worker that has the session did not answer in time.
    #[error("the gateway is too busy to change the groups of the session")]
    Overloaded,
}

impl CallError {
    /// The label in metrics.
    pub(super) const fn outcome(&self) -> &'static str {
        match self {
            Self::NoFunction(_) | Self::NoRoute => "no_route",
            Self::Busy => "busy",
            Self::Client(ClientError::TimedOut(_)) => "timed_out",
            Self::Client(_)
            | Self::Failed(_)
            | Self::Malformed
            | Self::NotAllowed(_)
            | Self::NotJoined(_)
            | Self::Overloaded => "failed",
        }
    }
}
