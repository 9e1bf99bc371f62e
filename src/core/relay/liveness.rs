//! Whether the sides of a session are alive: when each was heard last, when it is pinged, and when
//! it counts as lost. One ping is under way to a side at most.
//!
//! Silence that the gateway causes does not count. A side that the gateway does not read cannot
//! answer, and a side that takes no bytes has not received the ping.

use serde::{Deserialize, Serialize};

use crate::core::relay::round_trip::RoundTrip;
use crate::core::relay::side::{SendQueue, Side};
use crate::core::session::wheel::Tick;

/// Which sides the gateway pings, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keepalive {
    /// Silence of a side before it is pinged.
    pub interval: Tick,
    /// Silence after the ping before the side counts as lost.
    pub timeout: Tick,
    /// Pings clients.
    pub to_client: bool,
    /// Pings backends.
    pub to_backend: bool,
}

/// The liveness of both sides.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Liveness {
    rules: Keepalive,
    client: SideLiveness,
    backend: SideLiveness,
    /// By side: of the client, of the backend. A hand-over transfers the last ones apart.
    #[serde(skip)]
    round_trips: [RoundTrip; 2],
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SideLiveness {
    /// When the side sent something last, or could not have.
    heard: Tick,
    /// Since when its answer is awaited: since the ping left, or since it could last not have
    /// answered.
    asked: Option<Tick>,
    /// The gateway did not read it at the last turn.
    #[serde(skip)]
    unread: bool,
    /// It had not taken everything at the last turn.
    #[serde(skip)]
    unsent: bool,
    /// Bytes in its send queue at the last look, the ping included.
    #[serde(skip)]
    queued: usize,
}

/// What one turn showed about a side.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Observation {
    /// It sent something.
    pub(super) heard: bool,
    /// The gateway does not read it.
    pub(super) unread: bool,
    /// Bytes moved towards it.
    pub(super) moved: bool,
    /// It has not taken everything.
    pub(super) unsent: bool,
}

impl SideLiveness {
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

impl Liveness {
    pub(super) fn new(rules: Keepalive, now: Tick) -> Self {
        Self {
            rules,
            client: SideLiveness::heard_at(now),
            backend: SideLiveness::heard_at(now),
            round_trips: [RoundTrip::default(); 2],
        }
    }

    fn round_trip_mut(&mut self, side: Side) -> &mut RoundTrip {
        &mut self.round_trips[usize::from(side == Side::Backend)]
    }

    /// The last round trip of a ping to this side, in microseconds.
    pub(super) fn round_trip(&self, side: Side) -> Option<u32> {
        self.round_trips[usize::from(side == Side::Backend)].last()
    }

    /// It is now this many microseconds.
    pub(super) fn stamp(&mut self, micros: u32) {
        self.round_trips
            .iter_mut()
            .for_each(|one| one.stamp(micros));
    }

    /// A side answered a ping.
    pub(super) fn ponged(&mut self, side: Side) {
        self.round_trip_mut(side).answered();
    }

    /// The same with ages instead of times, for another process.
    pub(super) fn pack(&self, now: Tick) -> Self {
        self.shifted(|at| now.saturating_sub(at))
    }

    /// What `pack` wrote in another process.
    pub(super) fn unpack(&self, now: Tick) -> Self {
        self.shifted(|ago| now.saturating_sub(ago))
    }

    fn shifted(&self, shift: impl Fn(Tick) -> Tick) -> Self {
        let shift_side = |side: SideLiveness| SideLiveness {
            heard: shift(side.heard),
            asked: side.asked.map(&shift),
            ..side
        };
        Self {
            rules: self.rules,
            client: shift_side(self.client),
            backend: shift_side(self.backend),
            round_trips: [RoundTrip::default(); 2],
        }
    }

    fn side(&mut self, side: Side) -> &mut SideLiveness {
        match side {
            Side::Client => &mut self.client,
            Side::Backend => &mut self.backend,
        }
    }

    /// When a side is to be pinged or to be given up; `None` if it is never pinged.
    pub(super) fn due(&self, side: Side) -> Option<Tick> {
        let (state, pinged) = match side {
            Side::Client => (self.client, self.rules.to_client),
            Side::Backend => (self.backend, self.rules.to_backend),
        };
        let next = state.asked.map_or_else(
            || state.heard.saturating_add(self.rules.interval),
            |asked| asked.saturating_add(self.rules.timeout),
        );
        pinged.then_some(next)
    }

    /// Records what a turn showed.
    pub(super) fn observe(&mut self, side: Side, seen: Observation, now: Tick) {
        let state = self.side(side);
        // A side that takes bytes on the way to the ping is alive.
        let takes = seen.moved && (seen.unsent || state.unsent) && state.asked.is_some();
        if seen.heard {
            *state = SideLiveness::heard_at(now);
        } else if seen.unread || state.unread || takes {
            state.restart(now);
        }
        (state.unread, state.unsent) = (seen.unread, seen.unsent);
    }

    /// Silence up to now does not count.
    pub(super) fn restart(&mut self, side: Side, now: Tick) {
        self.side(side).restart(now);
    }

    /// Whether an answer is awaited.
    pub(super) fn asked(&mut self, side: Side) -> bool {
        self.side(side).asked.is_some()
    }

    /// Another backend was attached.
    pub(super) fn backend_attached(&mut self, now: Tick) {
        self.backend = SideLiveness::heard_at(now);
        *self.round_trip_mut(Side::Backend) = RoundTrip::default();
    }

    /// A ping was queued, or has no place just now (`asked` is false) and is tried again later.
    pub(super) fn ping_queued(&mut self, side: Side, asked: bool, queued: usize, now: Tick) {
        if asked {
            self.round_trip_mut(side).queued();
        }
        *self.side(side) = SideLiveness {
            asked: asked.then_some(now),
            queued,
            ..SideLiveness::heard_at(now)
        };
    }

    /// Whether a side that has not answered may not have received the ping. That is so while it
    /// takes bytes on the way to it, and while its system acknowledges and has no room. For a side
    /// that is gone, bytes stay in flight.
    pub(super) fn may_lack_ping(
        &mut self,
        side: Side,
        queue: Option<SendQueue>,
        all_sent: bool,
    ) -> bool {
        let Some(queue) = queue else {
            return !all_sent;
        };
        let before = std::mem::replace(&mut self.side(side).queued, queue.bytes);
        let has_no_room = queue.bytes > 0 && queue.in_flight == 0;
        let has_room_now = queue.bytes == 0 && !all_sent;
        has_no_room || has_room_now || (1..before).contains(&queue.bytes)
    }
}

#[cfg(test)]
mod tests;
