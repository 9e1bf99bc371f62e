//! Limits and networks, which listeners, routes and the node write alike.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::config::limits::{Over, Rate};
use crate::config::model::value::{LongForm, Size, Time, schema};

/// Bounds on what clients send in a session, and on how many sessions there are; backends are
/// trusted with their own. 0 is no limit.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RouteLimits {
    /// Bytes of one message, all its fragments together, as on the wire.
    pub message_bytes: Size,
    /// Bytes of one frame. Default: as `message_bytes`.
    pub frame_bytes: Option<Size>,
    /// Live sessions of the route on this node. More are answered 503.
    pub sessions_max: usize,
    /// Live sessions of the route for one client address, as `node.address_prefix` counts them.
    /// More are answered 429.
    pub sessions_per_address: usize,
    /// WebSocket handshakes of the route from one client address: `"20/s"`, `"600/m"`, `"1000/h"`.
    /// The number is also the burst. More are answered 429 with `Retry-After`.
    pub handshakes_per_address: Option<Rate>,
    /// Live sessions of the route for one principal; clients without a credential are not counted.
    /// More are answered 429.
    pub sessions_per_principal: usize,
    /// WebSocket handshakes of the route by one principal, written as above.
    pub handshakes_per_principal: Option<Rate>,
    /// Messages and control frames of a client in one session; each fragment of a message counts.
    pub messages_per_second: u32,
    /// Bytes of a client in one session, frame headers included.
    pub bytes_per_second: Size,
    /// The same of all sessions of one principal on this node together.
    pub principal_messages_per_second: u32,
    /// Bytes of all sessions of one principal on this node together.
    pub principal_bytes_per_second: Size,
    /// The burst of these rates, as the time in which it accrues.
    pub burst: Time,
    /// What happens to a session beyond them: `close` ends it with 1008, `slow` leaves its client
    /// unread until it is within the rate again. At most 16 KiB are read before they are counted.
    pub over: Over,
}

impl Default for RouteLimits {
    fn default() -> Self {
        Self {
            message_bytes: Size(64 << 20),
            frame_bytes: None,
            sessions_max: 0,
            sessions_per_address: 0,
            handshakes_per_address: None,
            sessions_per_principal: 0,
            handshakes_per_principal: None,
            messages_per_second: 0,
            bytes_per_second: Size(0),
            principal_messages_per_second: 0,
            principal_bytes_per_second: Size(0),
            burst: Time::seconds(1),
            over: Over::Close,
        }
    }
}

/// A file of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworksFile {
    /// Required. A network or an address on each line; what follows a `#` does not count.
    pub file: Option<String>,
}

impl LongForm for NetworksFile {
    const EXPECTED: &'static str = "a network such as \"10.0.0.0/8\", or { file = \"…\" }";
}

/// How many bits of an address are one client.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AddressPrefix {
    /// Of IPv4.
    pub v4: u8,
    /// Of IPv6, where a customer has 64 at least to choose addresses from.
    pub v6: u8,
}

impl Default for AddressPrefix {
    fn default() -> Self {
        Self { v4: 32, v6: 64 }
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

schema!(Rate, _generator => schemars::json_schema!({ "type": "string", "x-type": "rate" }));
