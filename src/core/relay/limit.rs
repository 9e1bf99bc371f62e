//! How long an end that has begun may take. Time counts only while nothing moves: a peer that still
//! takes bytes that are due to it is waited for.

use serde::{Deserialize, Serialize};

use crate::core::session::wheel::Tick;

/// How many times `Times::close` a peer may only send, once it has taken everything that was due.
const LINGER: Tick = 6;
/// How many times `Times::close` an end may take, whatever moves.
const LONGEST: Tick = 60;

/// Until when an end that has begun may take.
#[derive(Debug)]
pub(super) struct Limit {
    /// The session is cut if nothing moves until then.
    pub(super) at: Tick,
    began: Tick,
    /// When a peer last took bytes that were due to it.
    delivered: Tick,
    /// Bytes in the system's send queues of client and backend at the last look; `usize::MAX`
    /// before the first.
    queued: [usize; 2],
}

/// A limit that was extended, as plain data: how long ago the end began, and how long ago a peer
/// last took bytes that were due to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Prolonged {
    began: Tick,
    delivered: Tick,
}

impl Limit {
    /// An end begins now; without progress it may take `wait`.
    pub(super) fn new(now: Tick, wait: Tick) -> Self {
        Self {
            at: now.saturating_add(wait),
            began: now,
            delivered: now,
            queued: [usize::MAX; 2],
        }
    }

    /// When the end began.
    pub(super) fn began(&self) -> Tick {
        self.began
    }

    /// The time that is left, and the history if the limit was extended.
    pub(super) fn pack(&self, now: Tick, wait: Tick) -> (Tick, Option<Prolonged>) {
        let whole = self.began == self.delivered && self.at == self.began.saturating_add(wait);
        let prolonged = Prolonged {
            began: now.saturating_sub(self.began),
            delivered: now.saturating_sub(self.delivered),
        };
        let left = self.at.saturating_sub(now);
        (left, (!whole).then_some(prolonged))
    }

    /// The limit that `pack` wrote in another process.
    pub(super) fn unpack(left: Tick, prolonged: Option<Prolonged>, now: Tick, wait: Tick) -> Self {
        let at = now.saturating_add(left);
        let start = at.saturating_sub(wait);
        let (began, delivered) = prolonged.map_or((start, start), |ago| {
            (
                now.saturating_sub(ago.began),
                now.saturating_sub(ago.delivered),
            )
        });
        Self {
            at,
            began,
            delivered,
            queued: [usize::MAX; 2],
        }
    }

    /// A peer took bytes that were due to it.
    pub(super) fn deliver(&mut self, now: Tick, wait: Tick) {
        self.delivered = now;
        self.extend(now.saturating_add(wait), wait);
    }

    /// Bytes moved that were due to no peer.
    pub(super) fn linger(&mut self, now: Tick, wait: Tick) {
        let latest = self.delivered.saturating_add(wait.saturating_mul(LINGER));
        self.extend(now.saturating_add(wait).min(latest), wait);
    }

    fn extend(&mut self, to: Tick, wait: Tick) {
        let latest = self.began.saturating_add(wait.saturating_mul(LONGEST));
        self.at = self.at.max(to.min(latest));
    }

    /// Compares the send queues of client and backend with the last look: a queue that became
    /// shorter delivered bytes. Returns whether there is more time.
    pub(super) fn observe(&mut self, queues: [usize; 2], now: Tick, wait: Tick) -> bool {
        let mut delivered = self.delivered == now;
        for (queued, bytes) in self.queued.iter_mut().zip(queues) {
            let before = std::mem::replace(queued, bytes);
            let shorter = (1..before).contains(&bytes);
            let emptied = bytes == 0 && (1..usize::MAX).contains(&before);
            delivered |= shorter || emptied;
        }
        if delivered {
            self.deliver(now, wait);
        }
        self.at > now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Tick = 10;

    #[test]
    fn an_end_without_progress_takes_the_plain_wait() {
        assert_eq!(Limit::new(100, WAIT).at, 110);
        assert_eq!(Limit::new(Tick::MAX, WAIT).at, Tick::MAX);
    }

    #[test]
    fn bytes_that_are_due_extend_it_up_to_the_longest_end() {
        let mut limit = Limit::new(0, WAIT);
        for now in (5..5_000).step_by(5) {
            limit.deliver(now, WAIT);
        }
        assert_eq!(limit.at, WAIT * LONGEST);
    }

    #[test]
    fn a_peer_that_only_sends_extends_it_less_far() {
        let mut limit = Limit::new(0, WAIT);
        for now in (5..5_000).step_by(5) {
            limit.linger(now, WAIT);
        }
        assert_eq!(limit.at, WAIT * LINGER);
        limit.deliver(200, WAIT);
        limit.linger(205, WAIT);
        assert_eq!(limit.at, 215, "it counts from the last delivery");
    }

    #[test]
    fn a_send_queue_that_becomes_shorter_is_progress() {
        // The first look at bytes that wait is progress, since what came before is not known.
        let check = |first: [usize; 2], second: [usize; 2], more: bool| {
            let mut limit = Limit::new(0, WAIT);
            limit.observe(first, 10, WAIT);
            assert_eq!(
                limit.observe(second, 25, WAIT),
                more,
                "{first:?} {second:?}"
            );
        };
        check([0, 0], [0, 0], false);
        check([9, 0], [9, 0], false);
        check([9, 0], [8, 0], true);
        check([9, 0], [0, 0], true);
        check([0, 9], [0, 3], true);
        check([3, 0], [9, 0], false);
        assert!(Limit::new(0, WAIT).observe([1, 0], 10, WAIT));
        assert!(!Limit::new(0, WAIT).observe([0, 0], 10, WAIT));
    }

    #[test]
    fn it_means_the_same_by_another_clock() {
        let mut limit = Limit::new(100, WAIT);
        assert_eq!(limit.pack(104, WAIT), (6, None));
        limit.deliver(105, WAIT);
        let (left, prolonged) = limit.pack(107, WAIT);
        let other = Limit::unpack(left, prolonged, 5_007, WAIT);
        assert_eq!(
            (other.at, other.began, other.delivered),
            (5_015, 5_000, 5_005)
        );
        let plain = Limit::unpack(6, None, 5_004, WAIT);
        assert_eq!((plain.at, plain.began), (5_010, 5_000));
    }
}
