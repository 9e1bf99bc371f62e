//! What a worker can be commanded to do, and the values that travel with commands.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use crate::base::names::{BackendId, RouteName, UpstreamName};
use crate::base::right::Right;
use crate::base::session_id::SessionId;
use crate::base::traffic::Traffic;
use crate::core::auth::Claims;
use crate::core::routing::Route;
use crate::core::session::drain::Profile;
use crate::core::session::orders::{CloseOrder, LeaveOrder};
use crate::core::session::record::{EndOrder, Facts};
use crate::core::session::resume::Moves;
use crate::live::handover::{Adopted, SessionTransfer, TransferBatch};
use crate::live::slice::{Slice, Sliced};

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
        /// Whether the other process can continue sessions with TLS.
        tls: bool,
        /// Receives the answer.
        answer: oneshot::Sender<TransferBatch>,
    },
    /// Lets go of held sessions that another process has taken, and goes on with all others that
    /// are held; answers how many went.
    Release {
        /// Those that it has.
        taken: Vec<SessionId>,
        /// Whether nothing more is to be handed over: the worker goes on as before.
        resume: bool,
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

/// Which sessions; what is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct SessionQuery {
    /// Only this one.
    pub id: Option<SessionId>,
    /// Only those after this one.
    pub after: Option<SessionId>,
    /// By route.
    pub route: Option<String>,
    /// By upstream.
    pub upstream: Option<String>,
    /// By backend id.
    pub backend: Option<String>,
    /// By principal.
    pub principal: Option<String>,
}

impl SessionQuery {
    /// Whether the session with these facts is meant.
    pub fn takes(&self, facts: &Facts) -> bool {
        let same =
            |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        self.id.is_none_or(|id| id == facts.id)
            && self.after.is_none_or(|after| facts.id > after)
            && same(&self.route, &facts.route)
            && same(&self.upstream, &facts.upstream)
            && same(&self.backend, &facts.backend)
            && self
                .principal
                .as_deref()
                .is_none_or(|wanted| facts.principal.as_deref() == Some(wanted))
    }
}

/// What became of an order to leave. Sessions that are closing or moving already are in neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaveCounts {
    /// Begin to move. One that comes to no message boundary in time stays where it is and may be
    /// told again.
    pub moving: usize,
    /// Begin to close.
    pub closing: usize,
}

/// What plans need to know of a live session.
#[derive(Clone, Debug)]
pub struct SessionBrief {
    /// Its name.
    pub id: SessionId,
    /// The rule that took it.
    pub route: RouteName,
    /// The group that it belongs to.
    pub upstream: UpstreamName,
    /// The member that holds it.
    pub backend: BackendId,
    /// Since the 101.
    pub age: Duration,
    /// Since the last byte in either direction.
    pub idle: Duration,
    /// What its place hangs on; `None` where its route has no affinity.
    pub key: Option<Box<[u8]>>,
    /// It can go on with another backend.
    pub movable: bool,
    /// Its end has begun, or its move.
    pub busy: bool,
}

/// A live session as it is now.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// What it is.
    pub facts: Arc<Facts>,
    /// Which worker has it.
    pub worker: usize,
    /// Since the 101.
    pub age: Duration,
    /// Since the last byte in either direction; coarse, to a tenth of a second.
    pub idle: Duration,
    /// From the client.
    pub to_backend: Traffic,
    /// From the backend.
    pub to_client: Traffic,
    /// Its changes of backend.
    pub moves: Moves,
    /// A close frame has passed, or the end has come in another way.
    pub closing: bool,
}
