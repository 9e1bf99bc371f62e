//! `[publish]`, and what routes say about messages that services publish.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::listener::ListenerTls;
use crate::config::model::value::{LongForm, SecretSource, Size, Time};

/// Messages to sessions: services publish them here, over HTTP, and the gateway delivers them
/// between the messages of the backends (see docs/messages.md). A change needs a restart.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Publish {
    /// Address of the publishing API, `127.0.0.1:9901` or `unix:/run/sessile/publish.sock`. It is
    /// never a listener of clients. None: there is no such API; without `[broker]`, sessions are
    /// then in no groups.
    pub listen: Option<String>,
    /// Permissions of a unix socket of `listen`, in octal.
    pub socket_mode: String,
    /// TLS of the publishing API. Certificates are read again when their files change.
    pub tls: Option<ListenerTls>,
    /// Who may publish, and to what. At least one is required.
    pub tokens: Vec<PublishToken>,
    /// Largest payload of one message, at most 1 MiB.
    pub message_bytes: Size,
    /// Most groups of one session.
    pub groups_per_session: usize,
    /// Most memberships in groups on this node. Further sessions live without theirs, which is
    /// counted in a metric.
    pub memberships_max: usize,
    /// Messages that are kept, so that a client that comes back gets those that it has missed: by
    /// `Last-Event-ID` with server-sent events, by `?since=` with WebSockets.
    pub history: Vec<History>,
    /// Most bytes of all messages that are kept; the oldest go first.
    pub history_bytes: Size,
}

impl Default for Publish {
    fn default() -> Self {
        Self {
            listen: None,
            socket_mode: "0600".to_owned(),
            tls: None,
            tokens: Vec::new(),
            message_bytes: Size(64 << 10),
            groups_per_session: 100,
            memberships_max: 1_000_000,
            history: Vec::new(),
            history_bytes: Size(64 << 20),
        }
    }
}

/// A publisher.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PublishToken {
    /// Required. The publisher's name in logs and metrics.
    pub name: Option<String>,
    /// Required. Presented as `Authorization: Bearer …`. `{ file = "…" }`, `{ env = "…" }` or the
    /// token itself.
    pub token: Option<SecretSource>,
    /// When the token ends, such as `2027-01-31T12:00:00Z`: it is refused from then on. Default: it
    /// has no end.
    pub expires: Option<String>,
    /// Required. The targets that it may publish to: `session:ID`, `principal:SUBJECT`,
    /// `group:NAME`, `route:NAME`, `all`; with `*` at the end all that begin so (`group:room-*`,
    /// `principal:*`); `*` alone is every target.
    pub targets: Vec<String>,
}

/// A group that sessions of a route join.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GroupFrom {
    /// Required. The source of the name, written as in `affinity`: `path:room`, `claim:team`.
    pub from: Option<String>,
    /// Stands in front of the value, so that groups of one source are never those of another.
    pub prefix: String,
}

impl LongForm for GroupFrom {
    const EXPECTED: &'static str =
        "a source such as \"path:room\", or { from = \"path:room\", prefix = \"room-\" }";
}

/// What members of groups are described by.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Presence {
    /// Names, and the sources of their values, written as in `affinity`: `{ name = "claim:name",
    /// device = "query:device" }`. At most 16, and 1 KiB in all; a value that is absent, or does
    /// not fit in, is left out. Those who list or watch a group see them.
    pub metadata: BTreeMap<String, String>,
}

/// Messages of other services at the broker that sessions of a route get.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Subscribe {
    /// Required. The name at the broker under which the messages are published, after the kind of
    /// the broker: `"nats:chat.{room}"`, `"redis:chat:{room}"`, `"rabbitmq:amq.topic/chat.{room}"`,
    /// `"kafka:prices"`, `"kafka:prices/{symbol}"` (records with this key), `"memory:chat.{room}"`.
    /// `{room}` is a parameter of the path, `{claim:team}` any source of `affinity`. A session
    /// whose values do not make such a name is not subscribed, which a metric counts.
    pub from: Option<String>,
    /// What clients receive: `auto` sends a payload that is UTF-8 as a text message and any other
    /// as a binary one, `binary` sends all as binary messages, `text` drops what is not UTF-8.
    pub message_type: MessageType,
}

/// Where messages of clients go on a route without a backend.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PublishTo {
    /// Required. The name at the broker, as in `subscribe`.
    pub to: Option<String>,
    /// Whether each message is put into JSON with its sender: `{"session":…, "route":…,
    /// "principal":…, "groups":[…], "text":…}`, or `base64` for a binary one. Otherwise the payload
    /// is published as it is, with the sender in headers, which Redis does not have.
    pub envelope: bool,
    /// How long a message waits for a broker that is not connected, or has too many messages. Its
    /// client is not read meanwhile.
    pub wait: Time,
    /// What happens when the broker does not get a message, or does not confirm it: `close` closes
    /// the session with 1013 (1011 if the broker refuses it), `drop` counts the message as lost.
    pub when_not_carried: WhenNotCarried,
}

impl Default for PublishTo {
    fn default() -> Self {
        Self {
            to: None,
            envelope: false,
            wait: Time::seconds(10),
            when_not_carried: WhenNotCarried::Close,
        }
    }
}

impl LongForm for PublishTo {
    const EXPECTED: &'static str =
        "a name such as \"nats:in.{room}\", or { to = \"redis:in.{room}\", envelope = true }";
}

/// What happens when the broker does not get a message of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum WhenNotCarried {
    /// The session is closed.
    Close,
    /// The message is lost.
    Drop,
}

/// What becomes of a payload that another service published.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Deserialize,
    Serialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum MessageType {
    /// UTF-8 is a text message, anything else a binary one.
    #[default]
    Auto,
    /// Every payload is a text message, or dropped.
    Text,
    /// Every payload is a binary message.
    Binary,
}

/// Published messages that wait for one session's client.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MessageQueue {
    /// Most messages.
    pub messages: usize,
    /// Most bytes.
    pub bytes: Size,
    /// What happens to a message that finds the queue full: `drop_new` drops it, `drop_oldest`
    /// drops older ones for it, `close` closes the session with 1013.
    pub when_full: WhenFull,
}

impl Default for MessageQueue {
    fn default() -> Self {
        Self {
            messages: 100,
            bytes: Size(256 << 10),
            when_full: WhenFull::DropNew,
        }
    }
}

/// Server-sent events for clients that only listen.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sse {
    /// The time after which a client that has lost its connection reconnects. Each client gets a
    /// random time between one half and three halves of it, so that they do not all reconnect at
    /// once.
    pub retry: Time,
    /// A comment is sent to a client that has got nothing for so long, unless the route's
    /// `keepalive` is set, which holds instead.
    pub heartbeat: Time,
}

impl Default for Sse {
    fn default() -> Self {
        Self {
            retry: Time::seconds(3),
            heartbeat: Time::seconds(15),
        }
    }
}

/// Messages of groups that are kept for clients that come back.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// Required. The groups: names, with `*` at the end all that begin so. A group has the history
    /// of the first entry that names it.
    pub groups: Vec<String>,
    /// Most messages of one group.
    pub messages: usize,
    /// How long they are kept.
    pub age: Time,
}

impl Default for History {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            messages: 100,
            age: Time::seconds(5 * 60),
        }
    }
}

/// What happens to a message that finds the queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum WhenFull {
    /// It is dropped.
    DropNew,
    /// Older ones are dropped for it.
    DropOldest,
    /// The session is closed with 1013.
    Close,
}
