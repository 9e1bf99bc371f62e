//! Messages of the gateway's own, for either side, at the next message boundary (I10).

use crate::core::relay::direction::mask;
use crate::core::relay::machine::Machine;
use crate::core::relay::side::Side;
use crate::core::session::orders::Message;
use crate::core::wire::frame::{Opcode, data_frame};

/// Why a message cannot be sent to a side now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// The session ends.
    Closing,
    /// Earlier messages have not left yet, or the session is between two backends.
    Busy,
    /// An extension is in force that the gateway does not know, so a plain message may not be
    /// understood.
    Extension,
}

impl Machine {
    /// Sends a text message to the client.
    pub fn send_text(&mut self, text: &str) {
        self.down
            .queue_message(&data_frame(Opcode::Text, text.as_bytes(), None));
        self.turn_needed = true;
    }

    /// Queues a whole message for a side.
    ///
    /// # Errors
    /// When nothing was queued.
    pub fn send_message(&mut self, to: Side, message: &Message) -> Result<(), Unsent> {
        if self.ending().is_some() {
            return Err(Unsent::Closing);
        }
        if to == Side::Backend && (!self.attached || self.moves_now()) {
            return Err(Unsent::Busy);
        }
        let entropy = self.entropy;
        let direction = self.sent_by_mut(to.other());
        if !direction.tracker.knows_extensions() {
            return Err(Unsent::Extension);
        }
        let (opcode, payload) = match message {
            Message::Text(text) => (Opcode::Text, text.as_bytes()),
            Message::Binary(bytes) => (Opcode::Binary, &bytes[..]),
        };
        let key = direction.tracker.is_masked().then(|| mask(entropy));
        let queued = direction.queue_message(&data_frame(opcode, payload, key));
        self.turn_needed = true;
        queued.then_some(()).ok_or(Unsent::Busy)
    }
}
