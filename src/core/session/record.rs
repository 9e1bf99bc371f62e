//! The one line that every session leaves behind (I6), and the words for how it ended.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::names::{BackendId, ListenerName, RouteName, UpstreamName};
use crate::base::right::Right;
use crate::base::session_id::SessionId;
use crate::base::traffic::{PublishedCounts, Traffic};
use crate::core::session::details::Details;
use crate::core::session::request::RequestFacts;
use crate::core::session::resume::Moves;

/// What is known of a session at its 101. Few fields ever change: `backend` and `details` when
/// the session moves, `right` when it is renewed, and `order` when one ends it.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its name.
    pub id: SessionId,
    /// Where the client came in.
    pub listener: ListenerName,
    /// The rule that took it.
    pub route: RouteName,
    /// The group that it went to.
    pub upstream: UpstreamName,
    /// The member that holds it.
    pub backend: BackendId,
    /// Who it belongs to, if the route authenticates.
    pub principal: Option<Arc<str>>,
    /// The right of that principal to the session, which renewal extends.
    pub right: Option<Arc<Right>>,
    /// The request that it began with.
    pub request: RequestFacts,
    /// The order that ended it, if one did.
    pub order: Option<Arc<EndOrder>>,
    /// How it was placed, and its moves. A hand-over transfers this apart from the facts.
    pub details: Arc<Details>,
}

const _: () = assert!(
    size_of::<Facts>() <= 176,
    "every live session has one; with the counts of an Arc it fits the allocator's class of 192"
);

impl Facts {
    /// What backends and other records call the request: the name that a trusted peer gave it, else
    /// the session's id.
    pub fn request_id(&self) -> Cow<'_, str> {
        match self.request.foreign_id() {
            Some(id) => Cow::Borrowed(id),
            None => Cow::Owned(self.id.to_string()),
        }
    }
}

/// An order that ended a session, as its record shows it. Fields of a later version are skipped
/// where it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndOrder {
    /// Why, in words.
    pub reason: Option<Arc<str>>,
    /// Who gave it: the subject of a client certificate, or how an operator without one came in.
    pub operator: Option<Arc<str>>,
    /// The revocation that took the session's right away.
    pub revocation: Option<Arc<str>>,
}

/// Who ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// It closed or left first.
    Client,
    /// It closed or left first.
    Backend,
    /// The gateway decided, maybe for a fault of one of them.
    Gateway,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A close frame began it: the ordinary way.
    CloseFrame,
    /// The connection's end without a close frame.
    Disconnected,
    /// The connection was reset.
    Reset,
    /// A frame of the client's that RFC 6455 forbids.
    ClientProtocolError,
    /// A frame of the backend's that RFC 6455 forbids.
    BackendProtocolError,
    /// A frame or message of the client's beyond the route's limits.
    TooBig,
    /// Its client sent more than `limits` allow, or faster.
    RateLimited,
    /// The credential that it came with has expired.
    Expired,
    /// Its right to be here was taken away.
    Revoked,
    /// Silent for longer than `timeouts.idle`.
    IdleTimeout,
    /// Older than `timeouts.lifetime`.
    LifetimeReached,
    /// An operator closed it.
    Kicked,
    /// Its route went away, with `on_removal = "close"`.
    RouteRemoved,
    /// The gateway was stopped.
    Shutdown,
    /// Its backend was drained.
    Drained,
    /// Its affinity key has another home.
    Rebalanced,
    /// It answered no keepalive ping.
    KeepaliveTimeout,
    /// Its client did not take published messages as fast as they came.
    SlowConsumer,
    /// Its backend went, and no other could go on with it.
    NotResumable,
    /// The gateway itself failed; a bug, worth a report.
    Aborted,
}

impl EndedBy {
    /// As records and metrics show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Backend => "backend",
            Self::Gateway => "gateway",
        }
    }
}

impl Cause {
    /// As records and metrics show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CloseFrame => "close_frame",
            Self::Disconnected => "disconnected",
            Self::Reset => "reset",
            Self::ClientProtocolError => "client_protocol_error",
            Self::BackendProtocolError => "backend_protocol_error",
            Self::TooBig => "too_big",
            Self::RateLimited => "rate_limited",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::IdleTimeout => "idle_timeout",
            Self::LifetimeReached => "lifetime_reached",
            Self::Kicked => "kicked",
            Self::RouteRemoved => "route_removed",
            Self::Shutdown => "shutdown",
            Self::Drained => "drained",
            Self::Rebalanced => "rebalanced",
            Self::KeepaliveTimeout => "keepalive_timeout",
            Self::SlowConsumer => "slow_consumer",
            Self::NotResumable => "not_resumable",
            Self::Aborted => "aborted",
        }
    }
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ending {
    /// Who was first.
    pub by: EndedBy,
    /// Why.
    pub cause: Cause,
    /// The first close frame's code, of either side; `None` if there was none or it had none.
    pub close_code: Option<u16>,
    /// Both sides sent a close frame, and every byte in flight arrived.
    pub clean: bool,
}

/// A session that ended.
#[derive(Clone, Debug)]
pub struct Record {
    /// What it was.
    pub facts: Arc<Facts>,
    /// From the 101 to the end.
    pub duration: Duration,
    /// What the client sent that went on to the backend.
    pub to_backend: Traffic,
    /// What the backend sent that went on to the client.
    pub to_client: Traffic,
    /// Messages that were published to the client.
    pub published: PublishedCounts,
    /// Its changes of backend.
    pub moves: Moves,
    /// How it ended.
    pub ending: Ending,
}
