//! What workers report of live sessions.

use std::sync::Arc;
use std::time::Duration;

use crate::base::group::GroupName;
use crate::base::names::{BackendId, RouteName, UpstreamName};
use crate::base::session_id::SessionId;
use crate::base::traffic::{PublishedCounts, Traffic};
use crate::core::session::record::Facts;
use crate::core::session::resume::Moves;

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
    /// The affinity key; `None` where its route has none.
    pub key: Option<Box<[u8]>>,
    /// Which worker has it.
    pub worker: usize,
    /// Since the 101.
    pub age: Duration,
    /// Since the last byte in either direction; coarse, to a tenth of a second.
    pub idle: Duration,
    /// What the client sends.
    pub from_client: DirectionView,
    /// What the backend sends.
    pub from_backend: DirectionView,
    /// Messages that were published to the client.
    pub published: PublishedCounts,
    /// Its groups.
    pub groups: Vec<GroupName>,
    /// The names at the broker that it is subscribed to.
    pub subscriptions: Vec<Arc<str>>,
    /// Its changes of backend.
    pub moves: Moves,
    /// Whether it can move to another backend.
    pub movable: bool,
    /// A close frame has passed, or the end has come in another way.
    pub closing: bool,
}

/// One direction of a live session.
#[derive(Clone, Copy, Debug, Default)]
pub struct DirectionView {
    /// What went on to the other side.
    pub traffic: Traffic,
    /// Since the last byte; coarse, to a tenth of a second.
    pub idle: Duration,
    /// Bytes that the gateway stores for the other side.
    pub held: usize,
    /// Bytes that the other side's system has not acknowledged.
    pub queued: usize,
    /// The last round trip of a keepalive ping to the sender.
    pub round_trip: Option<Duration>,
}

/// The number that a list of sessions is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// Since the 101.
    Age,
    /// Since the last byte in either direction.
    Idle,
    /// Since the client's last byte.
    IdleClient,
    /// Since the backend's last byte.
    IdleBackend,
    /// Both ways.
    Bytes,
    /// Both ways.
    Messages,
    /// The longer one of the two sides.
    RoundTrip,
    /// Both ways.
    InFlight,
    /// Until the right ends; none for a right without an end.
    Expires,
    /// Changes of backend.
    Moves,
}

/// Numbers of a live session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSample {
    /// Which.
    pub id: SessionId,
    /// The number that the list is sorted by; none where it has none.
    pub value: Option<u64>,
    /// Messages of both directions.
    pub messages: u64,
    /// Bytes of both directions.
    pub bytes: u64,
}
