//! How a session comes to its end: who ended it, what the other side is sent, and how long that may
//! take. Time counts only while nothing moves: a peer that still takes what it is owed is waited
//! for, and what it sends meanwhile is read and dropped, because closing a socket with unread bytes
//! resets the connection and discards what is on its way to the peer.

use std::pin::Pin;
use std::task::{Context, Waker};

use serde::{Deserialize, Serialize};

use crate::core::session::orders::CloseOrder;
use crate::core::session::record::{Cause, EndedBy, Ending};
use crate::core::session::wheel::Tick;
use crate::core::wire::frame::{answer_to_close, close_frame};
use crate::core::wire::violation::Violation;
use crate::io::relay::flow::{Event, Flow, Place, Withhold};
use crate::io::relay::{Relay, Side, Stream, mask};

/// Part of `Times::close` that a backend has for its last word to a client that broke the rules.
const LAST_WORD_SHARE: Tick = 5;
/// How many times `Times::close` a peer may only talk, once it has taken everything it was owed.
const LINGER: Tick = 6;
/// How many times `Times::close` an end may take, whatever moves.
const LONGEST: Tick = 60;

/// Until when an end that has begun may take.
#[derive(Debug)]
pub(super) struct Limit {
    /// The end is over if nothing moves until then.
    pub(super) at: Tick,
    began: Tick,
    /// When a peer last took bytes that it was owed.
    delivered: Tick,
    /// Bytes that the system held for the client and for the backend when that was last looked at.
    queued: [usize; 2],
}

/// How long ago an end began that took longer than it may without anything moving, and how long ago
/// a peer last took bytes that it was owed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Prolonged {
    began: Tick,
    delivered: Tick,
}

impl Limit {
    pub(super) fn new(now: Tick, wait: Tick) -> Box<Self> {
        Box::new(Self {
            at: now.saturating_add(wait),
            began: now,
            delivered: now,
            queued: [usize::MAX; 2],
        })
    }

    /// For another process: how much is left, and what moved if that is not the whole wait.
    pub(super) fn pack(&self, now: Tick, wait: Tick) -> (Tick, Option<Prolonged>) {
        let whole = self.began == self.delivered && self.at == self.began.saturating_add(wait);
        let prolonged = Prolonged {
            began: now.saturating_sub(self.began),
            delivered: now.saturating_sub(self.delivered),
        };
        let left = self.at.saturating_sub(now);
        (left, (!whole).then_some(prolonged))
    }

    /// What another process packed.
    pub(super) fn unpack(
        left: Tick,
        prolonged: Option<Prolonged>,
        now: Tick,
        wait: Tick,
    ) -> Box<Self> {
        let at = now.saturating_add(left);
        let (began, delivered) = match prolonged {
            Some(ago) => (
                now.saturating_sub(ago.began),
                now.saturating_sub(ago.delivered),
            ),
            None => (at.saturating_sub(wait), at.saturating_sub(wait)),
        };
        Box::new(Self {
            at,
            began,
            delivered,
            queued: [usize::MAX; 2],
        })
    }

    /// A peer took bytes that it was owed.
    fn deliver(&mut self, now: Tick, wait: Tick) {
        self.delivered = now;
        self.extend(now.saturating_add(wait), wait);
    }

    /// Bytes moved that nobody is owed.
    fn linger(&mut self, now: Tick, wait: Tick) {
        let latest = self.delivered.saturating_add(wait.saturating_mul(LINGER));
        self.extend(now.saturating_add(wait).min(latest), wait);
    }

    fn extend(&mut self, to: Tick, wait: Tick) {
        let latest = self.began.saturating_add(wait.saturating_mul(LONGEST));
        self.at = self.at.max(to.min(latest));
    }
}

impl<C: Stream> Relay<C> {
    /// Ends the session from the gateway's side: a close frame to the client at the next boundary;
    /// the client's answer goes on to the backend, so that both see an orderly close. Answers
    /// whether this began the end; a session that is ending already is left alone.
    pub fn close(&mut self, order: &CloseOrder, now: Tick) -> bool {
        // A client that has only stopped sending is still served, and may be closed.
        if self.ending.is_some() && !self.half_closed() {
            return false;
        }
        self.ending = None;
        self.stop_moving();
        self.end(EndedBy::Gateway, order.cause, Some(order.code), now);
        let frame = close_frame(order.code, &order.reason, None);
        self.down.say_goodbye(frame, Place::NextBoundary);
        self.wake();
        true
    }

    /// Ends the session now, whatever is in flight.
    pub fn cut(&mut self, now: Tick) {
        let told = self.say_last_words();
        let code = told.then_some(SESSION_ENDED);
        match self.lost {
            Some(Side::Client) => self.end(EndedBy::Client, Cause::Reset, None, now),
            Some(Side::Backend) => self.end(EndedBy::Backend, Cause::Reset, code, now),
            None => self.end(EndedBy::Gateway, Cause::Shutdown, code, now),
        }
        self.cut = true;
        self.wake();
    }

    /// Best effort: a close frame for each side that had none, so that neither takes this for a
    /// crash. Only behind whole frames, and those must have left (I10). Answers whether the client
    /// was sent one.
    fn say_last_words(&mut self) -> bool {
        let code = self.ending.and_then(|ending| ending.close_code);
        let code = code.unwrap_or(SESSION_ENDED);
        let mut cx = Context::from_waker(Waker::noop());
        if let Some(backend) = self.backend.as_mut().filter(|_| self.up.takes_last_words()) {
            let frame = close_frame(code, SAID_AT_THE_END, Some(mask()));
            let _ = Pin::new(&mut *backend).poll_write(&mut cx, &frame);
            let _ = Pin::new(backend).poll_flush(&mut cx);
        }
        let tell = self.down.takes_last_words() && self.lost != Some(Side::Client);
        if tell {
            let frame = close_frame(code, SAID_AT_THE_END, None);
            let _ = Pin::new(&mut self.client).poll_write(&mut cx, &frame);
            let _ = Pin::new(&mut self.client).poll_flush(&mut cx);
        }
        tell
    }

    /// The client has ended its sending side, without a close frame, and still hears the backend.
    pub(super) fn half_closed(&self) -> bool {
        self.client_left_without_close() && !self.down.source_ended() && !self.down.done()
    }

    fn client_left_without_close(&self) -> bool {
        let left =
            |ending: Ending| ending.by == EndedBy::Client && ending.cause == Cause::Disconnected;
        self.ending.is_some_and(left)
    }

    /// The first word of the end counts; from then on there is a limit.
    pub(super) fn end(&mut self, by: EndedBy, cause: Cause, close_code: Option<u16>, now: Tick) {
        if self.ending.is_none() {
            self.ending = Some(Ending {
                by,
                cause,
                close_code,
                clean: false,
            });
            self.over = Some(Limit::new(now, self.times.close));
            if !self.moves_now() {
                self.down.withhold(Withhold::Nothing);
            }
        }
    }

    pub(super) fn on(&mut self, side: Side, event: Event, now: Tick) {
        let by = match side {
            Side::Client => EndedBy::Client,
            Side::Backend => EndedBy::Backend,
        };
        match event {
            Event::TurnOver => return,
            Event::Closed => {
                let code = self.flow(side).tracker.close_code();
                self.end(by, Cause::CloseFrame, code, now);
                if side == Side::Backend {
                    self.stop_moving();
                }
            }
            Event::Withheld(code) => self.backend_goes(code, now),
            Event::Violation(violation) => self.violated(side, violation, now),
            Event::SourceEnded { reset } => self.source_ended(side, by, reset, now),
            Event::SinkLost => self.sink_lost(side, now),
        }
        // Both have said goodbye: the gateway is the server towards the client, and the server ends
        // the connection (RFC 6455, section 7.1.1).
        if self.up.closed() && self.down.closed() {
            self.down.finish();
        }
    }

    fn flow(&self, from: Side) -> &Flow {
        match from {
            Side::Client => &self.up,
            Side::Backend => &self.down,
        }
    }

    /// The offender is told what it did, the other side that the session is over. A client hears
    /// first what the backend has to say to all that was good before.
    fn violated(&mut self, side: Side, violation: Violation, now: Tick) {
        self.stop_moving();
        let code = violation.close_code();
        let cause = match (code, side) {
            (1009, _) => Cause::TooBig,
            (_, Side::Client) => Cause::ClientProtocolError,
            (_, Side::Backend) => Cause::BackendProtocolError,
        };
        self.end(EndedBy::Gateway, cause, Some(code), now);
        let said = violation.to_string();
        let (to_client, place, to_backend) = match side {
            Side::Client => {
                let frame = close_frame(code, &said, None);
                (frame, Place::LastWord, format!("client: {said}"))
            }
            Side::Backend => {
                self.up.finish();
                let frame = close_frame(1011, &format!("backend: {said}"), None);
                (frame, Place::NextBoundary, said)
            }
        };
        self.down.say_goodbye(to_client, place);
        self.down.finish();
        let frame = close_frame(code, &to_backend, Some(mask()));
        self.up.say_goodbye(frame, Place::NextBoundary);
        if self.down.awaits_last_word() {
            self.over = Some(Limit::new(now, self.wait()));
        }
    }

    /// The other side of `side` takes nothing more. Why is learnt from reading it, if it is read
    /// before the limit: a sender that is held up is not.
    fn sink_lost(&mut self, side: Side, now: Tick) {
        if side == Side::Client && self.outlive_sink(now) {
            return;
        }
        let limit = Limit::new(now, self.times.close);
        self.over.get_or_insert(limit);
        match side {
            Side::Client => {
                self.up.lose_sink();
                self.lost.get_or_insert(Side::Backend);
            }
            Side::Backend => {
                self.lost.get_or_insert(Side::Client);
            }
        }
    }

    fn source_ended(&mut self, side: Side, by: EndedBy, reset: bool, now: Tick) {
        let cause = if reset {
            Cause::Reset
        } else {
            Cause::Disconnected
        };
        if side == Side::Backend && self.outlive_source(cause) {
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

    pub(super) fn backend_lost(&mut self, by: EndedBy, cause: Cause, now: Tick) {
        let begun = self.ending.is_some();
        let whole = self.down.tracker.at_boundary();
        self.end(by, cause, whole.then_some(self.backend_lost_code), now);
        // The client must not be left to guess: a code and a reason, not a bare end (I10: only
        // where a frame may stand).
        if !begun {
            let frame = close_frame(self.backend_lost_code, "backend lost", None);
            self.down.say_goodbye(frame, Place::NextBoundary);
        } else if self.client_left_without_close() && !self.down.has_goodbye() {
            let frame = close_frame(1000, "", None);
            self.down.say_goodbye(frame, Place::NextBoundary);
        } else {
            self.answer_closed_client();
        }
        self.up.lose_sink();
        self.down.finish();
    }

    /// The client has closed and its backend did not answer: the gateway answers, behind what is
    /// forwarded so far. Answers whether it did.
    fn answer_closed_client(&mut self) -> bool {
        let owed = self.up.closed() && !self.down.closed() && !self.down.has_goodbye();
        if owed && !self.moves_now() {
            let frame = answer_to_close(self.up.tracker.close_code(), None);
            self.down.say_goodbye(frame, Place::NextBoundary);
            self.down.finish();
            self.unanswered = true;
            return self.down.closed() || self.down.has_goodbye();
        }
        owed && self.answer_client()
    }

    /// The backend was sent nothing behind its close frame, or the gateway's to the client, and the
    /// client has gone: the gateway answers.
    fn answer_backend(&mut self) {
        if self.down.closed() && !self.up.closed() && !self.up.has_goodbye() {
            self.unanswered = true;
            self.end_for_backend();
        }
    }

    /// Sends the backend a close frame in the client's place. What the client still sends is
    /// dropped.
    pub(super) fn end_for_backend(&mut self) {
        if self.up.closed() || self.up.has_goodbye() {
            return;
        }
        let code = self.down.tracker.close_code();
        let code = code.or_else(|| self.ending.and_then(|ending| ending.close_code));
        let frame = answer_to_close(code, Some(mask()));
        self.up.say_goodbye(frame, Place::NextBoundary);
    }

    /// Takes note of what moved since the last call: a peer that still takes what it is owed has
    /// its time anew.
    pub(super) fn note_progress(&mut self, now: Tick) {
        let (up, down) = (self.up.take_progress(), self.down.take_progress());
        let Some(mut limit) = self.over.take() else {
            return;
        };
        let (wait, wrote) = (self.wait(), up.wrote || down.wrote);
        let by_gateway = self
            .ending
            .is_some_and(|ending| ending.by == EndedBy::Gateway);
        if self.half_closed() && wrote {
            // It is served for as long as there is anything to serve it.
            limit = Limit::new(now, wait);
        }
        let owed_up = self.up.draining() || self.lost == Some(Side::Client);
        let owed_down = self.down.draining() || self.lost == Some(Side::Backend);
        if (up.wrote && owed_up) || (down.wrote && owed_down) {
            limit.deliver(now, wait);
        } else if self.down.awaits_last_word() {
            // The offender's further bytes do not delay the word that it is owed.
            if down.wrote {
                limit.linger(now, wait);
            }
        } else if up.dropped || down.dropped || down.wrote || (up.wrote && !by_gateway) {
            limit.linger(now, wait);
        }
        let had_its_time = now >= limit.began.saturating_add(self.times.close);
        self.over = Some(limit);
        // A client that was closed and only goes on talking is not listened to for longer than it
        // has to answer.
        if by_gateway && had_its_time && up.wrote {
            self.end_for_backend();
        }
    }

    /// The limit has come: answers whether there is more to wait for.
    pub(super) fn prolong(&mut self, now: Tick) -> bool {
        if self.systems_deliver(now) {
            return true;
        }
        if self.down.hurry() || self.answer_closed_client() {
            self.over = Some(Limit::new(now, self.times.close));
            self.wake();
            return true;
        }
        false
    }

    /// Whether the system has brought a peer bytes since the last look, of those that it is owed.
    fn systems_deliver(&mut self, now: Tick) -> bool {
        let wait = self.wait();
        let Some(limit) = &mut self.over else {
            return false;
        };
        let backend = self.backend.as_ref().filter(|_| self.up.draining());
        let client = Some(&self.client).filter(|_| self.down.draining());
        for (queued, stream) in limit.queued.iter_mut().zip([client, backend]) {
            let queue = stream.and_then(Stream::send_queue);
            let bytes = queue.map_or(0, |queue| queue.bytes);
            let before = std::mem::replace(queued, bytes);
            if (1..before).contains(&bytes) || (bytes == 0 && (1..usize::MAX).contains(&before)) {
                limit.delivered = now;
            }
        }
        if limit.delivered == now {
            limit.deliver(now, wait);
        }
        limit.at > now
    }

    /// How long nothing may move.
    fn wait(&self) -> Tick {
        if self.down.awaits_last_word() {
            (self.times.close / LAST_WORD_SHARE).max(1)
        } else {
            self.times.close
        }
    }

    /// Nothing is left to be moved in either direction, and both have heard of it.
    pub(super) fn over(&self) -> bool {
        let backend_left =
            self.down.source_ended() || (self.backend.is_none() && !self.moves_now());
        self.up.source_ended() && backend_left && self.up.done() && self.down.done()
    }

    pub(super) fn ended(&mut self) -> Ending {
        let unknown = Ending {
            by: EndedBy::Gateway,
            cause: Cause::Aborted,
            close_code: None,
            clean: false,
        };
        let ending = self.ending.unwrap_or(unknown);
        let closed = self.up.closed() && self.down.closed();
        Ending {
            clean: closed && !self.cut && !self.unanswered,
            ..ending
        }
    }
}

/// The close code of a session that ends for no reason of its own.
const SESSION_ENDED: u16 = 1001;
/// The words with it.
const SAID_AT_THE_END: &str = "session ended";
