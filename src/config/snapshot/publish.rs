//! `[publish]`, and what routes say about published messages.

use std::sync::Arc;
use std::time::Duration;

use crate::base::addr::ListenAddr;
use crate::base::secret::Secret;
use crate::base::target_scope::Scope;
use crate::config::snapshot::{AffinitySource, ListenerTls};

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
    /// Default 100.
    pub groups_per_session: usize,
    /// Default a million.
    pub memberships_max: usize,
    /// Which groups have one.
    pub history: Arc<[History]>,
    /// Default 64 MiB.
    pub history_bytes: usize,
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

/// A publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishToken {
    /// In logs and metrics.
    pub name: Arc<str>,
    /// The bearer token.
    pub token: Secret,
    /// What it may publish to.
    pub targets: Vec<Scope>,
}

/// What a route says about published messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteMessages {
    /// Groups that sessions join.
    pub groups: Vec<GroupSource>,
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
