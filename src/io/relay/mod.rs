//! A session after its 101: two streams, a direction each way, and how it comes to an end. One
//! struct owns all of it, and nothing is hidden in a future or a timer, so that a session can be
//! looked at, closed, or taken elsewhere between two polls.
//!
//! The relay reads frame headers and nothing else. It is driven by `poll` when a stream is ready,
//! by `close` when the gateway wants an end, and by `expire` when its time has come.

mod alive;
mod flow;
mod life;
mod moving;
mod state;
mod throttle;

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::base::traffic::Traffic;
use crate::core::session::record::{Cause, EndedBy, Ending};
use crate::core::session::resume::ResumeReason;
use crate::core::session::wheel::Tick;
use crate::core::wire::frame::close_frame;
use crate::core::wire::sieve::Sieve;
use crate::core::wire::tracker::{FrameTracker, Rules, Sender, Violation};
use crate::io::relay::alive::Alive;
use crate::io::relay::flow::{Event, Flow, Place, Withhold};
use crate::io::relay::moving::Moving;
use crate::io::relay::throttle::Sip;
use crate::live::CloseOrder;

pub use crate::io::relay::alive::Keepalive;
pub use crate::io::relay::flow::Scratch;
pub use crate::io::relay::life::Warning;
pub use crate::io::relay::state::{RelayState, Unsound};
pub use crate::io::relay::throttle::Throttle;

/// What a session is allowed in time, in ticks of the worker's wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Silence that ends it.
    pub idle: Option<Tick>,
    /// When it ends at the latest.
    pub lifetime_at: Option<Tick>,
    /// When its right to be here ends.
    pub expires_at: Option<Tick>,
    /// From the first word of its end to the last.
    pub close: Tick,
}

impl Times {
    /// When it ends at the latest, for whatever reason.
    fn last_at(&self) -> Option<Tick> {
        [self.lifetime_at, self.expires_at]
            .into_iter()
            .flatten()
            .min()
    }
}

/// What a relay starts with.
#[derive(Debug)]
pub struct Setup {
    /// What the client may send.
    pub client_rules: Rules,
    /// What the backend may send.
    pub backend_rules: Rules,
    /// What came from the client behind its request.
    pub client_early: Vec<u8>,
    /// What came from the backend behind its 101.
    pub backend_early: Vec<u8>,
    /// Its bounds in time.
    pub times: Times,
    /// Close code for the client when the backend is lost.
    pub backend_lost_code: u16,
    /// Bytes that are held for the next backend, where the session may go on with one.
    pub hold: Option<usize>,
    /// Who is pinged.
    pub keepalive: Option<Keepalive>,
    /// How fast the client may send.
    pub throttle: Option<Box<Throttle>>,
    /// What the client is told before its right ends.
    pub warning: Option<Box<Warning>>,
    /// Knows the messages by which the client renews its right.
    pub sieve: Option<Sieve>,
}

/// What a relay has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The session is over.
    Ended(Ending),
    /// It has no backend any more and wants another: `attach` or `give_up`. The client's half lives
    /// on, and wants to be polled meanwhile.
    Bereft(ResumeReason),
    /// Its client has brought another credential: `renewal`, and then `renewal_over`. Until that
    /// the client is not read.
    Renewal,
}

/// Part of `Times::close` that a backend has for its last word to a client that broke the rules.
const LAST_WORD_SHARE: Tick = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Side {
    Client,
    Backend,
}

/// A session's streams and everything that is known about them.
#[derive(Debug)]
pub struct Relay<C> {
    client: C,
    /// `None` between two, and when the last one is gone.
    backend: Option<C>,
    /// From the client to the backend.
    up: Flow,
    /// From the backend to the client.
    down: Flow,
    times: Times,
    backend_lost_code: u16,
    /// When bytes moved last.
    active: Tick,
    /// When the end, which has begun, is over at the latest.
    over_at: Option<Tick>,
    ending: Option<Ending>,
    /// Who stopped taking bytes before anything else was learnt of its end.
    lost: Option<Side>,
    cut: bool,
    waker: Option<Waker>,
    /// Set where the session may go on with another backend.
    moving: Option<Box<Moving>>,
    /// Set where somebody is pinged.
    alive: Option<Box<Alive>>,
    /// Set where the client may send only so fast.
    throttle: Option<Box<Throttle>>,
    /// Set where the client is warned of the end of its right.
    warning: Option<Box<Warning>>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Relay<C> {
    /// Both streams stand right behind the 101.
    pub fn new(client: C, backend: C, setup: Setup, now: Tick) -> Self {
        let mut up = FrameTracker::new(Sender::Client, setup.client_rules);
        if let Some(sieve) = setup.sieve {
            up.sift(sieve);
        }
        let down = FrameTracker::new(Sender::Backend, setup.backend_rules);
        let mut relay = Self {
            client,
            backend: Some(backend),
            up: Flow::new(up, setup.client_early),
            down: Flow::new(down, setup.backend_early),
            times: setup.times,
            backend_lost_code: setup.backend_lost_code,
            active: now,
            over_at: None,
            ending: None,
            lost: None,
            cut: false,
            waker: None,
            moving: None,
            alive: setup
                .keepalive
                .map(|rules| Box::new(Alive::new(rules, now))),
            throttle: setup.throttle,
            warning: setup.warning,
        };
        if let Some(hold_max) = setup.hold {
            relay.allow_moves(hold_max);
        }
        relay
    }

    /// Moves everything that can be moved; ready when the session is over or, once for each time,
    /// when it needs another backend.
    pub fn poll(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, now: Tick) -> Poll<Turn> {
        loop {
            if self.cut {
                return Poll::Ready(Turn::Ended(self.ended()));
            }
            self.forget_renewal();
            let up = self.poll_up(cx, scratch, now);
            let (client, backend) = (&mut self.client, self.backend.as_mut());
            let down = self.down.poll(backend, Some(client), cx, scratch);
            let (up_moved, down_moved) = (self.up.take_moved(), self.down.take_moved());
            if up_moved || down_moved {
                self.active(now);
            }
            self.note_life(up_moved, down_moved, now);
            for (side, event) in [(Side::Client, up), (Side::Backend, down)] {
                if let Poll::Ready(event) = event {
                    self.on(side, event, now);
                }
            }
            if self.over() {
                return Poll::Ready(Turn::Ended(self.ended()));
            }
            self.depart();
            if self.asks_for_renewal() {
                self.remember(cx.waker());
                return Poll::Ready(Turn::Renewal);
            }
            if let Some(reason) = self.ask_for_backend() {
                self.remember(cx.waker());
                return Poll::Ready(Turn::Bereft(reason));
            }
            let turn_over =
                up == Poll::Ready(Event::TurnOver) || down == Poll::Ready(Event::TurnOver);
            if turn_over {
                cx.waker().wake_by_ref();
            }
            if turn_over || (up.is_pending() && down.is_pending()) {
                self.remember(cx.waker());
                return Poll::Pending;
            }
        }
    }

    /// One turn of what the client sends.
    fn poll_up(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, now: Tick) -> Poll<Event> {
        let pauses = self.pauses(now);
        let (client, sink) = (&mut self.client, self.backend.as_mut());
        if self.throttle.is_none() {
            return self.up.poll(Some(client), sink, cx, scratch);
        }
        if pauses {
            return self.up.poll(None::<&mut C>, sink, cx, scratch);
        }
        let mut sip = Sip::new(client);
        let up = self.up.poll(Some(&mut sip), sink, cx, scratch);
        if sip.exhausted() {
            cx.waker().wake_by_ref();
        }
        self.measure(now);
        up
    }

    /// Ends the session from the gateway's side: a close frame to the client at the next boundary;
    /// the client's answer goes on to the backend, so that both see an orderly close. Answers
    /// whether this began the end; a session that is ending already is left alone.
    pub fn close(&mut self, order: &CloseOrder, now: Tick) -> bool {
        // Whose client only stopped sending lives on, until somebody ends it.
        if self.ending.is_some() && !self.half_closed() {
            return false;
        }
        self.ending = None;
        self.stop_moving();
        self.end(EndedBy::Gateway, order.cause, Some(order.code), now);
        self.over_at = Some(now.saturating_add(self.times.close));
        let frame = close_frame(order.code, &order.reason, None);
        self.down.say_goodbye(frame, Place::NextBoundary);
        self.wake();
        true
    }

    /// When `expire` wants to be called; may be earlier than anything is due.
    pub fn due(&self) -> Option<Tick> {
        match self.over_at {
            Some(over_at) if self.half_closed() => {
                Some(self.times.last_at().map_or(over_at, |at| at.min(over_at)))
            }
            Some(over_at) => Some(over_at),
            None => [
                self.idle_at(),
                self.times.last_at(),
                self.departs_at(),
                self.pulse_at(),
                self.resumes_at(),
                self.warns_at(),
            ]
            .into_iter()
            .flatten()
            .min(),
        }
    }

    /// Does what is due at `now`: ends a session that was idle for too long or is too old, cuts one
    /// whose end takes too long.
    pub fn expire(&mut self, now: Tick) {
        let too_old = self.times.last_at().is_some_and(|at| now >= at);
        let expired = self.times.expires_at.is_some_and(|at| now >= at);
        if let Some(over_at) = self.over_at.filter(|_| !(too_old && self.half_closed())) {
            if now >= over_at && (self.down.hurry() || self.answer_client()) {
                self.over_at = Some(now.saturating_add(self.times.close));
                self.wake();
            } else if now >= over_at {
                self.cut(now);
            }
            return;
        }
        let order = |code, reason: &str, cause| CloseOrder {
            code,
            reason: reason.into(),
            cause,
        };
        self.warn(now);
        if expired {
            self.close(&order(3000, "credential expired", Cause::Expired), now);
        } else if too_old {
            self.close(
                &order(
                    1001,
                    "maximum session lifetime reached",
                    Cause::LifetimeReached,
                ),
                now,
            );
        } else if self.idle_at().is_some_and(|at| now >= at) {
            self.close(&order(3008, "idle for too long", Cause::IdleTimeout), now);
        } else if self.departs_at().is_some_and(|at| now >= at) {
            self.departure_late(now);
        } else if self.resumes_at().is_some_and(|at| now >= at) {
            self.wake();
        } else if self.resumes_at().is_none() {
            // Whoever is not read cannot answer.
            self.feel_pulses(now);
        }
    }

    /// Ends the session now, whatever is in flight.
    pub fn cut(&mut self, now: Tick) {
        match self.lost {
            Some(Side::Client) => self.end(EndedBy::Client, Cause::Reset, None, now),
            Some(Side::Backend) => self.end(EndedBy::Backend, Cause::Reset, None, now),
            None => self.end(EndedBy::Gateway, Cause::Shutdown, None, now),
        }
        // Best effort: the backend learns that this was no crash of the client. Only behind whole
        // frames, and those must have left (I10).
        let whole = self.up.tracker.at_boundary() && self.up.held() == 0;
        if let Some(backend) = &mut self.backend
            && whole
            && !self.up.closed()
            && !self.up.done()
        {
            let code = self.ending.and_then(|ending| ending.close_code);
            let frame = close_frame(code.unwrap_or(1001), "session ended", Some(mask()));
            let mut cx = Context::from_waker(Waker::noop());
            let _ = Pin::new(backend).poll_write(&mut cx, &frame);
        }
        self.cut = true;
        self.wake();
    }

    /// What went from the client to the backend.
    pub fn to_backend(&self) -> Traffic {
        self.up.tracker.traffic()
    }

    /// What went from the backend to the client.
    pub fn to_client(&self) -> Traffic {
        self.down.tracker.traffic()
    }

    /// Since when no byte moved.
    pub fn active_at(&self) -> Tick {
        self.active
    }

    /// Whether its end has begun.
    pub fn closing(&self) -> bool {
        self.ending.is_some()
    }

    /// Bytes that the gateway holds for both sides.
    pub fn held(&self) -> usize {
        self.up.held() + self.down.held()
    }

    /// Bytes moved. A client that only stopped sending is heard out for as long as it is spoken to.
    fn active(&mut self, now: Tick) {
        self.active = now;
        if self.half_closed() {
            self.over_at = Some(now.saturating_add(self.times.close));
        }
    }

    /// The client has ended its sending side, without a close frame, and still hears the backend.
    fn half_closed(&self) -> bool {
        let ended =
            |ending: Ending| ending.by == EndedBy::Client && ending.cause == Cause::Disconnected;
        self.ending.is_some_and(ended) && !self.down.source_ended() && !self.down.done()
    }

    fn idle_at(&self) -> Option<Tick> {
        self.times.idle.map(|idle| self.active.saturating_add(idle))
    }

    /// Nothing is to be moved now; whoever calls `wake` finds the task.
    pub fn rest(&mut self, cx: &Context<'_>) {
        self.remember(cx.waker());
    }

    fn remember(&mut self, waker: &Waker) {
        if !self
            .waker
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            self.waker = Some(waker.clone());
        }
    }

    /// Has it polled once more.
    pub fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// The first word of the end counts; from then on there is a limit.
    fn end(&mut self, by: EndedBy, cause: Cause, close_code: Option<u16>, now: Tick) {
        if self.ending.is_none() {
            self.ending = Some(Ending {
                by,
                cause,
                close_code,
                clean: false,
            });
            self.over_at = Some(now.saturating_add(self.times.close));
            if !self.moves_now() {
                self.down.withhold(Withhold::Nothing);
            }
        }
    }

    fn on(&mut self, side: Side, event: Event, now: Tick) {
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
                self.over_at =
                    Some(now.saturating_add((self.times.close / LAST_WORD_SHARE).max(1)));
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
    }

    /// The other side of `side` takes nothing more. Why is learnt from reading it, if it is read
    /// before the limit: a sender that is held up is not.
    fn sink_lost(&mut self, side: Side, now: Tick) {
        if side == Side::Client && self.outlive_sink(now) {
            return;
        }
        let over_at = now.saturating_add(self.times.close);
        self.over_at = Some(self.over_at.map_or(over_at, |known| known.min(over_at)));
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
                self.up.finish();
            }
            Side::Backend => self.backend_lost(by, cause, now),
        }
    }

    fn backend_lost(&mut self, by: EndedBy, cause: Cause, now: Tick) {
        let begun = self.ending.is_some();
        let whole = self.down.tracker.at_boundary();
        self.end(by, cause, whole.then_some(self.backend_lost_code), now);
        // The client must not be left to guess: a code and a reason, not a bare end (I10: only
        // where a frame may stand). Who asked for the close itself needs no such word.
        if !begun {
            let frame = close_frame(self.backend_lost_code, "backend lost", None);
            self.down.say_goodbye(frame, Place::NextBoundary);
        }
        self.up.lose_sink();
        self.down.finish();
    }

    /// Nothing is left to be moved in either direction.
    fn over(&self) -> bool {
        let client_left = self.up.source_ended();
        let backend_left = self.down.source_ended();
        match (client_left, backend_left) {
            (true, true) => self.up.done() && self.down.done(),
            // The client is gone for good; what the backend still says has nowhere to go.
            (true, false) => self.down.done() && self.up.done(),
            _ => false,
        }
    }

    fn ended(&mut self) -> Ending {
        let unknown = Ending {
            by: EndedBy::Gateway,
            cause: Cause::Aborted,
            close_code: None,
            clean: false,
        };
        let ending = self.ending.unwrap_or(unknown);
        Ending {
            clean: self.up.closed() && self.down.closed() && !self.cut,
            ..ending
        }
    }
}

/// A key that the backend's frame is masked with; it must not be guessable (RFC 6455, section 5.3).
fn mask() -> [u8; 4] {
    let mut key = [0; 4];
    aws_lc_rs::rand::fill(&mut key).expect("the system has randomness");
    key
}

#[cfg(test)]
mod tests;
