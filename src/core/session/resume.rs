//! Sessions that change their backend: why, and what it cost.

use serde::{Deserialize, Serialize};

/// Why a session reconnects to another backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResumeReason {
    /// Its connection ended without a close frame, or it answered no keepalive ping.
    BackendLost,
    /// The backend takes no sessions any more.
    Draining,
    /// Its affinity key has another home now.
    Rebalanced,
    /// The backend sent a close frame 1001 or 1012.
    BackendGoingAway,
    /// An operator ordered it.
    Moved,
}

impl ResumeReason {
    /// Its name for the next backend, in records and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BackendLost => "backend_lost",
            Self::Draining => "draining",
            Self::Rebalanced => "rebalanced",
            Self::BackendGoingAway => "backend_going_away",
            Self::Moved => "moved",
        }
    }
}

/// What a session's changes of backend came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moves {
    /// How often it reconnected.
    pub resumes: u32,
    /// Messages of the client that the gateway dropped: partly sent to a lost backend, not
    /// completed when the backend was lost, or held when no backend took over. Data in socket
    /// buffers of a lost backend is not included, since its delivery is unknown.
    pub messages_lost: u64,
    /// Bytes dropped so, frame headers included.
    pub bytes_lost: u64,
}
