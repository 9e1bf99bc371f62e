//! A session after its 101: two streams, a direction each way, and how it comes to an end. One
//! struct owns all of it, and nothing is hidden in a future or a timer, so that a session can be
//! looked at, closed, or taken elsewhere between two polls.
//!
//! The relay reads frame headers and nothing else. It is driven by `poll` when a stream is ready,
//! by `close` when the gateway wants an end, and by `expire` when its time has come.

mod alive;
mod ending;
mod flow;
mod life;
mod moving;
mod state;
mod stream;
mod throttle;

use std::task::{Context, Poll, Waker};

use serde::{Deserialize, Serialize};

use crate::base::traffic::Traffic;
use crate::core::session::orders::CloseOrder;
use crate::core::session::record::{Cause, Ending};
use crate::core::session::resume::ResumeReason;
use crate::core::session::wheel::Tick;
use crate::core::wire::in_band::InBandMatcher;
use crate::core::wire::tracker::{FrameTracker, Rules, Sender};
use crate::io::relay::alive::Alive;
use crate::io::relay::ending::Limit;
use crate::io::relay::flow::{Event, Flow};
use crate::io::relay::moving::Moving;
use crate::io::relay::throttle::Sip;

pub use crate::io::relay::alive::Keepalive;
pub use crate::io::relay::flow::Scratch;
pub use crate::io::relay::life::Warning;
pub use crate::io::relay::state::{RelayState, Unsound};
pub use crate::io::relay::stream::Stream;
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
    /// How long nothing may move between the first word of its end and the last.
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
    /// Finds the messages by which the client renews its right.
    pub in_band: Option<InBandMatcher>,
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
    /// Until when the end, which has begun, may take.
    over: Option<Box<Limit>>,
    ending: Option<Ending>,
    /// The gateway answered a close frame in a peer's place.
    unanswered: bool,
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

impl<C: Stream> Relay<C> {
    /// Both streams stand right behind the 101.
    pub fn new(client: C, backend: C, setup: Setup, now: Tick) -> Self {
        let mut up = FrameTracker::new(Sender::Client, setup.client_rules);
        if let Some(matcher) = setup.in_band {
            up.match_in_band(matcher);
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
            over: None,
            ending: None,
            unanswered: false,
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
                self.active = now;
            }
            self.note_life(up_moved, down_moved, now);
            for (side, event) in [(Side::Client, up), (Side::Backend, down)] {
                if let Poll::Ready(event) = event {
                    self.on(side, event, now);
                }
            }
            self.note_progress(now);
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

    /// When `expire` wants to be called; may be earlier than anything is due.
    pub fn due(&self) -> Option<Tick> {
        match &self.over {
            Some(limit) if self.half_closed() => {
                Some(self.times.last_at().map_or(limit.at, |at| at.min(limit.at)))
            }
            Some(limit) => Some(limit.at),
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
        let over_at = self.over.as_ref().map(|limit| limit.at);
        if let Some(at) = over_at.filter(|_| !(too_old && self.half_closed())) {
            if now >= at && !self.prolong(now) {
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
        } else {
            if self.resumes_at().is_some_and(|at| now >= at) {
                self.wake();
            }
            self.feel_pulses(now);
        }
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

    /// When it has been idle for too long. A client that is left unread is not idle.
    fn idle_at(&self) -> Option<Tick> {
        let active = self
            .resumes_at()
            .map_or(self.active, |at| at.max(self.active));
        self.times.idle.map(|idle| active.saturating_add(idle))
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
}

/// A key that the backend's frame is masked with; it must not be guessable (RFC 6455, section 5.3).
fn mask() -> [u8; 4] {
    let mut key = [0; 4];
    aws_lc_rs::rand::fill(&mut key).expect("the system has randomness");
    key
}

#[cfg(test)]
mod tests;
