//! Traffic of a session in one direction, shared by relay, records, metrics and API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whole messages and control frames by kind, and bytes of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    /// Bytes on the wire, headers included.
    pub bytes: u64,
    /// Text messages.
    pub text: u64,
    /// Binary messages.
    pub binary: u64,
    /// Pings; saturates.
    pub ping: u32,
    /// Pongs; saturates.
    pub pong: u32,
    /// Close frames; saturates.
    pub close: u32,
}

impl Traffic {
    /// Messages of either kind.
    pub const fn messages(&self) -> u64 {
        self.text + self.binary
    }

    /// What came since `before`, an earlier reading of the same counters.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            bytes: self.bytes - before.bytes,
            text: self.text - before.text,
            binary: self.binary - before.binary,
            ping: self.ping - before.ping,
            pong: self.pong - before.pong,
            close: self.close - before.close,
        }
    }
}

/// Messages that were put into a session, published ones and the gateway's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublishedCounts {
    /// Messages that left for the client.
    pub sent: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// Messages that were dropped: the queue was full, they expired, or the session ended.
    pub dropped: u64,
    /// Of these, messages that waited and made room for newer ones.
    #[serde(default)]
    pub evicted: u64,
    /// Of these, messages that waited for longer than they live.
    #[serde(default)]
    pub expired: u64,
}
