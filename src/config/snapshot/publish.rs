//! `[publish]`, and what routes say about published messages.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::base::addr::ListenAddr;
use crate::base::secret::Secret;
use crate::base::target_scope::Scope;
use crate::config::broker_name::BrokerName;
use crate::config::snapshot::{AffinitySource, ListenerTls};

pub use crate::config::model::MessageType;

/// `[publish]` with an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where services publish.
    pub listen: ListenAddr,
    /// Permissions of a unix socket. Default 0600.
    pub socket_mode: u32,
    /// None: plain HTTP.
    pub tls: Option<ListenerTls>,
    /// Who may publish; at least one.
    pub tokens: Arc<[PublishToken]>,
    /// Largest payload. Default 64 KiB.
    pub message_bytes: usize,
    /// Which groups have a history.
    pub history: Arc<[History]>,
    /// Default 64 MiB.
    pub history_bytes: usize,
}

/// Bounds on groups and subscriptions, from `[publish]`, with an address or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MembershipLimits {
    /// Most groups of one session. Default 100.
    pub groups_per_session: usize,
    /// Most of all sessions. Default a million.
    pub memberships_max: usize,
}

/// Messages of groups that are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The groups.
    pub groups: Vec<Scope>,
    /// Most messages of one group. Default 100.
    pub messages: usize,
    /// How long. Default 5 min.
    pub age: Duration,
}

/// `sse` of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sse {
    /// After how long a client comes back, on average. Default 3 s.
    pub retry: Duration,
    /// Between two comments. Default 15 s.
    pub heartbeat: Duration,
}

impl Default for MembershipLimits {
    fn default() -> Self {
        Self {
            groups_per_session: 100,
            memberships_max: 1_000_000,
        }
    }
}

/// A publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishToken {
    /// In logs and metrics.
    pub name: Arc<str>,
    /// The bearer token.
    pub token: Secret,
    /// From then on it is refused.
    pub expires: Option<SystemTime>,
    /// What it may publish to.
    pub targets: Vec<Scope>,
}

/// What a route says about published messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteMessages {
    /// Groups that sessions join.
    pub groups: Vec<GroupSource>,
    /// Messages of other services that sessions get.
    pub subscribe: Vec<Subscribe>,
    /// Where messages of clients go, on a route without a backend.
    pub publish: Option<PublishTo>,
    /// Bounds on published messages that wait for a client.
    pub queue: MessageQueue,
    /// Set where clients may only listen.
    pub sse: Option<Sse>,
    /// What sessions are described by in groups.
    pub metadata: Vec<MetadataSource>,
}

/// A value that sessions of a route are described by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataSource {
    /// Its name.
    pub name: Box<str>,
    /// Where it comes from.
    pub source: AffinitySource,
}

/// A group that sessions of a route join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSource {
    /// Where its name comes from.
    pub source: AffinitySource,
    /// In front of it.
    pub prefix: String,
}

/// Messages of other services that sessions of a route get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Under which name they are published.
    pub from: NameOfSession,
    /// What clients receive. Default: text where the payload is UTF-8.
    pub message_type: MessageType,
}

/// Where messages of clients go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishTo {
    /// Under which name they are published.
    pub to: NameOfSession,
    /// Whether each is put into JSON with its sender.
    pub envelope: bool,
    /// How long a message waits for the broker. Default 10 s.
    pub wait: Duration,
    /// Whether the session goes on when the broker does not get a message. Default: it is closed.
    pub drops: bool,
}

/// A name at the broker that depends on the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameOfSession {
    /// With placeholders.
    pub pattern: BrokerName,
    /// Where the value of each placeholder comes from, in the order of the pattern.
    pub values: Vec<AffinitySource>,
}

/// `message_queue` of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageQueue {
    /// Default 100.
    pub messages: usize,
    /// Default 256 KiB.
    pub bytes: usize,
    /// Default `DropNew`.
    pub when_full: WhenFull,
}

impl Default for MessageQueue {
    fn default() -> Self {
        Self {
            messages: 100,
            bytes: 256 << 10,
            when_full: WhenFull::DropNew,
        }
    }
}

/// What happens to a message that finds a queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It is dropped.
    DropNew,
    /// Older ones are dropped for it.
    DropOldest,
    /// The session is closed with 1013.
    Close,
}
