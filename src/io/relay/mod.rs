//! The tokio engine of a session after its 101. It owns the two streams and a waker, and does what
//! the machine in `core::relay` decides; it decides nothing itself.
//!
//! It is driven by `poll` when a stream is ready, by `close` and the like when the gateway orders
//! something, and by `expire` when `due` has come. Nothing is hidden in a future or a timer, so a
//! session can be inspected, closed or handed over between two polls.

mod link;
mod stream;

use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::base::message::Message;
use crate::base::traffic::{PublishedCounts, Traffic};
use crate::core::relay::pump::{self, Pumped};
use crate::core::relay::{Entropy, FrameObserver, Machine, SendQueue};
use crate::core::session::orders::{CloseOrder, LeaveOrder};
use crate::core::session::resume::Moves;
use crate::core::session::wheel::Tick;
use crate::io::relay::link::PolledLink;

pub use crate::core::relay::{
    EventClient, Keepalive, LostCounts, OwnState, QueueBounds, ReadBuffer, RelayState, Setup, Side,
    Throttle, Times, Turn, Unsent, Unsound, Warning, WhenFull, client_frame, gap_frame,
};
pub use crate::io::relay::stream::Stream;

/// A session and its streams.
#[derive(Debug)]
pub struct Relay<C> {
    machine: Machine,
    client: C,
    /// `None` between two backends, and when the last one is gone.
    backend: Option<C>,
    waker: Option<Waker>,
}

impl<C: Stream> Relay<C> {
    /// Both streams are right behind the 101.
    pub fn new(client: C, backend: C, setup: Setup, now: Tick) -> Self {
        Self {
            machine: Machine::new(setup, ENTROPY, now),
            client,
            backend: Some(backend),
            waker: None,
        }
    }

    /// Goes on with these streams where another process stopped.
    ///
    /// # Errors
    /// When no session can be in this state.
    pub fn from_state(
        client: C,
        backend: Option<C>,
        state: RelayState,
        now: Tick,
    ) -> Result<Self, Unsound> {
        Ok(Self {
            machine: Machine::from_state(state, backend.is_some(), ENTROPY, now)?,
            client,
            backend,
            waker: None,
        })
    }

    /// The session as plain data, between two polls; `None` once it was cut.
    pub fn state(&self, now: Tick) -> Option<RelayState> {
        self.machine.state(now)
    }

    /// The client's stream and, if there is one, the backend's.
    pub fn streams(&self) -> (&C, Option<&C>) {
        (&self.client, self.backend.as_ref())
    }

    /// The same, to freeze and to thaw them.
    pub fn streams_mut(&mut self) -> (&mut C, Option<&mut C>) {
        (&mut self.client, self.backend.as_mut())
    }

    /// Moves everything that can be moved. Ready when the driver has to act, once for each reason.
    pub fn poll(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuffer, now: Tick) -> Poll<Turn> {
        let mut client = PolledLink::new(&mut self.client, cx.waker());
        let mut backend = self
            .backend
            .as_mut()
            .map(|backend| PolledLink::new(backend, cx.waker()));
        let machine = &mut self.machine;
        let pumped = pump::turn(machine, &mut client, backend.as_mut(), buffer, now);
        self.stamp();
        if !self.machine.attached() {
            self.backend = None;
        }
        match pumped {
            Pumped::Turn(turn @ Turn::Ended(_)) => return Poll::Ready(turn),
            Pumped::Turn(turn) => {
                self.rest(cx);
                return Poll::Ready(turn);
            }
            Pumped::Again => cx.waker().wake_by_ref(),
            Pumped::Idle => {}
        }
        self.rest(cx);
        Poll::Pending
    }

    /// When `expire` has to be called. It may be earlier than anything is due.
    pub fn due(&self) -> Option<Tick> {
        self.machine.due()
    }

    /// Does what is due at `now`.
    pub fn expire(&mut self, now: Tick) {
        let (client, backend) = (&self.client, self.backend.as_ref());
        let queue = |side| -> Option<SendQueue> {
            match side {
                Side::Client => client.send_queue(),
                Side::Backend => backend?.send_queue(),
            }
        };
        self.machine.expire(now, queue);
        self.stamp();
        self.changed();
    }

    /// Begins the session's end; see [`Machine::close`].
    pub fn close(&mut self, order: &CloseOrder, now: Tick) -> bool {
        let begun = self.machine.close(order, now);
        self.changed();
        begun
    }

    /// Ends the session now, whatever is in flight.
    pub fn cut(&mut self, now: Tick) {
        self.machine.cut(now);
        self.changed();
    }

    /// Makes the session leave its backend; see [`Machine::leave`].
    pub fn leave(&mut self, order: &LeaveOrder, now: Tick) -> bool {
        let begun = self.machine.leave(order, now);
        self.changed();
        begun
    }

    /// Another backend accepted the session; `early` arrived behind its 101.
    ///
    /// # Panics
    /// If the session has a backend.
    pub fn attach(&mut self, backend: C, early: Vec<u8>, now: Tick) {
        self.machine.attach(early, now);
        self.backend = Some(backend);
        self.changed();
    }

    /// No backend took over; see [`Machine::give_up`].
    pub fn give_up(&mut self, unfit: Option<&str>, now: Tick) {
        self.machine.give_up(unfit, now);
        self.changed();
    }

    /// Sends the client a text message of the gateway's own.
    pub fn send_text(&mut self, text: &str) {
        self.machine.send_text(text);
        self.changed();
    }

    /// Sends a message of the gateway's own; see [`Machine::send_message`].
    ///
    /// # Errors
    /// When nothing was queued.
    pub fn send_message(&mut self, to: Side, message: &Message) -> Result<(), Unsent> {
        let sent = self.machine.send_message(to, message);
        self.changed();
        sent
    }

    /// Queues a frame for the client; see [`Machine::send_frame`]. It leaves with `flush_client`.
    ///
    /// # Errors
    /// When nothing was queued.
    pub fn send_frame(
        &mut self,
        frame: &Arc<[u8]>,
        expires_at: Tick,
        bounds: &QueueBounds,
    ) -> Result<(), Unsent> {
        self.machine.send_frame(frame, expires_at, bounds)
    }

    /// Whether a frame of so many bytes for the client fits into the queue now.
    pub fn has_room(&self, bytes: usize, bounds: &QueueBounds) -> bool {
        self.machine.has_room(bytes, bounds)
    }

    /// Queues a message for the backend; see [`Machine::send_to_backend`].
    ///
    /// # Errors
    /// When nothing was queued.
    pub fn send_to_backend(
        &mut self,
        message: &Message,
        bounds: &QueueBounds,
    ) -> Result<(), Unsent> {
        let sent = self.machine.send_to_backend(message, bounds);
        self.changed();
        sent
    }

    /// Writes what waits for the client as far as its socket takes it, without a poll of the
    /// session's task, which is woken if something is left to do. Returns whether everything left.
    pub fn flush_client(&mut self, now: Tick) -> bool {
        let Self {
            machine,
            client,
            waker: Some(waker),
            ..
        } = self
        else {
            return false;
        };
        if machine.closing() {
            waker.wake_by_ref();
            return false;
        }
        machine.drop_expired(now);
        let mut link = PolledLink::new(client, waker);
        if !pump::send(machine, Side::Client, &mut link, now) {
            waker.wake_by_ref();
            return false;
        }
        !machine.has_queued_message()
    }

    /// The gateway's own messages to this side so far.
    pub fn own_counts(&self, to: Side) -> PublishedCounts {
        self.machine.own_counts(to)
    }

    /// Messages to the client that were queued and lost since the last call.
    pub fn take_lost(&mut self) -> LostCounts {
        self.machine.take_lost()
    }

    /// What a hand-over keeps of those to the client, beside the messages that wait.
    pub fn own_state(&self, now: Tick) -> OwnState {
        self.machine.own_state(now)
    }

    /// Goes on with what another process kept.
    pub fn set_own_state(&mut self, state: &OwnState, now: Tick) {
        self.machine.set_own_state(state, now);
    }

    /// Reports the frames of both sides to `observer`; see [`Machine::tap`].
    pub fn tap(&mut self, observer: Box<dyn FrameObserver>, payload_max: Option<usize>) {
        self.machine.tap(observer, payload_max);
    }

    /// Whether the session is tapped.
    pub fn tapped(&self) -> bool {
        self.machine.tapped()
    }

    /// Ends the tap, if there is one.
    pub fn untap(&mut self, reason: &'static str) {
        self.machine.untap(reason);
    }

    /// Sets when the client's credential expires.
    pub fn set_expiry(&mut self, at: Option<Tick>) {
        self.machine.set_expiry(at);
    }

    /// The credential that the client sent inside the session, until that is answered.
    pub fn renewal(&self) -> Option<&[u8]> {
        self.machine.renewal()
    }

    /// The credential was answered, or has to be reported again.
    pub fn renewal_over(&mut self, answered: bool) {
        self.machine.renewal_over(answered);
        self.changed();
    }

    /// What went from the client to the backend.
    pub fn to_backend(&self) -> Traffic {
        self.machine.to_backend()
    }

    /// What went from the backend to the client.
    pub fn to_client(&self) -> Traffic {
        self.machine.to_client()
    }

    /// When relayed bytes moved last.
    pub fn active_at(&self) -> Tick {
        self.machine.active_at()
    }

    /// When relayed bytes of this side moved last.
    pub fn active_from(&self, side: Side) -> Tick {
        self.machine.active_from(side)
    }

    /// Sets when bytes of each side moved last.
    pub fn set_active(&mut self, client: Tick, backend: Tick) {
        self.machine.set_active(client, backend);
    }

    /// The last round trip of a keepalive ping to this side.
    pub fn round_trip(&self, side: Side) -> Option<Duration> {
        let micros = self.machine.round_trip(side)?;
        Some(Duration::from_micros(micros.into()))
    }

    /// Bytes that are on their way to this side: those that the gateway stores, and those in the
    /// socket's send queue.
    pub fn in_flight(&self, to: Side) -> (usize, usize) {
        let queue = match to {
            Side::Client => self.client.send_queue(),
            Side::Backend => self.backend.as_ref().and_then(Stream::send_queue),
        };
        let queued = queue.map_or(0, |queue| queue.bytes);
        (self.machine.held_for(to), queued)
    }

    /// Whether its end has begun.
    pub fn closing(&self) -> bool {
        self.machine.closing()
    }

    /// Whether `leave` can have an effect.
    pub fn movable(&self) -> bool {
        self.machine.movable()
    }

    /// Whether the session is between two backends, or about to be.
    pub fn moves_now(&self) -> bool {
        self.machine.moves_now()
    }

    /// Whether the session needs a backend.
    pub fn needs_backend(&self) -> bool {
        self.machine.needs_backend()
    }

    /// Its changes of backend so far.
    pub fn moves(&self) -> Moves {
        self.machine.moves()
    }

    /// Remembers the task, so that `wake` finds it, and moves nothing.
    pub fn rest(&mut self, cx: &Context<'_>) {
        let known = self.waker.as_ref();
        if !known.is_some_and(|known| known.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }

    /// Has the session polled once more.
    pub fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Notes the time of a ping or of its answer.
    #[inline]
    fn stamp(&mut self) {
        if self.machine.stamp_needed() {
            self.machine.stamp(micros());
        }
    }

    /// The machine was called between two polls: brings what came of it to the streams.
    fn changed(&mut self) {
        if let Some(frames) = self.machine.take_last_frames() {
            // Best effort: the session is cut, so a stream that has no room gets no close frame.
            for (stream, frame) in [
                (self.backend.as_mut(), frames.backend),
                (Some(&mut self.client), frames.client),
            ] {
                if let (Some(stream), Some(frame)) = (stream, frame) {
                    let mut cx = Context::from_waker(Waker::noop());
                    let _ = Pin::new(&mut *stream).poll_write(&mut cx, &frame);
                    let _ = Pin::new(stream).poll_flush(&mut cx);
                }
            }
        }
        if !self.machine.attached() {
            self.backend = None;
        }
        if self.machine.turn_needed() {
            self.wake();
        }
    }
}

/// Microseconds since some time in the past; wraps around.
fn micros() -> u32 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(clock::now);
    clock::now().duration_since(*BEGAN).as_micros() as u32
}

/// Masking keys and ping payloads must not be predictable (RFC 6455, section 5.3).
const ENTROPY: Entropy = |bytes| {
    aws_lc_rs::rand::fill(bytes).expect("the system has randomness");
};

#[cfg(test)]
mod tests;
