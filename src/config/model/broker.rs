//! `[broker]`: what carries messages between the gateways of a fleet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::service::ServiceTls;
use crate::config::model::value::{SecretSource, Time};

/// What carries messages between the gateways of a fleet. A change needs a restart.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Broker {
    /// `"memory"` (one gateway alone), `"nats"`, `"redis"`, `"rabbitmq"` or `"kafka"`.
    #[serde(rename = "type")]
    pub kind: BrokerType,
    /// The servers of one broker or cluster, tried one after the other, with TLS if the URL begins
    /// with the second form: `nats://` or `tls://`, `redis://` or `rediss://`, `amqp://` or
    /// `amqps://` (a virtual host may follow as the path), `kafka://` or `kafkas://`.
    pub servers: Vec<String>,
    /// What the gateways' own names begin with at the broker. Equal on all gateways of a fleet, and
    /// different for fleets that share a broker.
    pub prefix: String,
    /// The user, if the broker requires one.
    pub user: Option<String>,
    /// The user's password. `{ file = "…" }`, `{ env = "…" }` or the password itself.
    pub password: Option<SecretSource>,
    /// How the user signs in, for Kafka only: `"plain"`, `"scram-sha-256"` or `"scram-sha-512"`.
    /// Default: `plain`, which sends the password to the server.
    pub mechanism: Option<SaslMechanism>,
    /// A token instead of user and password, for NATS only. `{ file = "…" }`, `{ env = "…" }` or
    /// the token itself.
    pub token: Option<SecretSource>,
    /// TLS to servers whose URL asks for it. Default: the system's roots, no certificate of our
    /// own. The files are read again for each connection.
    pub tls: Option<ServiceTls>,
    /// For a connection, TLS and sign-in included.
    pub connect_timeout: Time,
    /// Joins and leaves of groups that are published at the broker.
    pub presence: Vec<PresenceTo>,
}

/// Joins and leaves of groups that are published at the broker, each by the gateway that has the
/// session, as JSON: `{"event":"join","group":…,"session":…,"route":…,"principal":…,"metadata":…}`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PresenceTo {
    /// Required. The groups: names, with `*` at the end all that begin so. A group is published
    /// under the name of the first entry that names it.
    pub groups: Vec<String>,
    /// Required. The name at the broker, in the forms of `subscribe`, with `{group}` for the group:
    /// `"nats:presence.{group}"`. A group that would change the meaning of the name is not
    /// published.
    pub to: Option<String>,
}

/// What kind of broker it is.
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
#[serde(rename_all = "lowercase")]
pub enum BrokerType {
    /// None: messages stay on this gateway.
    #[default]
    Memory,
    /// NATS.
    Nats,
    /// Redis, or a server that speaks its protocol.
    Redis,
    /// RabbitMQ.
    RabbitMq,
    /// Kafka, or a server that speaks its protocol.
    Kafka,
}

/// How a user signs in to Kafka.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(inline)]
pub enum SaslMechanism {
    /// With the password.
    #[default]
    #[serde(rename = "plain")]
    Plain,
    /// With a proof of it.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// With a proof of it.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// As the protocol names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            kind: BrokerType::default(),
            servers: Vec::new(),
            prefix: "sessile".to_owned(),
            user: None,
            password: None,
            mechanism: None,
            token: None,
            tls: None,
            connect_timeout: Time::seconds(5),
            presence: Vec::new(),
        }
    }
}
