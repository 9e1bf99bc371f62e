//! What carries messages between gateways, checked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::base::addr::BackendAddr;
use crate::base::secret::Secret;
use crate::base::target_scope::Scope;
use crate::config::broker_name::BrokerName;
use crate::config::snapshot::service::ServiceTls;

pub use crate::config::model::{BrokerType as BrokerKind, SaslMechanism};

/// `[broker]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// What it is.
    pub kind: BrokerKind,
    /// At least one, except for memory.
    pub servers: Vec<BrokerServer>,
    /// What the gateways' own names begin with. Default `sessile`.
    pub prefix: Arc<str>,
    /// What is shown to the broker.
    pub sign_in: SignIn,
    /// How a user signs in to Kafka. Default plain.
    pub mechanism: SaslMechanism,
    /// TLS to servers that have it.
    pub tls: ServiceTls,
    /// For a connection, sign-in included. Default 5 s.
    pub connect_timeout: Duration,
    /// Joins and leaves that are published. Default: none.
    pub presence: Vec<PresenceTo>,
}

/// Joins and leaves of groups that are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceTo {
    /// Those within one of these.
    pub groups: Vec<Scope>,
    /// Under which name; `{group}` is the group.
    pub to: BrokerName,
}

/// A server of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerServer {
    /// Where it listens.
    pub address: BackendAddr,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// The virtual host, for RabbitMQ; else empty.
    pub virtual_host: Arc<str>,
}

/// What is shown to a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SignIn {
    /// Nothing.
    #[default]
    Open,
    /// A user and a password.
    Password(String, Secret),
    /// A token.
    Token(Secret),
}

impl fmt::Display for BrokerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Nats => "nats",
            Self::Redis => "redis",
            Self::RabbitMq => "rabbitmq",
            Self::Kafka => "kafka",
        })
    }
}
