//! The publishing API: services send messages to sessions, and steer who is in which group. It has
//! a listener of its own, and tokens that open some targets only. `messages` and `groups` are its
//! resources, `connections` speaks the management API of AWS API Gateway, `grip` that of Pushpin.

mod body;
mod connections;
mod grip;
mod groups;
mod guard;
mod messages;
pub mod openapi;
mod server;
mod sigv4;

use std::sync::Arc;

use crate::config::snapshot::Publish;
use crate::control::messages::Messages;
use crate::live::Live;

pub use server::{bind, serve};

/// What the publishing API works on.
#[derive(Debug)]
pub struct Publisher {
    /// The settings of `[publish]`.
    pub settings: Publish,
    /// The sessions.
    pub live: Arc<Live>,
    /// Delivers messages.
    pub messages: Arc<Messages>,
}

/// Bytes of a batch beside its payloads.
const BATCH_BYTES: usize = 4 << 20;

impl Publisher {
    /// Largest body of a request: that of a batch.
    fn body_max(&self) -> usize {
        BATCH_BYTES + 2 * self.settings.message_bytes
    }
}
