//! One direction of a session, from its source to its sink. It inspects the frames of the source,
//! stores what the sink has not taken, and puts the gateway's own frames between the relayed ones.
//!
//! `receive` inspects what was read, `output` decides what is written, `replace` changes the ends.

mod output;
mod receive;
mod replace;

use std::sync::Arc;

use crate::base::traffic::PublishedCounts;
use crate::core::relay::backlog::Backlog;
use crate::core::relay::close_filter::CloseFilter;
use crate::core::relay::hold::{Hold, HoldBuffer};
use crate::core::relay::injected::InjectedFrames;
use crate::core::relay::outbound_queue::{QueueBounds, Queued};
use crate::core::session::wheel::Tick;
use crate::core::wire::frame::{Opcode, control_frame};
use crate::core::wire::tracker::{FrameTracker, PING_BYTES};

pub use output::Output;
pub(super) use receive::{Event, Received};

/// Fills a buffer with unpredictable bytes.
pub type Entropy = fn(&mut [u8]);

/// Bytes of the gateway's own messages that are written together; further ones stay in their queue,
/// where they may expire or make room.
const INSERTED_BYTES: usize = 16 * 1024;

/// What the source may still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SourceState {
    /// It is read, and what it sends is forwarded.
    Open,
    /// It is read so that its end is seen; what it sends is dropped.
    Discarding,
    /// Its end was seen.
    Ended,
}

/// What the sink still gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SinkState {
    /// It takes bytes.
    Open,
    /// Its stream is ended once it has taken everything.
    Finishing,
    /// Its stream was ended.
    Finished,
    /// It takes nothing any more.
    Lost,
}

/// A close frame of the gateway's own.
#[derive(Clone, Debug)]
pub(super) struct CloseFrame {
    pub(super) frame: Vec<u8>,
    pub(super) place: ClosePlace,
}

/// Where a close frame of the gateway's own is inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClosePlace {
    /// Behind the frame that is being forwarded.
    NextBoundary,
    /// In place of the source's close frame, or at the source's end.
    SourceClose,
}

/// What a source sent since that was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Heard {
    /// Nothing.
    #[default]
    Nothing,
    /// Something.
    Something,
    /// The answer to a ping of the gateway's own, among others.
    Pong,
}

/// What happened in a direction since that was last asked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Activity {
    /// Relayed bytes moved.
    pub(super) moved: bool,
    /// What the source sent.
    pub(super) heard: Heard,
    /// The sink took bytes.
    pub(super) wrote: bool,
    /// Bytes of the source were dropped.
    pub(super) dropped: bool,
}

/// One direction.
#[derive(Clone, Debug)]
pub(super) struct Direction {
    pub(super) tracker: FrameTracker,
    pub(super) source: SourceState,
    pub(super) sink: SinkState,
    /// A close frame was forwarded or inserted: nothing may follow it, so there is one at most
    /// (I10).
    pub(super) closed: bool,
    /// A close frame of the gateway's own that waits for its place. `None` once one was sent.
    pub(super) queued_close: Option<Box<CloseFrame>>,
    /// The sink may be replaced: what it has not taken stays for the next one.
    pub(super) replaceable: bool,
    /// Set while the sink is being replaced.
    pub(super) hold: Option<Box<Hold>>,
    pub(super) backlog: Backlog,
    /// The sink took bytes and was not flushed since.
    pub(super) unflushed: bool,
    pub(super) filter: CloseFilter,
    /// Payload of a ping of the gateway's own that waits for a frame boundary.
    pub(super) ping: Option<[u8; PING_BYTES]>,
    /// Bytes that the source sent before the relay began.
    #[allow(
        clippy::box_collection,
        reason = "mostly there are none, which so take 8 bytes of a session"
    )]
    pub(super) early: Option<Box<Vec<u8>>>,
    pub(super) activity: Activity,
    /// Set once a message from or to the gateway passes this direction.
    pub(super) injected: Option<Box<InjectedFrames>>,
}

impl Direction {
    pub(super) fn new(tracker: FrameTracker, early: Vec<u8>) -> Self {
        Self {
            tracker,
            source: SourceState::Open,
            sink: SinkState::Open,
            closed: false,
            queued_close: None,
            replaceable: false,
            hold: None,
            backlog: Backlog::default(),
            unflushed: false,
            filter: CloseFilter::Off,
            ping: None,
            early: early_bytes(early),
            activity: Activity::default(),
            injected: None,
        }
    }

    /// Whether a close frame went to the sink.
    pub(super) fn closed(&self) -> bool {
        self.closed
    }

    /// Whether a close frame of the gateway's own waits for its place.
    pub(super) fn has_queued_close(&self) -> bool {
        self.queued_close.is_some()
    }

    /// Whether that frame waits for the source's close frame.
    pub(super) fn awaits_source_close(&self) -> bool {
        let queued = self.queued_close.as_ref();
        queued.is_some_and(|close| close.place == ClosePlace::SourceClose)
    }

    pub(super) fn source_ended(&self) -> bool {
        self.source == SourceState::Ended
    }

    /// Whether nothing more goes to the sink.
    pub(super) fn done(&self) -> bool {
        matches!(self.sink, SinkState::Finished | SinkState::Lost)
    }

    /// Whether the source is at a message boundary, with no header begun.
    pub(super) fn whole(&self) -> bool {
        self.tracker.at_message_boundary() && self.tracker.carry().is_empty()
    }

    /// Whether only what stands before the close frame is still taken from the source.
    pub(super) fn draining(&self) -> bool {
        let placed = self.has_queued_close() && !self.awaits_source_close();
        self.closed() || placed || self.source != SourceState::Open
    }

    /// Whether the sink has taken everything there is for it, a ping included.
    pub(super) fn all_sent(&self) -> bool {
        self.backlog.is_empty() && self.ping.is_none() && !self.unflushed
    }

    /// Whether the source must not be read: the sink does not take what there is, the hold buffer
    /// is full, or a message for the gateway waits for its answer.
    pub(super) fn stalled(&self) -> bool {
        let holding = self.holding();
        let full = holding.is_some_and(|held| held.room(1) == 0);
        let blocked = holding.is_none() && !self.backlog.is_empty();
        blocked || full || self.received_in_band().is_some()
    }

    /// Bytes that may be read at once, `most` at most.
    pub(super) fn room(&self, most: usize) -> usize {
        self.holding().map_or(most, |held| held.room(most))
    }

    /// Whether a ping waits for the end of a frame that the source has not finished.
    pub(super) fn ping_waits_for_boundary(&self) -> bool {
        self.ping.is_some() && self.backlog.is_empty() && !self.tracker.at_boundary()
    }

    /// Bytes that are stored for the sink, or for the next one.
    pub(super) fn held(&self) -> usize {
        let held = self.held_for_next().map_or(0, |held| held.bytes.len());
        let injected = self.injected.as_ref().map_or(0, |injected| injected.len());
        self.backlog.len() + self.early_len() + held + injected
    }

    /// What the source sent to the gateway, if that is not answered.
    pub(super) fn received_in_band(&self) -> Option<&[u8]> {
        self.injected.as_ref()?.received.as_deref()
    }

    /// Bytes that came before the relay began and were not inspected.
    pub(super) fn early_len(&self) -> usize {
        self.early.as_ref().map_or(0, |early| early.len())
    }

    /// The buffer, if all bytes are held for the next sink.
    pub(super) fn holding(&self) -> Option<&HoldBuffer> {
        self.hold.as_ref()?.holding()
    }

    /// Whether a message boundary is awaited at which the sink is left.
    pub(super) fn is_leaving(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.is_leaving())
    }

    /// What is held for the next sink.
    pub(super) fn held_for_next(&self) -> Option<&HoldBuffer> {
        self.hold.as_ref().map(|hold| hold.buffer())
    }

    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.activity.moved)
    }

    pub(super) fn take_heard(&mut self) -> Heard {
        std::mem::take(&mut self.activity.heard)
    }

    /// Whether the sink took bytes, and whether bytes of the source were dropped, since the last
    /// call.
    pub(super) fn take_progress(&mut self) -> (bool, bool) {
        let wrote = std::mem::take(&mut self.activity.wrote);
        (wrote, std::mem::take(&mut self.activity.dropped))
    }

    /// Queues a ping to the sink for the next frame boundary. Returns whether one can be sent:
    /// nothing may follow a close frame, and a sink that is being left is not asked.
    pub(super) fn queue_ping(&mut self, payload: [u8; PING_BYTES]) -> bool {
        let open = self.takes_own() && self.hold.is_none();
        if open {
            self.ping = Some(payload);
        }
        open
    }

    /// Queues a whole message of the gateway's own for the next message boundary. `None` behind a
    /// close frame, or if the sink is lost.
    pub(super) fn queue_message(
        &mut self,
        frame: Arc<[u8]>,
        expires_at: Tick,
        bounds: &QueueBounds,
    ) -> Option<Queued> {
        let open = self.takes_own();
        open.then(|| {
            let injected = self.injected.get_or_insert_default();
            injected.queued.push(frame, expires_at, bounds)
        })
    }

    /// Queues a close frame of the gateway's own, and drops what the source sends behind its place.
    /// Without effect behind a close frame, where the source ended inside a frame, or while the
    /// sink is being replaced.
    pub(super) fn queue_close(&mut self, frame: Vec<u8>, place: ClosePlace) {
        let possible = !self.source_ended() || self.tracker.at_boundary();
        if self.closed || !possible || self.hold.is_some() {
            return;
        }
        self.queued_close = Some(Box::new(CloseFrame { frame, place }));
        if self.source_ended() {
            self.stop_awaiting_source_close();
        }
    }

    /// Inserts a queued close frame at the next boundary instead. Returns whether it waited for the
    /// source's close frame.
    pub(super) fn stop_awaiting_source_close(&mut self) -> bool {
        let waits = self.awaits_source_close();
        if let Some(close) = &mut self.queued_close {
            close.place = ClosePlace::NextBoundary;
        }
        waits
    }

    /// Whether a close frame may be written behind all that the sink has taken.
    pub(super) fn can_append_close(&self) -> bool {
        let open = !self.closed && !self.done() && self.hold.is_none();
        open && self.tracker.at_boundary() && self.backlog.is_empty()
    }

    /// Forwards nothing more, and ends the sink's stream once it has everything.
    pub(super) fn finish(&mut self) {
        if !self.has_queued_close() {
            self.discard();
        }
        if self.sink == SinkState::Open {
            self.sink = SinkState::Finishing;
        }
    }

    /// Drops everything for the sink, which is gone.
    pub(super) fn lose_sink(&mut self) {
        self.sink = SinkState::Lost;
        (self.replaceable, self.hold) = (false, None);
        self.queued_close = None;
        self.drop_own();
        self.backlog.clear();
        self.discard();
    }

    /// The source ended. `whole` frames may still be followed by a close frame of the gateway's.
    pub(super) fn end_source(&mut self) {
        self.source = SourceState::Ended;
        self.stop_awaiting_source_close();
    }

    /// Drops what the source sends from now on.
    fn discard(&mut self) {
        if self.source == SourceState::Open {
            self.source = SourceState::Discarding;
        }
    }

    /// A close frame went to the sink: nothing follows it.
    fn close_sent(&mut self) {
        self.closed = true;
        self.queued_close = None;
        self.drop_own();
    }

    /// Whether frames of the gateway's own may still go to the sink.
    fn takes_own(&self) -> bool {
        !self.closed && self.queued_close.is_none() && self.sink != SinkState::Lost
    }

    /// Drops pings and messages of the gateway's own that wait.
    fn drop_own(&mut self) {
        self.ping = None;
        if let Some(injected) = &mut self.injected {
            injected.queued.clear();
        }
    }

    /// Messages of the gateway's own that the sink got, and those that it did not get so far.
    pub(super) fn own_counts(&self) -> PublishedCounts {
        let injected = self.injected.as_ref();
        injected.map_or_else(PublishedCounts::default, |injected| injected.queued.counts)
    }

    /// Drops messages of the gateway's own that have waited for too long.
    pub(super) fn drop_expired(&mut self, now: Tick) {
        if let Some(injected) = &mut self.injected {
            injected.queued.drop_expired(now);
        }
    }

    /// Whether a message of the gateway's own waits.
    pub(super) fn has_queued_message(&self) -> bool {
        let injected = self.injected.as_ref();
        injected.is_some_and(|injected| !injected.queued.is_empty())
    }

    /// Inserts one frame of the gateway's own behind what was forwarded, which must end at a frame
    /// boundary. Returns whether there was one that fits here.
    fn insert_own(&mut self, entropy: Entropy) -> bool {
        let at = self.tracker.position();
        if let Some(close) = &self.queued_close {
            if close.place == ClosePlace::SourceClose {
                return false;
            }
            self.backlog.push_close(&close.frame, at);
            self.close_sent();
            self.discard();
            return true;
        }
        if self.closed {
            return false;
        }
        // A data message must not stand between the fragments of another (RFC 6455, section 5.4).
        if self.tracker.at_message_boundary()
            && self.has_queued_message()
            && let Some(injected) = &mut self.injected
        {
            while let Some(message) = injected.queued.take_first() {
                self.backlog.push_own(&message, at);
                if self.backlog.len() >= INSERTED_BYTES {
                    break;
                }
            }
            return true;
        }
        let Some(ping) = self.ping.take() else {
            return false;
        };
        let mask = self.tracker.is_masked().then(|| mask(entropy));
        let frame = control_frame(Opcode::Ping, &ping, mask);
        self.backlog.push_own(&frame, at);
        true
    }
}

/// `None` for no bytes.
#[allow(clippy::box_collection, reason = "as in `Direction`")]
pub(super) fn early_bytes(early: Vec<u8>) -> Option<Box<Vec<u8>>> {
    (!early.is_empty()).then(|| Box::new(early))
}

/// A masking key for a frame to a backend; it must not be predictable (RFC 6455, section 5.3).
pub(super) fn mask(entropy: Entropy) -> [u8; 4] {
    let mut key = [0; 4];
    entropy(&mut key);
    key
}

#[cfg(test)]
mod tests;
