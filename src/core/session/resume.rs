//! Sessions that change their backend: why, and what it cost.

use serde::{Deserialize, Serialize};

/// Why a session goes on with another backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResumeReason {
    /// Its connection ended without a close frame, or it answered no keepalive ping.
    BackendLost,
    /// The backend takes no sessions any more.
    Draining,
    /// Its affinity key has another home now.
    Rebalanced,
    /// It said so itself: a close frame 1001 or 1012.
    BackendGoingAway,
}

impl ResumeReason {
    /// As the next backend, records and metrics say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BackendLost => "backend_lost",
            Self::Draining => "draining",
            Self::Rebalanced => "rebalanced",
            Self::BackendGoingAway => "backend_going_away",
        }
    }
}

/// What a session's changes of backend came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moves {
    /// How often it went on with another backend.
    pub resumes: u32,
    /// Messages of the client's that the gateway dropped: begun towards a backend that was lost, or
    /// held for a next one that never came. What the system had taken for a backend that died is
    /// not among them; nobody knows whether it arrived.
    pub messages_lost: u64,
    /// Bytes dropped so, frame headers included.
    pub bytes_lost: u64,
}
