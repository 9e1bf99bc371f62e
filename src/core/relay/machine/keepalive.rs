//! Pings of the gateway's own, for sides that have been silent. The pong to such a ping is taken
//! out of the stream; all others pass.

use crate::core::relay::machine::Machine;
use crate::core::relay::side::{SendQueue, Side};
use crate::core::session::orders::CloseOrder;
use crate::core::session::record::{Cause, EndedBy};
use crate::core::session::wheel::Tick;
use crate::core::wire::tracker::PING_BYTES;

/// Bytes of a ping of the gateway's own, masked.
const PING_FRAME_MAX: usize = 6 + PING_BYTES;

impl Machine {
    /// Whether the gateway does not read this side: the other side takes nothing, or the client has
    /// to wait.
    pub(super) fn unread(&self, side: Side) -> bool {
        match side {
            Side::Client => self.up.stalled() || self.resumes_at().is_some(),
            Side::Backend => self.down.stalled() || !self.attached,
        }
    }

    /// When a side is to be pinged, or to be given up.
    pub(super) fn keepalive_at(&self) -> Option<Tick> {
        let liveness = self.liveness.as_ref()?;
        let backend = liveness.due(Side::Backend).filter(|_| !self.moves_now());
        liveness.due(Side::Client).into_iter().chain(backend).min()
    }

    /// Pings the sides that are due, and gives up those that have not answered.
    pub(super) fn keep_alive(&mut self, queue: impl Fn(Side) -> Option<SendQueue>, now: Tick) {
        for side in [Side::Client, Side::Backend] {
            let unread = self.unread(side);
            let to = self.sent_by(side.other());
            let (all_sent, no_place) = (to.all_sent(), to.ping_waits_for_boundary());
            let Some(liveness) = &mut self.liveness else {
                return;
            };
            if liveness.due(side).is_none_or(|due| now < due) {
                continue;
            }
            if unread {
                liveness.restart(side, now);
            } else if liveness.asked(side) {
                if no_place || liveness.may_lack_ping(side, queue(side), all_sent) {
                    liveness.restart(side, now);
                } else {
                    self.give_up_silent(side, now);
                    return;
                }
            } else {
                self.ping(side, queue(side), now);
            }
        }
    }

    /// Whether `stamp` is to be called: after `expire`, or after a turn.
    #[inline]
    pub fn stamp_needed(&self) -> bool {
        self.stamp_needed
    }

    /// It is now this many microseconds, by a clock that may wrap around.
    pub fn stamp(&mut self, micros: u32) {
        self.stamp_needed = false;
        if let Some(liveness) = &mut self.liveness {
            liveness.stamp(micros);
        }
    }

    /// The last round trip of a keepalive ping to this side, in microseconds.
    pub fn round_trip(&self, side: Side) -> Option<u32> {
        self.liveness.as_ref()?.round_trip(side)
    }

    fn ping(&mut self, side: Side, queue: Option<SendQueue>, now: Tick) {
        let entropy = self.entropy;
        let (from, to) = match side {
            Side::Client => (&mut self.up, &mut self.down),
            Side::Backend => (&mut self.down, &mut self.up),
        };
        let queued = queue.map_or(0, |queue| queue.bytes) + to.held() + PING_FRAME_MAX;
        let payload = from.tracker.watched().unwrap_or_else(|| {
            let mut payload = [0; PING_BYTES];
            entropy(&mut payload);
            from.tracker.watch(payload);
            payload
        });
        let asked = to.queue_ping(payload);
        if let Some(liveness) = &mut self.liveness {
            liveness.ping_queued(side, asked, queued, now);
        }
        self.stamp_needed = true;
        self.turn_needed = true;
    }

    fn give_up_silent(&mut self, side: Side, now: Tick) {
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
                if !self.survives_source_end(Cause::KeepaliveTimeout) {
                    self.stop_moving();
                    self.down.end_source();
                    self.backend_lost(EndedBy::Backend, Cause::KeepaliveTimeout, now);
                    self.attached = false;
                }
                self.turn_needed = true;
            }
        }
    }
}
