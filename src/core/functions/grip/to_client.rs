//! What a function has for the client.

use serde::{Deserialize, Serialize};

/// A frame for the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToClient {
    /// A message of text.
    Text(String),
    /// A binary message.
    Binary(#[serde(with = "crate::base::blob")] Vec<u8>),
    /// A ping.
    Ping(#[serde(with = "crate::base::blob")] Vec<u8>),
    /// A pong.
    Pong(#[serde(with = "crate::base::blob")] Vec<u8>),
}

impl ToClient {
    /// Bytes of its payload.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) | Self::Ping(bytes) | Self::Pong(bytes) => bytes.len(),
        }
    }

    /// Whether it has no payload.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
