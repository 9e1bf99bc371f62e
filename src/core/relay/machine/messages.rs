//! Messages of the gateway's own, for either side, at the next message boundary (I10).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::message::Message;
use crate::base::traffic::PublishedCounts;
use crate::core::relay::direction::mask;
use crate::core::relay::machine::Machine;
use crate::core::relay::outbound_queue::{LostCounts, QueueBounds, Queued};
use crate::core::relay::side::Side;
use crate::core::session::wheel::Tick;
use crate::core::wire::frame::{Opcode, data_frame};

/// Why a message cannot be sent to a side now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// The session ends.
    Closing,
    /// The queue is full.
    Full,
    /// The message is larger than the queue.
    TooLarge,
    /// The session is between two backends.
    Busy,
    /// An extension is in force that the gateway does not know, so a plain message may not be
    /// understood.
    Extension,
}

/// What a hand-over keeps of the gateway's own messages to the client, beside the messages. A
/// process that does not know it goes on without.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OwnState {
    sent: u64,
    bytes: u64,
    dropped: u64,
    evicted: u64,
    expired: u64,
    /// Ticks that each message that waits has left; `None` where it does not expire.
    lifetimes: Vec<Option<Tick>>,
}

impl OwnState {
    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A message as clients get it: one frame, made once for all of them.
pub fn client_frame(message: &Message) -> Arc<[u8]> {
    let (opcode, payload) = parts(message);
    data_frame(opcode, payload, None).into()
}

fn parts(message: &Message) -> (Opcode, &[u8]) {
    match message {
        Message::Text(text) => (Opcode::Text, text.as_bytes()),
        Message::Binary(bytes) => (Opcode::Binary, &bytes[..]),
    }
}

impl Machine {
    /// Sends a text message to the client.
    pub fn send_text(&mut self, text: &str) {
        let frame = data_frame(Opcode::Text, text.as_bytes(), None).into();
        let bounds = QueueBounds::OPERATOR;
        self.down.queue_message(frame, Tick::MAX, &bounds);
        self.turn_needed = true;
    }

    /// Queues a whole message for a side.
    ///
    /// # Errors
    /// When nothing was queued.
    pub fn send_message(&mut self, to: Side, message: &Message) -> Result<(), Unsent> {
        let bounds = QueueBounds::OPERATOR;
        match to {
            Side::Client => self.send_frame(&client_frame(message), Tick::MAX, &bounds),
            Side::Backend => self.send_to_backend(message, &bounds),
        }
    }

    /// Queues a frame that [`client_frame`] made. It is dropped if it has not left by `expires_at`.
    ///
    /// # Errors
    /// When nothing was queued.
    pub fn send_frame(
        &mut self,
        frame: &Arc<[u8]>,
        expires_at: Tick,
        bounds: &QueueBounds,
    ) -> Result<(), Unsent> {
        self.check_open(Side::Client)?;
        let queued = self
            .down
            .queue_message(Arc::clone(frame), expires_at, bounds);
        self.turn_needed = true;
        outcome(queued)
    }

    /// Queues a message for the backend, which takes it for one of the client's.
    ///
    /// # Errors
    /// When nothing was queued.
    pub fn send_to_backend(
        &mut self,
        message: &Message,
        bounds: &QueueBounds,
    ) -> Result<(), Unsent> {
        self.check_open(Side::Backend)?;
        if !self.attached || self.moves_now() {
            return Err(Unsent::Busy);
        }
        let (opcode, payload) = parts(message);
        let frame = data_frame(opcode, payload, Some(mask(self.entropy))).into();
        let queued = self.up.queue_message(frame, Tick::MAX, bounds);
        self.turn_needed = true;
        outcome(queued)
    }

    fn check_open(&self, to: Side) -> Result<(), Unsent> {
        if self.ending().is_some() {
            return Err(Unsent::Closing);
        }
        let knows = self.sent_by(to.other()).tracker.knows_extensions();
        knows.then_some(()).ok_or(Unsent::Extension)
    }

    /// Whether a frame of so many bytes for the client fits into the queue now.
    pub fn has_room(&self, bytes: usize, bounds: &QueueBounds) -> bool {
        let injected = self.down.injected.as_ref();
        injected.is_none_or(|injected| injected.queued.has_room(bytes, bounds))
    }

    /// Drops messages for the client that have waited for too long.
    pub fn drop_expired(&mut self, now: Tick) {
        self.down.drop_expired(now);
    }

    /// Whether messages of the gateway's own wait for the client, or a part of one does.
    pub fn has_queued_message(&self) -> bool {
        self.down.has_queued_message() || !self.down.all_sent()
    }

    /// The gateway's own messages to this side so far.
    pub fn own_counts(&self, to: Side) -> PublishedCounts {
        self.sent_by(to.other()).own_counts()
    }

    /// Messages to the client that were queued and lost since the last call.
    pub fn take_lost(&mut self) -> LostCounts {
        let injected = self.down.injected.as_mut();
        injected.map_or_else(LostCounts::default, |injected| injected.queued.take_lost())
    }

    /// What a hand-over keeps of them.
    pub fn own_state(&self, now: Tick) -> OwnState {
        let PublishedCounts {
            sent,
            bytes,
            dropped,
            evicted,
            expired,
        } = self.down.own_counts();
        let queue = self.down.injected.as_ref().map(|injected| &injected.queued);
        OwnState {
            sent,
            bytes,
            dropped,
            evicted,
            expired,
            lifetimes: queue.map_or_else(Vec::new, |queue| queue.lifetimes(now)),
        }
    }

    /// Goes on with what another process kept.
    pub fn set_own_state(&mut self, state: &OwnState, now: Tick) {
        if state.is_empty() {
            return;
        }
        let queue = &mut self.down.injected.get_or_insert_default().queued;
        queue.set_counts(PublishedCounts {
            sent: state.sent,
            bytes: state.bytes,
            dropped: state.dropped,
            evicted: state.evicted,
            expired: state.expired,
        });
        queue.set_lifetimes(&state.lifetimes, now);
    }
}

fn outcome(queued: Option<Queued>) -> Result<(), Unsent> {
    match queued {
        Some(Queued::Yes) => Ok(()),
        Some(Queued::Full) => Err(Unsent::Full),
        Some(Queued::TooLarge) => Err(Unsent::TooLarge),
        None => Err(Unsent::Closing),
    }
}
