//! One event: its kind, its class, its id.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::core::session::details::Move;
use crate::core::session::record::{Facts, Record};
use crate::telemetry::events::fields::Fields;

/// Events of one class share a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Sessions that begin, move and end.
    Sessions,
    /// Requests that got no backend's whole answer.
    Refusals,
    /// Everything else.
    Changes,
}

impl Class {
    /// All, in the order of their rings.
    pub const ALL: [Self; 3] = [Self::Sessions, Self::Refusals, Self::Changes];

    /// Its name in the API and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Refusals => "refusals",
            Self::Changes => "changes",
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])+ $kind:ident = $name:literal, $class:ident;)+) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Kind {
            $($(#[$doc])+ #[serde(rename = $name)] $kind,)+
        }

        impl Kind {
            /// All, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// Its name in the API.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }

            /// Which ring holds it.
            pub const fn class(self) -> Class {
                match self {
                    $(Self::$kind => Class::$class,)+
                }
            }
        }
    };
}

kinds! {
    /// A session began: its 101 was sent.
    SessionBegan = "session_began", Sessions;
    /// A session goes on with another backend.
    SessionMoved = "session_moved", Sessions;
    /// A session ended.
    SessionEnded = "session_ended", Sessions;
    /// Sessions end soon with their right, unless it is renewed: all of ten minutes in one event.
    RightsExpiring = "rights_expiring", Sessions;
    /// A request got no backend's whole answer.
    Refused = "refused", Refusals;
    /// Probes changed the health of a backend.
    BackendHealth = "backend_health", Changes;
    /// Traffic failed, and a backend gets no new sessions for a while.
    BackendEjected = "backend_ejected", Changes;
    /// The ejection of a backend is over.
    BackendReturned = "backend_returned", Changes;
    /// Too few backends of an upstream's first level are well, and sessions go to others.
    SpillBegan = "spill_began", Changes;
    /// The first level of an upstream takes everything again.
    SpillEnded = "spill_ended", Changes;
    /// A new configuration took effect.
    ConfigurationChanged = "configuration_changed", Changes;
    /// The configuration file was refused; the one before it stays in force.
    ConfigurationRefused = "configuration_refused", Changes;
    /// A document was refused; its last good version stays in force.
    DocumentRefused = "document_refused", Changes;
    /// An operator gave an order through the admin API.
    Order = "order", Changes;
    /// Sessions begin to leave a backend.
    DrainBegan = "drain_began", Changes;
    /// A drain was stopped before its end.
    DrainStopped = "drain_stopped", Changes;
    /// All sessions have left a draining backend.
    DrainDone = "drain_done", Changes;
    /// Sessions begin to move to the backend that their key belongs to.
    RebalanceBegan = "rebalance_began", Changes;
    /// A rebalancing is over.
    RebalanceDone = "rebalance_done", Changes;
    /// Another process begins to take over.
    HandoverBegan = "handover_began", Changes;
    /// A hand-over is over.
    HandoverDone = "handover_done", Changes;
    /// A hand-over broke off.
    HandoverFailed = "handover_failed", Changes;
    /// A certificate was loaded.
    CertificateLoaded = "certificate_loaded", Changes;
    /// A certificate was ordered and received.
    CertificateRenewed = "certificate_renewed", Changes;
    /// A certificate could not be loaded or ordered.
    CertificateFailed = "certificate_failed", Changes;
    /// A certificate expires soon.
    CertificateExpiring = "certificate_expiring", Changes;
    /// A source of documents is followed.
    SourceConnected = "source_connected", Changes;
    /// A source of documents is not followed any more.
    SourceLost = "source_lost", Changes;
    /// A source is followed, but is silent, or other gateways are ahead.
    SourceLagging = "source_lagging", Changes;
    /// A source that lagged is up to date again.
    SourceCaughtUp = "source_caught_up", Changes;
    /// The store of the fleet's state is connected: limits hold over the fleet.
    StateConnected = "state_connected", Changes;
    /// The store of the fleet's state is gone: limits hold for this gateway alone.
    StateLost = "state_lost", Changes;
    /// The broker carries messages between gateways.
    BrokerConnected = "broker_connected", Changes;
    /// The broker carries none any more.
    BrokerLost = "broker_lost", Changes;
    /// The process started.
    NodeStarted = "node_started", Changes;
    /// The gateway accepts clients.
    NodeReady = "node_ready", Changes;
    /// The gateway stops.
    NodeStopping = "node_stopping", Changes;
    /// Events were dropped, since their queue was full.
    EventsLost = "events_lost", Changes;
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|kind| kind.as_str() == text);
        known
            .copied()
            .ok_or_else(|| format!("`{text}` is no kind of event"))
    }
}

impl FromStr for Class {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|class| class.as_str() == text);
        known
            .copied()
            .ok_or_else(|| format!("`{text}` is no class; give sessions, refusals or changes"))
    }
}

/// The name of an event: the process that numbered it, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventId {
    /// Another one for each process.
    pub instance: u64,
    /// Grows by one with each event of the process.
    pub number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.instance, self.number)
    }
}

/// The text is no id of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event's id is 16 hexadecimal digits, a dash and a number")]
pub struct NotAnEventId;

impl FromStr for EventId {
    type Err = NotAnEventId;

    fn from_str(text: &str) -> Result<Self, NotAnEventId> {
        let (instance, number) = text.split_once('-').ok_or(NotAnEventId)?;
        let digits = |text: &str, of: fn(&u8) -> bool| text.as_bytes().iter().all(of);
        let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if instance.len() != 16 || !digits(instance, hex) || !digits(number, u8::is_ascii_digit) {
            return Err(NotAnEventId);
        }
        Ok(Self {
            instance: u64::from_str_radix(instance, 16).map_err(|_| NotAnEventId)?,
            number: number.parse().map_err(|_| NotAnEventId)?,
        })
    }
}

/// What is known of an event. Sessions' events share what the session knows of itself; it is
/// written out only for a reader.
#[derive(Clone, Debug)]
pub enum Body {
    /// A session that began.
    Began(Arc<Facts>),
    /// A session that moved; its last move is the one that is meant.
    Moved(Arc<Facts>),
    /// A session that ended.
    Ended(Box<Record>),
    /// Anything else.
    Fields(Box<Fields>),
}

/// An event that has no number yet.
#[derive(Debug)]
pub(super) struct Emitted {
    pub(super) at: SystemTime,
    pub(super) kind: Kind,
    pub(super) body: Body,
}

/// An event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its name.
    pub id: EventId,
    /// When it happened.
    pub at: SystemTime,
    /// What happened.
    pub kind: Kind,
    /// What is known of it.
    pub body: Body,
}

impl Event {
    /// Bytes that it takes, roughly.
    pub(super) fn weight(&self) -> usize {
        let more = match &self.body {
            Body::Began(facts) | Body::Moved(facts) => weight(facts),
            Body::Ended(record) => size_of::<Record>() + weight(&record.facts),
            Body::Fields(fields) => size_of::<Fields>() + fields.heap(),
        };
        size_of::<Self>() + size_of::<usize>() * 4 + more
    }
}

fn weight(facts: &Facts) -> usize {
    let principal = facts.principal.as_ref().map_or(0, |text| text.len());
    let moves = facts.details.moves.len() * size_of::<Move>();
    size_of::<Facts>() + moves + facts.request.heap() + principal
}
