//! How a session ends: who ended it, which close frame each side gets, and when it is over. What a
//! peer sends meanwhile is read and dropped, because closing a socket with unread bytes resets the
//! connection and discards what is on its way to the peer.

use crate::core::relay::close_filter::CloseFilter;
use crate::core::relay::direction::{ClosePlace, Event, mask};
use crate::core::relay::limit::Limit;
use crate::core::relay::machine::Machine;
use crate::core::relay::side::{SendQueue, Side};
use crate::core::relay::stage::{Closing, LastFrames, Stage, WasCut};
use crate::core::session::orders::CloseOrder;
use crate::core::session::record::{Cause, EndedBy, Ending};
use crate::core::session::wheel::Tick;
use crate::core::wire::frame::{answer_to_close, close_frame};
use crate::core::wire::violation::Violation;

/// Divisor of `Times::close`: how long a backend may take to answer a client that broke the rules.
const VIOLATION_SHARE: Tick = 5;
/// Close code of a session that is cut for no reason of its own, and the text with it.
const CUT: (u16, &str) = (1001, "session ended");

impl Machine {
    /// Ends the session from the gateway's side: the client gets a close frame at the next frame
    /// boundary, and its answer goes on to the backend, so that both see an orderly close. Returns
    /// whether this began the end; a session that is ending already is left alone.
    pub fn close(&mut self, order: &CloseOrder, now: Tick) -> bool {
        // A client that has only stopped sending is still served, and may be closed.
        if self.ending().is_some() && !self.half_closed() {
            return false;
        }
        if let Stage::Closing(closing) = &mut self.stage {
            closing.ending = None;
        }
        self.stop_moving();
        self.end(EndedBy::Gateway, order.cause, Some(order.code), now);
        let frame = close_frame(order.code, &order.reason, None);
        self.down.queue_close(frame, ClosePlace::NextBoundary);
        self.turn_needed = true;
        true
    }

    /// Ends the session now, whatever is in flight. The driver writes `take_last_frames` without
    /// waiting.
    pub fn cut(&mut self, now: Tick) {
        if let Stage::Cut(_) = self.stage {
            return;
        }
        let frames = self.closing_frames();
        if let Some(migration) = &mut self.migration {
            migration.count(self.up.unsent());
        }
        let code = frames.client.is_some().then_some(CUT.0);
        let lost = self.closing_state().and_then(|closing| closing.lost);
        match lost {
            Some(Side::Client) => self.end(EndedBy::Client, Cause::Reset, None, now),
            Some(Side::Backend) => self.end(EndedBy::Backend, Cause::Reset, code, now),
            None => self.end(EndedBy::Gateway, Cause::Shutdown, code, now),
        }
        if let Some(ending) = self.ending() {
            self.stage = Stage::Cut(Box::new(WasCut {
                ending,
                last_frames: Some(frames),
            }));
        }
        self.turn_needed = true;
    }

    /// The close frames of a session that was just cut, once.
    pub fn take_last_frames(&mut self) -> Option<LastFrames> {
        match &mut self.stage {
            Stage::Cut(cut) => cut.last_frames.take(),
            Stage::Open | Stage::Closing(_) => None,
        }
    }

    /// A close frame for each side that had none, so that neither takes the cut for a crash. Only
    /// behind whole frames, and those must have left (I10).
    fn closing_frames(&self) -> LastFrames {
        let code = self.ending().and_then(|ending| ending.close_code);
        let (code, text) = (code.unwrap_or(CUT.0), CUT.1);
        // A side that is lost or detached has a direction that is done or on hold.
        let to_backend = self.up.can_append_close();
        let to_client = self.down.can_append_close();
        LastFrames {
            client: to_client.then(|| close_frame(code, text, None)),
            backend: to_backend.then(|| close_frame(code, text, Some(mask(self.entropy)))),
        }
    }

    /// Whether the client has ended its sending side without a close frame and is still served.
    pub(super) fn half_closed(&self) -> bool {
        self.client_left_without_close() && !self.down.source_ended() && !self.down.done()
    }

    fn client_left_without_close(&self) -> bool {
        let left =
            |ending: Ending| ending.by == EndedBy::Client && ending.cause == Cause::Disconnected;
        self.ending().is_some_and(left)
    }

    /// Records who ended the session and why. Only the first call counts; from then on there is a
    /// limit.
    pub(super) fn end(&mut self, by: EndedBy, cause: Cause, close_code: Option<u16>, now: Tick) {
        if self.ending().is_some() {
            return;
        }
        let wait = self.times.close;
        if let Some(closing) = self.begin_closing(now) {
            closing.limit = Limit::new(now, wait);
            closing.ending = Some(Ending {
                by,
                cause,
                close_code,
                clean: false,
            });
        }
        if !self.moves_now() {
            self.down.filter_closes(CloseFilter::Off);
        }
    }

    /// The end, which begins now if it has not begun; `None` if it was forced.
    fn begin_closing(&mut self, now: Tick) -> Option<&mut Closing> {
        if let Stage::Open = self.stage {
            let limit = Limit::new(now, self.times.close);
            self.stage = Stage::Closing(Box::new(Closing::new(limit)));
        }
        match &mut self.stage {
            Stage::Closing(closing) => Some(closing),
            Stage::Open | Stage::Cut(_) => None,
        }
    }

    /// Gives the end all of its time again.
    pub(super) fn restart_limit(&mut self, wait: Tick, now: Tick) {
        if let Stage::Closing(closing) = &mut self.stage {
            closing.limit = Limit::new(now, wait);
        }
    }

    /// Acts on what happened in the direction whose source is `side`.
    pub(super) fn on(&mut self, side: Side, event: Event, now: Tick) {
        let by = match side {
            Side::Client => EndedBy::Client,
            Side::Backend => EndedBy::Backend,
        };
        match event {
            Event::Closed => {
                let code = self.sent_by(side).tracker.close_code();
                self.end(by, Cause::CloseFrame, code, now);
                if side == Side::Backend {
                    self.stop_moving();
                }
            }
            Event::CloseWithheld(code) => self.backend_closed(code, now),
            Event::Violation(violation) => self.violated(side, violation, now),
            Event::SourceEnded { reset } => self.stream_ended(side, by, reset, now),
            Event::SinkLost => self.sink_lost(side.other(), now),
        }
        // Both have closed. The gateway is the server towards the client, and the server ends the
        // connection (RFC 6455, section 7.1.1).
        if self.up.closed() && self.down.closed() {
            self.down.finish();
        }
    }

    /// Closes both sides after a violation: the offender gets the reason, the other side that the
    /// session is over. A client first gets the backend's answers to what was valid before.
    fn violated(&mut self, side: Side, violation: Violation, now: Tick) {
        self.stop_moving();
        let code = violation.close_code();
        let cause = match (code, side) {
            (1009, _) => Cause::TooBig,
            (_, Side::Client) => Cause::ClientProtocolError,
            (_, Side::Backend) => Cause::BackendProtocolError,
        };
        self.end(EndedBy::Gateway, cause, Some(code), now);
        let text = violation.to_string();
        let (to_client, place, to_backend) = match side {
            Side::Client => {
                let frame = close_frame(code, &text, None);
                (frame, ClosePlace::SourceClose, format!("client: {text}"))
            }
            Side::Backend => {
                self.up.finish();
                let frame = close_frame(1011, &format!("backend: {text}"), None);
                (frame, ClosePlace::NextBoundary, text)
            }
        };
        self.down.queue_close(to_client, place);
        self.down.finish();
        let frame = close_frame(code, &to_backend, Some(mask(self.entropy)));
        self.up.queue_close(frame, ClosePlace::NextBoundary);
        if self.down.awaits_source_close() {
            self.restart_limit(self.wait(), now);
        }
    }

    /// A side takes nothing more. The reason is learnt by reading it, if that happens before the
    /// limit; a sender that is held up is not read.
    fn sink_lost(&mut self, side: Side, now: Tick) {
        if side == Side::Backend && self.survives_sink_loss(now) {
            return;
        }
        if let Some(closing) = self.begin_closing(now) {
            closing.lost.get_or_insert(side);
        }
        if side == Side::Backend {
            self.lose_backend_sink();
        }
    }

    fn stream_ended(&mut self, side: Side, by: EndedBy, reset: bool, now: Tick) {
        let cause = if reset {
            Cause::Reset
        } else {
            Cause::Disconnected
        };
        if side == Side::Backend && self.survives_source_end(cause) {
            return;
        }
        self.stop_moving();
        match side {
            Side::Client => {
                self.end(by, cause, None, now);
                if reset {
                    self.down.lose_sink();
                }
                self.answer_backend();
                self.up.finish();
            }
            Side::Backend => self.backend_lost(by, cause, now),
        }
    }

    /// The backend is gone and no other takes its place: the client gets a code and a reason
    /// instead of a bare end of the stream, where a frame may stand (I10).
    pub(super) fn backend_lost(&mut self, by: EndedBy, cause: Cause, now: Tick) {
        let begun = self.ending().is_some();
        let whole = self.down.tracker.at_boundary();
        self.end(by, cause, whole.then_some(self.backend_lost_code), now);
        if !begun {
            let frame = close_frame(self.backend_lost_code, "backend lost", None);
            self.down.queue_close(frame, ClosePlace::NextBoundary);
        } else if self.client_left_without_close() && !self.down.has_queued_close() {
            let frame = close_frame(1000, "", None);
            self.down.queue_close(frame, ClosePlace::NextBoundary);
        } else {
            self.answer_closed_client();
        }
        self.lose_backend_sink();
        self.down.finish();
    }

    /// The client has closed and its backend did not answer: the gateway answers, behind what was
    /// forwarded so far. Returns whether it did.
    fn answer_closed_client(&mut self) -> bool {
        let owed = self.up.closed() && !self.down.closed() && !self.down.has_queued_close();
        if owed && !self.moves_now() {
            let frame = answer_to_close(self.up.tracker.close_code(), None);
            self.down.queue_close(frame, ClosePlace::NextBoundary);
            self.down.finish();
            self.note_unanswered();
            return self.down.closed() || self.down.has_queued_close();
        }
        owed && self.answer_moving_client()
    }

    /// The client has gone without an answer to the close frame of the backend or of the gateway:
    /// the gateway answers the backend.
    fn answer_backend(&mut self) {
        if self.down.closed() && !self.up.closed() && !self.up.has_queued_close() {
            self.note_unanswered();
            self.close_backend();
        }
    }

    fn note_unanswered(&mut self) {
        if let Stage::Closing(closing) = &mut self.stage {
            closing.unanswered = true;
        }
    }

    /// Sends the backend a close frame in place of the client, unless it gets one already. What the
    /// client still sends is dropped.
    pub(super) fn close_backend(&mut self) {
        // A queued frame has the better reason: that of a violation, for example.
        if self.up.has_queued_close() {
            return;
        }
        let code = self.down.tracker.close_code();
        let code = code.or_else(|| self.ending().and_then(|ending| ending.close_code));
        let frame = answer_to_close(code, Some(mask(self.entropy)));
        self.up.queue_close(frame, ClosePlace::NextBoundary);
    }

    /// Extends the limit by what moved since the last call: a peer that still takes what is due to
    /// it has its time again.
    pub(super) fn note_progress(&mut self, now: Tick) {
        let (up_wrote, up_dropped) = self.up.take_progress();
        let (down_wrote, down_dropped) = self.down.take_progress();
        if let Stage::Open = self.stage {
            return;
        }
        let (half_closed, wait) = (self.half_closed(), self.wait());
        let Stage::Closing(closing) = &mut self.stage else {
            return;
        };
        let limit = &mut closing.limit;
        let by_gateway = closing
            .ending
            .is_some_and(|ending| ending.by == EndedBy::Gateway);
        if half_closed && (up_wrote || down_wrote) {
            // A half-closed client is served for as long as something is sent to it.
            *limit = Limit::new(now, wait);
        }
        let due_up = self.up.draining() || closing.lost == Some(Side::Client);
        let due_down = self.down.draining() || closing.lost == Some(Side::Backend);
        if (up_wrote && due_up) || (down_wrote && due_down) {
            limit.deliver(now, wait);
        } else if self.down.awaits_source_close() {
            // Further bytes of the offender do not delay the close frame that is due to it.
            if down_wrote {
                limit.linger(now, wait);
            }
        } else if up_dropped || down_dropped || down_wrote || (up_wrote && !by_gateway) {
            limit.linger(now, wait);
        }
        // A client that the gateway closed, and that goes on sending, is forwarded for no longer
        // than it may take to answer.
        let answer_overdue = now >= limit.began().saturating_add(self.times.close);
        if by_gateway && answer_overdue && up_wrote {
            self.close_backend();
        }
    }

    /// The limit has come. Returns whether there is more to wait for.
    pub(super) fn prolong(&mut self, queue: impl Fn(Side) -> Option<SendQueue>, now: Tick) -> bool {
        let wait = self.wait();
        let queued = |asked: bool, side| {
            let queue = asked.then(|| queue(side)).flatten();
            queue.map_or(0, |queue| queue.bytes)
        };
        let queues = [
            queued(self.down.draining(), Side::Client),
            queued(self.up.draining() && self.attached, Side::Backend),
        ];
        if let Stage::Closing(closing) = &mut self.stage
            && closing.limit.observe(queues, now, wait)
        {
            return true;
        }
        if self.down.stop_awaiting_source_close() || self.answer_closed_client() {
            self.restart_limit(self.times.close, now);
            self.turn_needed = true;
            return true;
        }
        false
    }

    /// How long nothing may move.
    fn wait(&self) -> Tick {
        if self.down.awaits_source_close() {
            (self.times.close / VIOLATION_SHARE).max(1)
        } else {
            self.times.close
        }
    }

    /// Whether nothing is left to be moved in either direction, and both streams were ended.
    pub(super) fn over(&self) -> bool {
        // The source of a session that ends without a backend has ended, too.
        let ended = self.up.source_ended() && self.down.source_ended();
        ended && self.up.done() && self.down.done()
    }
}
