//! The two sides of a session, and what a driver reports about a side's stream.

use serde::{Deserialize, Serialize};

/// One side of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The client.
    Client,
    /// The backend.
    Backend,
}

impl Side {
    /// Its name in the log and in the admin API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Backend => "backend",
        }
    }

    /// The side that it talks to.
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Backend,
            Self::Backend => Self::Client,
        }
    }
}

/// Bytes that were written to a stream and that the peer's system may not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendQueue {
    /// Bytes that the peer's system has not acknowledged.
    pub bytes: usize,
    /// Those of them that were sent. None are in flight to a system that lives and has no room: it
    /// acknowledges what it is sent, and is sent nothing more.
    pub in_flight: usize,
}
