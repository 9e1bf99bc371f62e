//! The state machine of a session after its 101: what a driver calls, and in which order.

mod closing;
mod keepalive;
mod messages;
mod moving;
mod rate;
mod renewal;
mod status;
mod tapping;
mod timers;

use crate::core::relay::direction::{Direction, Entropy, Event, Heard, Output, Received};
use crate::core::relay::liveness::{Liveness, Observation};
use crate::core::relay::migration::Migration;
use crate::core::relay::setup::{Setup, Times, Warning};
use crate::core::relay::side::Side;
use crate::core::relay::stage::Stage;
use crate::core::relay::tap::Tap;
use crate::core::relay::throttle::{READ_MAX, Throttle};
use crate::core::session::record::{Cause, EndedBy, Ending};
use crate::core::session::resume::ResumeReason;
use crate::core::session::wheel::Tick;
use crate::core::wire::tracker::{FrameTracker, Sender};

pub use messages::{OwnState, Unsent, client_frame};

/// The outcome of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The session is over.
    Ended(Ending),
    /// The session has no backend any more and needs another: `attach` or `give_up`. The client's
    /// half goes on meanwhile.
    BackendNeeded(ResumeReason),
    /// The client sent another credential: `renewal`, and then `renewal_over`. Until then the
    /// client is not read.
    Renewal,
}

/// A session without its streams.
#[derive(Debug)]
pub struct Machine {
    /// From the client to the backend.
    pub(super) up: Direction,
    /// From the backend to the client.
    pub(super) down: Direction,
    pub(super) times: Times,
    /// When bytes of the client moved last.
    pub(super) up_active: Tick,
    /// When bytes of the backend moved last.
    pub(super) down_active: Tick,
    pub(super) backend_lost_code: u16,
    /// Whether there is a backend.
    pub(super) attached: bool,
    /// A ping was queued or answered: its time is to be noted.
    pub(super) stamp_needed: bool,
    /// Something changed between two turns that only a turn brings to the streams.
    pub(super) turn_needed: bool,
    pub(super) stage: Stage,
    /// Set where the session may move to another backend.
    pub(super) migration: Option<Box<Migration>>,
    /// Set where a side is pinged.
    pub(super) liveness: Option<Box<Liveness>>,
    /// Set where the rate of the client is limited.
    pub(super) throttle: Option<Box<Throttle>>,
    /// Set where the client is warned before its credential expires.
    pub(super) warning: Option<Box<Warning>>,
    /// Set while an operator watches the session.
    pub(super) tap: Option<Box<Tap>>,
    pub(super) entropy: Entropy,
}

impl Machine {
    /// Both streams are right behind the 101.
    pub fn new(setup: Setup, entropy: Entropy, now: Tick) -> Self {
        let mut up = FrameTracker::new(Sender::Client, setup.client_rules);
        if let Some(matcher) = setup.in_band {
            up.match_in_band(matcher);
        }
        let down = FrameTracker::new(Sender::Backend, setup.backend_rules);
        let liveness = setup.keepalive.map(|rules| Liveness::new(rules, now));
        let mut machine = Self {
            up: Direction::new(up, setup.client_early),
            down: Direction::new(down, setup.backend_early),
            times: setup.times,
            up_active: now,
            down_active: now,
            backend_lost_code: setup.backend_lost_code,
            attached: true,
            stamp_needed: false,
            turn_needed: false,
            stage: Stage::Open,
            migration: None,
            liveness: liveness.map(Box::new),
            throttle: setup.throttle,
            warning: setup.warning,
            tap: None,
            entropy,
        };
        if let Some(hold_max) = setup.hold {
            machine.allow_moves(hold_max);
        }
        machine
    }

    /// Begins a turn. Returns the end of a session that was cut; nothing is moved then.
    #[inline]
    pub fn begin(&mut self, now: Tick) -> Option<Turn> {
        self.turn_needed = false;
        if let Stage::Cut(_) = self.stage {
            return Some(Turn::Ended(self.ended()));
        }
        self.forget_renewal();
        for direction in [&mut self.up, &mut self.down] {
            if direction.has_queued_message() {
                direction.drop_expired(now);
            }
        }
        if self.up.early.is_some() || self.down.early.is_some() {
            self.receive_early(now);
        }
        None
    }

    #[cold]
    fn receive_early(&mut self, now: Tick) {
        let entropy = self.entropy;
        self.see_early();
        let event = self.up.receive_early(entropy);
        self.measure(now);
        if let Some(event) = event {
            self.on(Side::Client, event, now);
        }
        if let Some(event) = self.down.receive_early(entropy) {
            self.on(Side::Backend, event, now);
        }
    }

    /// How many bytes to read from a side at once, `most` at most. `None` while it must not be
    /// read: the other side takes nothing, or the client sends too fast, or its message waits for
    /// an answer, or its end was seen.
    #[inline]
    pub fn read_allowance(&mut self, from: Side, most: usize, now: Tick) -> Option<usize> {
        let most = match from {
            Side::Client if self.throttle.is_some() => {
                if self.pauses(now) {
                    return None;
                }
                most.min(READ_MAX)
            }
            Side::Backend if !self.attached => return None,
            _ => most,
        };
        let direction = self.sent_by(from);
        let open = !direction.source_ended() && !direction.stalled();
        open.then(|| direction.room(most))
    }

    /// Bytes that the next chunk of a side begins with, in front of what is read.
    #[inline]
    pub fn carry(&self, from: Side) -> &[u8] {
        self.sent_by(from).tracker.carry()
    }

    /// Inspects a chunk: the carry and what was read behind it. The driver writes the front of the
    /// chunk, `Chunk::direct` bytes of it, to the other side, and then calls `forwarded`.
    #[inline]
    pub fn receive(&mut self, from: Side, chunk: &[u8]) -> Chunk {
        if self.tap.is_some() {
            self.see_chunk(from, chunk);
        }
        let entropy = self.entropy;
        let direction = self.sent_by_mut(from);
        direction.activity.heard = direction.activity.heard.max(Heard::Something);
        Chunk(direction.receive(chunk, entropy))
    }

    /// The other side took `written` of the direct bytes of a chunk; `failed` if its stream failed
    /// then. Returns whether something happened, so that the turn has to be settled.
    #[inline]
    pub fn forwarded(
        &mut self,
        from: Side,
        chunk: (Chunk, &[u8]),
        written: usize,
        failed: bool,
        now: Tick,
    ) -> bool {
        let (received, bytes) = chunk;
        let direction = self.sent_by_mut(from);
        let event = direction.forwarded(&received.0, bytes, written, failed);
        if from == Side::Client && self.throttle.is_some() {
            self.measure(now);
        }
        if let Some(event) = event {
            self.on(from, event, now);
        }
        event.is_some()
    }

    /// A side's stream ended, in order or by a failure (`reset`).
    pub fn source_ended(&mut self, from: Side, reset: bool, now: Tick) {
        let event = self.sent_by_mut(from).source_gone(reset);
        self.on(from, event, now);
    }

    /// What a side gets next.
    #[inline]
    pub fn output(&mut self, to: Side) -> Output<'_> {
        if to == Side::Backend && !self.attached {
            return Output::Idle;
        }
        let entropy = self.entropy;
        self.sent_by_mut(to.other()).output(entropy)
    }

    /// A side took this many bytes of the last `Output::Write`.
    pub fn wrote(&mut self, to: Side, bytes: usize) {
        self.sent_by_mut(to.other()).wrote(bytes);
    }

    /// A side's stream was flushed.
    #[inline]
    pub fn flushed(&mut self, to: Side) {
        self.sent_by_mut(to.other()).flushed();
    }

    /// The sending half of a side's stream was ended.
    pub fn finished(&mut self, to: Side) {
        self.sent_by_mut(to.other()).sink_finished();
    }

    /// A side's stream failed at an `Output`.
    pub fn sink_failed(&mut self, to: Side, now: Tick) {
        self.sent_by_mut(to.other()).sink_failed();
        self.on(to.other(), Event::SinkLost, now);
    }

    /// Ends a round of a turn: records what moved, and returns the outcome.
    #[inline]
    pub fn settle(&mut self, now: Tick) -> Option<Turn> {
        let (up, down) = (self.up.take_moved(), self.down.take_moved());
        if up {
            self.up_active = now;
        }
        if down {
            self.down_active = now;
        }
        if self.liveness.is_some() {
            self.observe(up, down, now);
        }
        self.note_progress(now);
        if self.over() {
            return Some(Turn::Ended(self.ended()));
        }
        self.complete_leaving();
        if self.reports_renewal() {
            return Some(Turn::Renewal);
        }
        let migration = self.migration.as_mut()?;
        migration.report().map(Turn::BackendNeeded)
    }

    fn observe(&mut self, up_moved: bool, down_moved: bool, now: Tick) {
        let heard = [self.up.take_heard(), self.down.take_heard()];
        let client = Observation {
            heard: heard[0] != Heard::Nothing,
            unread: self.unread(Side::Client),
            moved: down_moved,
            unsent: !self.down.all_sent(),
        };
        let backend = Observation {
            heard: heard[1] != Heard::Nothing,
            unread: self.unread(Side::Backend),
            moved: up_moved,
            unsent: !self.up.all_sent(),
        };
        if let Some(liveness) = &mut self.liveness {
            liveness.observe(Side::Client, client, now);
            liveness.observe(Side::Backend, backend, now);
            for (side, heard) in [Side::Client, Side::Backend].into_iter().zip(heard) {
                if heard == Heard::Pong {
                    liveness.ponged(side);
                    self.stamp_needed = true;
                }
            }
        }
    }

    /// The direction whose source is this side.
    #[inline]
    pub(super) fn sent_by(&self, side: Side) -> &Direction {
        match side {
            Side::Client => &self.up,
            Side::Backend => &self.down,
        }
    }

    #[inline]
    pub(super) fn sent_by_mut(&mut self, side: Side) -> &mut Direction {
        match side {
            Side::Client => &mut self.up,
            Side::Backend => &mut self.down,
        }
    }

    /// The ending for the record.
    fn ended(&self) -> Ending {
        let ending = self.ending().unwrap_or(Ending {
            by: EndedBy::Gateway,
            cause: Cause::Aborted,
            close_code: None,
            clean: false,
        });
        let answered = self
            .closing_state()
            .is_some_and(|closing| !closing.unanswered);
        Ending {
            clean: answered && self.up.closed() && self.down.closed(),
            ..ending
        }
    }
}

/// A chunk that was inspected; see `Machine::receive`.
#[must_use = "`forwarded` reports what the other side took"]
#[derive(Debug)]
pub struct Chunk(Received);

impl Chunk {
    /// Bytes at the front of the chunk that go to the other side as they are.
    #[inline]
    pub fn direct(&self) -> usize {
        self.0.direct
    }
}
