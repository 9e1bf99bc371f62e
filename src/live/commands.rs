//! What a worker can be commanded to do, and the values that travel with commands.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use crate::base::message::Message;
use crate::base::names::{BackendId, RouteName, UpstreamName};
use crate::base::right::Right;
use crate::base::session_id::SessionId;
use crate::core::auth::Claims;
use crate::core::relay::Side;
use crate::core::routing::Route;
use crate::core::session::drain::Profile;
use crate::core::session::orders::{CloseOrder, LeaveOrder};
use crate::core::session::record::EndOrder;
use crate::live::handover::{Adopted, SessionTransfer, TransferBatch};
use crate::live::messages::MessageCommand;
use crate::live::query::SessionQuery;
use crate::live::rights::Rights;
use crate::live::slice::{Slice, Sliced};
use crate::live::tap::{TapAnswer, TapReporter};
use crate::live::views::{SessionBrief, SessionSample, SessionView, SortKey};

/// What a worker can be commanded to do. Commands that walk over its sessions look at one slice.
#[derive(Debug)]
pub enum WorkerCommand {
    /// The first `limit` sessions of the slice that `query` takes, in the order of their ids.
    Sessions {
        /// Which.
        query: SessionQuery,
        /// How many at most.
        limit: usize,
        /// The slice of the walk.
        slice: Slice,
        /// Receives the answer.
        answer: oneshot::Sender<Sliced<Vec<SessionView>>>,
    },
    /// What lists of sessions ask for.
    Look(LookCommand),
    /// What an operator orders of single sessions.
    Operate(OperatorCommand),
    /// Published messages, and groups.
    Messages(MessageCommand),
    /// Closes all sessions of the slice that `query` takes; answers how many. A session that is
    /// already closing is not closed again.
    Close {
        /// Which.
        query: SessionQuery,
        /// How.
        order: CloseOrder,
        /// For the records.
        given: Option<Arc<EndOrder>>,
        /// The slice of the walk.
        slice: Slice,
        /// Receives the answer.
        answer: oneshot::Sender<Sliced<usize>>,
    },
    /// Extends, or shortens, the right of sessions; answers of how many.
    Renew {
        /// Which.
        query: SessionQuery,
        /// What it is now.
        renewal: Renewal,
        /// The slice of the walk.
        slice: Slice,
        /// Receives the answer.
        answer: oneshot::Sender<Sliced<usize>>,
    },
    /// Ends the sessions of the slice whose right is revoked; answers how many.
    Revoke {
        /// These.
        slice: Slice,
        /// Receives the answer.
        answer: oneshot::Sender<Sliced<usize>>,
    },
    /// What plans need of all sessions of the slice that `query` takes, in the order of their ids.
    Briefs {
        /// Which.
        query: SessionQuery,
        /// The slice of the walk.
        slice: Slice,
        /// Receives the answer.
        answer: oneshot::Sender<Sliced<Vec<SessionBrief>>>,
    },
    /// Makes sessions leave their backend: those that may are moved to the one that their key is
    /// placed on now, the others are closed. Answers before any has moved.
    Leave {
        /// These; ids that the worker does not have are skipped.
        ids: Arc<[SessionId]>,
        /// How.
        order: LeaveOrder,
        /// Receives the answer.
        answer: oneshot::Sender<LeaveCounts>,
    },
    /// Adds the counters of the slice's sessions to the metrics.
    Gather {
        /// These.
        slice: Slice,
        /// Receives the answer on completion.
        answer: oneshot::Sender<Sliced<()>>,
    },
    /// Holds sessions that can go to another process: nothing moves in them until `Release`.
    /// Connections that are no sessions end with the answer to their request.
    Pack {
        /// Only those after this one.
        after: Option<SessionId>,
        /// So many at most.
        limit: usize,
        /// The newest version of a session's state that the other process reads.
        reads: u32,
        /// Receives the answer.
        answer: oneshot::Sender<TransferBatch>,
    },
    /// Nothing more is handed over: the worker goes on as before with the sessions of the slice,
    /// and keeps connections again behind the last slice.
    Resume {
        /// These.
        slice: Slice,
        /// Receives the answer.
        answer: oneshot::Sender<Sliced<()>>,
    },
    /// Lets go of held sessions that another process has taken, and goes on with all others that
    /// are held; answers how many went.
    Release {
        /// Those that it has.
        taken: Vec<SessionId>,
        /// Receives the answer.
        answer: oneshot::Sender<usize>,
    },
    /// Makes sessions of what another process gave.
    Adopt {
        /// Their states and sockets.
        transfers: Vec<SessionTransfer>,
        /// They begin when this is sent, and are dropped without a record if it is dropped.
        go: oneshot::Receiver<()>,
        /// Receives the answer, before they begin.
        answer: oneshot::Sender<Adopted>,
    },
    /// Closes everything with 1001, according to `profile`; answers when nothing is left, or when
    /// the time is over, how many sessions were cut.
    Shutdown {
        /// The time for all of it.
        grace: Duration,
        /// How sessions are spread over it.
        profile: Profile,
        /// Receives the answer.
        answer: oneshot::Sender<usize>,
    },
}

/// The right of a session, anew.
#[derive(Clone, Debug)]
pub enum Renewal {
    /// By a new credential of the same subject. Sessions of others stay as they are, and so
    /// do those that the route's conditions would not let it begin.
    Credential {
        /// What it gives.
        right: Right,
        /// What the conditions look at.
        claims: Arc<Claims>,
        /// Whose conditions; `None` if the route is gone.
        route: Option<Arc<Route>>,
    },
    /// By an operator; `None` is unlimited.
    Until(Option<SystemTime>),
}

/// What lists of sessions ask for.
#[derive(Debug)]
pub enum LookCommand {
    /// Numbers of all sessions of the slice that `query` takes.
    Samples {
        /// Which.
        query: Arc<SessionQuery>,
        /// Which number.
        sort: SortKey,
        /// The slice of the walk.
        slice: Slice,
        /// Receives the answer.
        answer: oneshot::Sender<Sliced<Vec<SessionSample>>>,
    },
    /// The rights of the sessions of the slice, by authenticator.
    Rights {
        /// Counts rights that end before this time, in milliseconds since 1970.
        until: u64,
        /// The slice of the walk.
        slice: Slice,
        /// Receives the answer.
        answer: oneshot::Sender<Sliced<Rights>>,
    },
    /// These sessions; ids that the worker does not have are skipped.
    Views {
        /// At most as many as a slice has.
        ids: Arc<[SessionId]>,
        /// Receives the answer.
        answer: oneshot::Sender<Vec<SessionView>>,
    },
}

/// What an operator orders of single sessions.
#[derive(Debug)]
pub enum OperatorCommand {
    /// Makes one session leave its backend for `to`, or for any other. A session that cannot move
    /// stays as it is.
    Move {
        /// Which.
        id: SessionId,
        /// The backend that is tried first.
        to: Option<BackendId>,
        /// How.
        order: LeaveOrder,
        /// Receives the answer; `None` if the worker has no such session.
        answer: oneshot::Sender<Option<MoveAnswer>>,
    },
    /// Sends a message of the gateway's own in all sessions of the slice that `query` takes.
    Send {
        /// Which.
        query: SessionQuery,
        /// What.
        message: Message,
        /// To which side.
        to: Side,
        /// The slice of the walk.
        slice: Slice,
        /// Receives the answer.
        answer: oneshot::Sender<Sliced<SendCounts>>,
    },
    /// Reports the frames of one session.
    Tap {
        /// Which.
        id: SessionId,
        /// Gets the frames.
        reporter: Box<TapReporter>,
        /// Bytes of payload to report.
        payload_max: Option<usize>,
        /// Receives the answer; `None` if the worker has no such session.
        answer: oneshot::Sender<Option<TapAnswer>>,
    },
}

/// What became of an order to move one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoveAnswer {
    /// It leaves this backend.
    Begun(BackendId),
    /// It moves already.
    Moving,
    /// It has no backend: the gateway itself is at its place.
    WithoutBackend,
    /// Its route does not reconnect.
    NotMovable(RouteName),
    /// Its client and its backend have agreed on extensions, one of which the gateway does not
    /// know.
    Extension(Box<str>),
    /// Its end has begun, or another process gets it.
    Ending,
    /// No other backend of its upstream takes a session now; or not the one that was asked for.
    NoBackend(UpstreamName),
}

/// What became of a message to many sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendCounts {
    /// It is queued and leaves at the next message boundary.
    pub delivered: usize,
    /// Earlier messages have not left yet, or the session is between two backends.
    pub busy: usize,
    /// The session ends, or another process gets it.
    pub gone: usize,
    /// An extension is in force that the gateway does not know.
    pub unfit: usize,
}

impl SendCounts {
    /// Of this and of other sessions.
    pub fn plus(self, other: Self) -> Self {
        Self {
            delivered: self.delivered + other.delivered,
            busy: self.busy + other.busy,
            gone: self.gone + other.gone,
            unfit: self.unfit + other.unfit,
        }
    }
}

/// What became of an order to leave. Sessions that are closing or moving already are in neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaveCounts {
    /// Begin to move. One that comes to no message boundary in time stays where it is and may be
    /// ordered again.
    pub moving: usize,
    /// Begin to close.
    pub closing: usize,
}
