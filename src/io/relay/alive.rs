//! Pings of the gateway's own, for sides that have been silent. Whatever a side says shows that it
//! lives; the pong to the gateway's ping is taken out of the stream, all others pass. One ping is
//! under way to a side at most, and no timer is held: the worker's wheel brings a session up when a
//! side could be due.
//!
//! Silence does not count where the gateway itself stopped reading a side, or could not write to
//! it: the answer may stand behind bytes that the other side does not take, and the ping behind
//! bytes that this side does not take. A side that takes nothing for long is left to `idle`.

use serde::{Deserialize, Serialize};

use crate::core::session::orders::CloseOrder;
use crate::core::session::record::{Cause, EndedBy};
use crate::core::session::wheel::Tick;
use crate::core::wire::tracker::PING_BYTES;
use crate::io::relay::{Relay, Side, Stream};

/// Bytes of a ping of the gateway's own, masked.
const PING_FRAME_MAX: usize = 6 + PING_BYTES;

/// Whom the gateway pings, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keepalive {
    /// Silence of a side until it is asked.
    pub interval: Tick,
    /// Silence after that until it counts as lost.
    pub timeout: Tick,
    /// Clients are asked.
    pub to_client: bool,
    /// Backends are asked.
    pub to_backend: bool,
}

/// Of a session whose sides are asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Alive {
    rules: Keepalive,
    client: Pulse,
    backend: Pulse,
}

/// What is known of one side.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pulse {
    /// When it said something last, or could not have.
    heard: Tick,
    /// Since when its answer is waited for: since the ping left, or since it could last not have
    /// answered.
    asked: Option<Tick>,
    /// The gateway left it unread when it was last polled.
    #[serde(skip)]
    unread: bool,
    /// It had not taken everything when it was last polled.
    #[serde(skip)]
    unsent: bool,
    /// Bytes that the system held for it when that was last looked at, with the ping.
    #[serde(skip)]
    queued: usize,
}

impl Pulse {
    fn heard_at(now: Tick) -> Self {
        Self {
            heard: now,
            asked: None,
            unread: false,
            unsent: false,
            queued: 0,
        }
    }

    /// Its silence up to now does not count.
    fn restart(&mut self, now: Tick) {
        match &mut self.asked {
            Some(asked) => *asked = now,
            None => self.heard = now,
        }
    }
}

impl Alive {
    pub(super) fn new(rules: Keepalive, now: Tick) -> Self {
        Self {
            rules,
            client: Pulse::heard_at(now),
            backend: Pulse::heard_at(now),
        }
    }

    /// For another process: how long ago, instead of when.
    pub(super) fn pack(&self, now: Tick) -> Self {
        self.shifted(|at| now.saturating_sub(at))
    }

    /// What another process packed.
    pub(super) fn unpack(&self, now: Tick) -> Self {
        self.shifted(|ago| now.saturating_sub(ago))
    }

    fn shifted(&self, shift: impl Fn(Tick) -> Tick) -> Self {
        let pulse = |pulse: Pulse| Pulse {
            heard: shift(pulse.heard),
            asked: pulse.asked.map(&shift),
            ..pulse
        };
        Self {
            rules: self.rules,
            client: pulse(self.client),
            backend: pulse(self.backend),
        }
    }

    fn pulse(&mut self, side: Side) -> &mut Pulse {
        match side {
            Side::Client => &mut self.client,
            Side::Backend => &mut self.backend,
        }
    }

    /// When a side is to be looked at.
    fn due(&self, side: Side) -> Option<Tick> {
        let (pulse, asked) = match side {
            Side::Client => (self.client, self.rules.to_client),
            Side::Backend => (self.backend, self.rules.to_backend),
        };
        let next = pulse.asked.map_or_else(
            || pulse.heard.saturating_add(self.rules.interval),
            |asked| asked.saturating_add(self.rules.timeout),
        );
        asked.then_some(next)
    }
}

impl<C: Stream> Relay<C> {
    /// Takes note of which sides were heard, of those that the gateway leaves unread, and of
    /// progress towards a side that is being asked.
    pub(super) fn note_life(&mut self, up_moved: bool, down_moved: bool, now: Tick) {
        if self.alive.is_none() {
            return;
        }
        let client = (
            self.up.take_heard(),
            self.unread(Side::Client),
            (down_moved, !self.down.all_sent()),
        );
        let backend = (
            self.down.take_heard(),
            self.unread(Side::Backend),
            (up_moved, !self.up.all_sent()),
        );
        let Some(alive) = &mut self.alive else { return };
        for (side, (heard, unread, (moved, unsent))) in
            [(Side::Client, client), (Side::Backend, backend)]
        {
            let pulse = alive.pulse(side);
            let takes = moved && (unsent || pulse.unsent) && pulse.asked.is_some();
            if heard {
                *pulse = Pulse::heard_at(now);
            } else if unread || pulse.unread || takes {
                pulse.restart(now);
            }
            (pulse.unread, pulse.unsent) = (unread, unsent);
        }
    }

    /// Whether the gateway itself does not read this side: what it sent is not taken by the other
    /// side, or it has to wait.
    fn unread(&self, side: Side) -> bool {
        match side {
            Side::Client => self.up.held_up() || self.resumes_at().is_some(),
            Side::Backend => self.down.held_up() || self.backend.is_none(),
        }
    }

    /// A backend is there anew.
    pub(super) fn note_backend(&mut self, now: Tick) {
        if let Some(alive) = &mut self.alive {
            alive.backend = Pulse::heard_at(now);
        }
    }

    /// When a side is to be asked, or to be given up.
    pub(super) fn pulse_at(&self) -> Option<Tick> {
        let alive = self.alive.as_ref()?;
        let backend = alive.due(Side::Backend).filter(|_| !self.moves_now());
        alive.due(Side::Client).into_iter().chain(backend).min()
    }

    /// Asks the sides that are due, and gives up those that have not answered.
    pub(super) fn feel_pulses(&mut self, now: Tick) {
        for side in [Side::Client, Side::Backend] {
            let Some(alive) = &mut self.alive else { return };
            let settled = side == Side::Client || self.backend.is_some();
            if !settled || alive.due(side).is_none_or(|due| now < due) {
                continue;
            }
            if self.unread(side) {
                self.restart(side, now);
            } else if self.asked(side) {
                if !self.excuse(side, now) {
                    self.silent(side, now);
                    return;
                }
            } else if side == Side::Client || !self.moves_now() {
                self.ask(side, now);
            }
        }
    }

    fn asked(&mut self, side: Side) -> bool {
        let alive = self.alive.as_mut();
        alive.is_some_and(|alive| alive.pulse(side).asked.is_some())
    }

    fn restart(&mut self, side: Side, now: Tick) {
        if let Some(alive) = &mut self.alive {
            alive.pulse(side).restart(now);
        }
    }

    /// Whether a side that has not answered may not have had the ping yet. That is so while it
    /// takes bytes on the way to it, and while its system lives (it acknowledges what it is sent)
    /// and has no room. Of a side that is gone, bytes stay in flight.
    fn excuse(&mut self, side: Side, now: Tick) -> bool {
        let (stream, to) = match side {
            Side::Client => (Some(&self.client), &self.down),
            Side::Backend => (self.backend.as_ref(), &self.up),
        };
        let Some(alive) = &mut self.alive else {
            return false;
        };
        let pulse = alive.pulse(side);
        let excused = match stream.and_then(Stream::send_queue) {
            _ if to.ping_has_no_place() => true,
            None => !to.all_sent(),
            Some(queue) => {
                let before = std::mem::replace(&mut pulse.queued, queue.bytes);
                let has_no_room = queue.bytes > 0 && queue.in_flight == 0;
                let has_room_now = queue.bytes == 0 && !to.all_sent();
                has_no_room || has_room_now || (1..before).contains(&queue.bytes)
            }
        };
        if excused {
            pulse.restart(now);
        }
        excused
    }

    fn ask(&mut self, side: Side, now: Tick) {
        let (from, to) = match side {
            Side::Client => (&mut self.up, &mut self.down),
            Side::Backend => (&mut self.down, &mut self.up),
        };
        let stream = match side {
            Side::Client => Some(&self.client),
            Side::Backend => self.backend.as_ref(),
        };
        let queue = stream.and_then(Stream::send_queue);
        let queued = queue.map_or(0, |queue| queue.bytes) + to.held() + PING_FRAME_MAX;
        let payload = from.tracker.watched().unwrap_or_else(|| {
            let mut payload = [0; PING_BYTES];
            aws_lc_rs::rand::fill(&mut payload).expect("the system has randomness");
            from.tracker.watch(payload);
            payload
        });
        let asked = to.ping(payload);
        if let Some(alive) = &mut self.alive {
            // A side that cannot be asked just now is looked at again later.
            *alive.pulse(side) = Pulse {
                asked: asked.then_some(now),
                queued,
                ..Pulse::heard_at(now)
            };
        }
        self.wake();
    }

    fn silent(&mut self, side: Side, now: Tick) {
        match side {
            Side::Client => {
                let order = CloseOrder {
                    code: 3008,
                    reason: "no answer to a ping".into(),
                    cause: Cause::KeepaliveTimeout,
                };
                self.close(&order, now);
            }
            Side::Backend => {
                if !self.outlive_source(Cause::KeepaliveTimeout) {
                    self.stop_moving();
                    self.down.end_source();
                    self.backend_lost(EndedBy::Backend, Cause::KeepaliveTimeout, now);
                    self.backend = None;
                }
                self.wake();
            }
        }
    }
}
