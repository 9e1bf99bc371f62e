//! What workers and control plane tell each other while sessions go from process to process.

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::SystemTime;

use crate::base::session_id::SessionId;

/// A session between two processes: its state, which only workers read, and its
/// sockets.
pub struct Parcel {
    /// Which.
    pub id: SessionId,
    /// Of the version that the hand-over's messages name.
    pub state: Vec<u8>,
    /// The client's socket; a handle of its own.
    pub client: OwnedFd,
    /// The backend's, likewise; none between two backends.
    pub backend: Option<OwnedFd>,
}

impl fmt::Debug for Parcel {
    /// Without the state: it holds bytes of the session (I11).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parcel")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Sessions that a worker holds for another process to take.
#[derive(Debug, Default)]
pub struct Packed {
    /// In the order of their ids.
    pub parcels: Vec<Parcel>,
    /// Where to go on; `None` when every session has been looked at.
    pub next: Option<SessionId>,
    /// Sessions that cannot go, now or ever, out of those that were looked at.
    pub staying: usize,
    /// Connections that may still become sessions.
    pub coming: usize,
}

/// What a worker made of parcels.
#[derive(Debug, Default)]
pub struct Adopted {
    /// Sessions that wait for the word to begin.
    pub ready: Vec<SessionId>,
    /// Those of which no session could be made, and why.
    pub refused: Vec<(SessionId, String)>,
}

/// What came from the process before this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenOver {
    /// Sessions.
    pub sessions: usize,
    /// Of that process.
    pub from_pid: u32,
    /// When it was all here, or when the last of it came.
    pub at: SystemTime,
}
