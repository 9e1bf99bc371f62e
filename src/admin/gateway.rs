//! The parts of a gateway that the admin API reads and commands.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::desk::Desk;
use crate::admin::fleet::client::FleetClient;
use crate::admin::token_ends::TokenEnd;
use crate::control::acme::AcmeCertificates;
use crate::control::fleet::Fleet;
use crate::control::messages::Messages;
use crate::control::revocations::RevocationStore;
use crate::control::scaling::ScalingWatch;
use crate::control::sources::Sources;
use crate::control::supervisor::Supervisor;
use crate::io::tls::server::Resolver;
use crate::live::Live;
use crate::telemetry::log::LogLevel;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::records::Records;

/// The version of the program.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Returns how many client connections the listener of a name has; `None` if there is none.
pub type ListenerConnections = Box<dyn Fn(&str) -> Option<usize> + Send + Sync>;

/// A gateway, as the admin API sees it.
pub struct Gateway {
    /// Its name.
    pub node: Arc<str>,
    /// What both planes share.
    pub live: Arc<Live>,
    /// Its numbers.
    pub metrics: Arc<Metrics>,
    /// Its records, to say how many were lost.
    pub records: Records,
    /// The level of its log; `None` if another part of the process owns the log.
    pub log: Option<LogLevel>,
    /// Where clients come in, as bound.
    pub listeners: Vec<ListenerView>,
    /// The certificates that they show, and those of the admin API.
    pub certificates: Vec<(String, Arc<Resolver>)>,
    /// Those that the gateway orders itself.
    pub acme: Arc<AcmeCertificates>,
    /// Has the configuration, and reads it again.
    pub supervisor: Arc<Supervisor>,
    /// Where revocations of this API are written.
    pub revocations: Arc<RevocationStore>,
    /// The others that follow the same etcd; `None` without one.
    pub fleet: Option<Arc<Fleet>>,
    /// Asks them.
    pub fleet_client: FleetClient,
    /// How many client connections the listener of a name has.
    pub connections: ListenerConnections,
    /// The load of upstreams over time.
    pub scaling: Arc<ScalingWatch>,
    /// Where the configuration comes from.
    pub sources: Sources,
    /// Publishes messages, where services may.
    pub messages: Option<Arc<Messages>>,
    /// Tokens that have an end, as they have been accepted since the start.
    pub tokens: Vec<TokenEnd>,
    /// What it does only so often at the same time.
    pub desk: Desk,
}

/// A listener, as it was bound.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListenerView {
    /// Its name in the configuration.
    pub name: String,
    /// Whether TLS ends here.
    pub tls: bool,
    /// Where it listens; a port that was written as 0 is the one that the system chose.
    pub addresses: Vec<String>,
}
