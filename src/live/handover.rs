//! The values that workers and the control plane exchange during a hand-over of sessions.

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::base::session_id::SessionId;
use crate::core::session::staying::Staying;

/// A session on its way to another process: its state, which only workers read, and its sockets.
pub struct SessionTransfer {
    /// The id of the session.
    pub id: SessionId,
    /// In the version of the format that the hand-over's messages name.
    /// Zeroised when dropped, since it holds bytes of the session.
    pub state: Zeroizing<Vec<u8>>,
    /// The client's end.
    pub client: EndTransfer,
    /// The backend's end; none while the session has no backend.
    pub backend: Option<EndTransfer>,
}

/// One end of a session that is transferred.
pub struct EndTransfer {
    /// A second handle to the socket.
    pub socket: OwnedFd,
    /// The state of its TLS connection, with its keys; zeroised when dropped.
    pub tls: Option<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for SessionTransfer {
    /// Without the state: it holds bytes of the session (I11).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionTransfer")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Sessions that a worker holds for another process to take.
#[derive(Debug, Default)]
pub struct TransferBatch {
    /// In the order of their ids.
    pub transfers: Vec<SessionTransfer>,
    /// The cursor of the next batch; `None` when every session has been examined.
    pub next: Option<SessionId>,
    /// Examined sessions that cannot be handed over, now or ever.
    pub staying: Staying,
    /// Connections that may still become sessions.
    pub coming: usize,
}

/// The outcome of rebuilding transferred sessions on a worker.
#[derive(Debug, Default)]
pub struct Adopted {
    /// Sessions that wait for the order to begin.
    pub ready: Vec<SessionId>,
    /// Transfers from which no session could be rebuilt, and why.
    pub refused: Vec<(SessionId, String)>,
}

/// A hand-over to another process, while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandingOver {
    /// Sessions that lived here when it began.
    pub total: usize,
    /// Process id of the next process, if the system tells it.
    pub to_pid: Option<u32>,
    /// When it began.
    pub since: SystemTime,
}

/// How far a take-over is, while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakingOver {
    /// Sessions that have arrived.
    pub sessions: usize,
    /// Process id of the previous process.
    pub from_pid: u32,
    /// When this process began to serve.
    pub since: SystemTime,
}

/// What was taken over from the previous process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenOver {
    /// Sessions.
    pub sessions: usize,
    /// Sessions that stayed with the previous process.
    pub staying: Staying,
    /// Process id of the previous process.
    pub from_pid: u32,
    /// When the take-over was complete, or when the last part of it arrived.
    pub at: SystemTime,
}
