//! Whole messages of the gateway's own that wait for a message boundary towards one side (I8, I10).

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::traffic::PublishedCounts;
use crate::core::session::wheel::Tick;
use crate::core::wire::frame::FrameHeader;

/// What a session's queue may hold, and what happens when it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueBounds {
    /// Most messages.
    pub messages: usize,
    /// Most bytes of frames.
    pub bytes: usize,
    /// What happens to a message that finds it full.
    pub when_full: WhenFull,
}

impl QueueBounds {
    /// For what the gateway itself and operators send.
    pub const OPERATOR: Self = Self {
        messages: usize::MAX,
        bytes: 16 * 1024,
        when_full: WhenFull::DropNew,
    };
}

/// What happens when a session's queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The new message is dropped.
    DropNew,
    /// The oldest messages are dropped until the new one fits.
    DropOldest,
    /// The session is closed with 1013.
    Close,
}

/// What became of a message that was to be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queued {
    /// It waits.
    Yes,
    /// It does not fit now.
    Full,
    /// It never fits.
    TooLarge,
}

#[derive(Clone, Debug)]
struct QueuedMessage {
    /// The frame as it is written; shared by all sessions that get it.
    frame: Arc<[u8]>,
    /// It is dropped if it has not left by then.
    expires_at: Tick,
}

/// The queue. An empty one owns no memory.
#[derive(Clone, Debug, Default)]
pub(super) struct OutboundQueue {
    messages: VecDeque<QueuedMessage>,
    bytes: usize,
    pub(super) counts: PublishedCounts,
    /// Those of `counts` that metrics have already.
    reported: LostCounts,
}

/// Messages that were lost after they had been queued: their publishers count them as queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostCounts {
    /// They made room for newer ones.
    pub evicted: u64,
    /// They waited for longer than they live.
    pub expired: u64,
}

impl OutboundQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    /// Queues a whole frame within the bounds. A frame that alone is larger than they allow never
    /// fits, and nothing is dropped for it.
    pub(super) fn push(
        &mut self,
        frame: Arc<[u8]>,
        expires_at: Tick,
        bounds: &QueueBounds,
    ) -> Queued {
        if frame.len() > bounds.bytes || bounds.messages == 0 {
            self.counts.dropped += 1;
            return Queued::TooLarge;
        }
        if bounds.when_full == WhenFull::DropOldest {
            while !self.has_room(frame.len(), bounds) && self.pop().is_some() {
                self.counts.dropped += 1;
                self.counts.evicted += 1;
            }
        }
        if !self.has_room(frame.len(), bounds) {
            self.counts.dropped += 1;
            return Queued::Full;
        }
        self.bytes += frame.len();
        self.messages.push_back(QueuedMessage { frame, expires_at });
        Queued::Yes
    }

    /// Whether a frame of so many bytes fits now.
    pub(super) fn has_room(&self, bytes: usize, bounds: &QueueBounds) -> bool {
        self.messages.len() < bounds.messages && bytes <= bounds.bytes.saturating_sub(self.bytes)
    }

    /// Drops what has expired.
    pub(super) fn drop_expired(&mut self, now: Tick) {
        let before = self.messages.len();
        self.messages.retain(|message| message.expires_at > now);
        let dropped = before - self.messages.len();
        if dropped > 0 {
            self.counts.dropped += dropped as u64;
            self.counts.expired += dropped as u64;
            self.bytes = self
                .messages
                .iter()
                .map(|message| message.frame.len())
                .sum();
            self.release();
        }
    }

    /// What was lost since the last call.
    pub(super) fn take_lost(&mut self) -> LostCounts {
        let PublishedCounts {
            evicted, expired, ..
        } = self.counts;
        let before = std::mem::replace(&mut self.reported, LostCounts { evicted, expired });
        LostCounts {
            evicted: evicted - before.evicted,
            expired: expired - before.expired,
        }
    }

    /// Goes on with the counts of another process, which has reported them.
    pub(super) fn set_counts(&mut self, counts: PublishedCounts) {
        self.counts = counts;
        self.take_lost();
    }

    /// The frame, if there is exactly one.
    pub(super) fn only(&self) -> Option<&[u8]> {
        match self.messages.len() {
            1 => self.messages.front().map(|message| &*message.frame),
            _ => None,
        }
    }

    /// Takes the oldest frame out, which leaves now.
    pub(super) fn take_first(&mut self) -> Option<Arc<[u8]>> {
        let frame = self.pop()?;
        self.counts.sent += 1;
        self.counts.bytes += frame.len() as u64;
        Some(frame)
    }

    /// Drops everything that waits.
    pub(super) fn clear(&mut self) {
        self.counts.dropped += self.messages.len() as u64;
        (self.messages, self.bytes) = (VecDeque::new(), 0);
    }

    /// All frames that wait, one behind the other.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let frames: Vec<_> = self
            .messages
            .iter()
            .map(|message| &*message.frame)
            .collect();
        frames.concat()
    }

    /// The queue in which these frames wait without an expiry; `None` if they are not whole.
    pub(super) fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut queue = Self::default();
        while let Some(header) = FrameHeader::parse(bytes) {
            let len = usize::try_from(header.payload)
                .ok()?
                .checked_add(header.len)?;
            let (frame, rest) = bytes.split_at_checked(len)?;
            queue.bytes += len;
            queue.messages.push_back(QueuedMessage {
                frame: frame.into(),
                expires_at: Tick::MAX,
            });
            bytes = rest;
        }
        bytes.is_empty().then_some(queue)
    }

    /// Ticks that each message that waits has left, in order.
    pub(super) fn lifetimes(&self, now: Tick) -> Vec<Option<Tick>> {
        let left = |at: Tick| (at != Tick::MAX).then(|| at.saturating_sub(now));
        self.messages
            .iter()
            .map(|message| left(message.expires_at))
            .collect()
    }

    /// Sets the ticks that each message has left.
    pub(super) fn set_lifetimes(&mut self, left: &[Option<Tick>], now: Tick) {
        for (message, left) in self.messages.iter_mut().zip(left) {
            message.expires_at = left.map_or(Tick::MAX, |left| now.saturating_add(left));
        }
    }

    fn pop(&mut self) -> Option<Arc<[u8]>> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.frame.len();
        self.release();
        Some(message.frame)
    }

    /// An empty queue gives its memory back.
    fn release(&mut self) {
        if self.messages.is_empty() {
            self.messages = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: QueueBounds = QueueBounds {
        messages: 3,
        bytes: 10,
        when_full: WhenFull::DropNew,
    };

    fn frame(byte: u8, len: usize) -> Arc<[u8]> {
        vec![byte; len].into()
    }

    #[test]
    fn i8_a_full_queue_takes_no_more() {
        let mut queue = OutboundQueue::default();
        for byte in 0..3 {
            assert_eq!(queue.push(frame(byte, 1), Tick::MAX, &BOUNDS), Queued::Yes);
        }
        assert_eq!(queue.push(frame(9, 1), Tick::MAX, &BOUNDS), Queued::Full);
        assert_eq!(queue.take_first(), Some(frame(0, 1)));
        assert_eq!(queue.push(frame(9, 9), Tick::MAX, &BOUNDS), Queued::Full);
        assert_eq!(queue.push(frame(9, 8), Tick::MAX, &BOUNDS), Queued::Yes);
        let counts = PublishedCounts {
            sent: 1,
            bytes: 1,
            dropped: 2,
            ..PublishedCounts::default()
        };
        assert_eq!((queue.len(), queue.counts), (10, counts));
        let none = QueueBounds {
            messages: 0,
            ..BOUNDS
        };
        let pushed = OutboundQueue::default().push(frame(0, 1), Tick::MAX, &none);
        assert_eq!(pushed, Queued::TooLarge, "waiting does not help");
    }

    #[test]
    fn the_oldest_make_room_for_one_that_fits() {
        let bounds = QueueBounds {
            when_full: WhenFull::DropOldest,
            ..BOUNDS
        };
        let mut queue = OutboundQueue::default();
        for byte in 0..3 {
            queue.push(frame(byte, 3), Tick::MAX, &bounds);
        }
        assert_eq!(
            queue.push(frame(9, 11), Tick::MAX, &bounds),
            Queued::TooLarge
        );
        assert_eq!(
            (queue.len(), queue.counts.dropped),
            (9, 1),
            "nothing was dropped for it"
        );
        assert_eq!(queue.push(frame(3, 6), Tick::MAX, &bounds), Queued::Yes);
        assert_eq!(queue.take_first(), Some(frame(2, 3)));
        assert_eq!(queue.take_first(), Some(frame(3, 6)));
        // The one that was too large never waited.
        assert_eq!((queue.counts.dropped, queue.counts.evicted), (3, 2));
        let lost = |evicted| LostCounts {
            evicted,
            expired: 0,
        };
        assert_eq!([queue.take_lost(), queue.take_lost()], [lost(2), lost(0)]);
    }

    #[test]
    fn expired_messages_are_dropped() {
        let mut queue = OutboundQueue::default();
        for (byte, expires_at) in [(0, 10), (1, Tick::MAX), (2, 20)] {
            queue.push(frame(byte, 2), expires_at, &BOUNDS);
        }
        queue.drop_expired(9);
        assert_eq!(queue.len(), 6);
        queue.drop_expired(10);
        assert_eq!(queue.lifetimes(15), [None, Some(5)]);
        queue.drop_expired(20);
        assert_eq!((queue.len(), queue.counts.dropped), (2, 2));
        assert_eq!(queue.only(), Some(&[1, 1][..]));
        let lost = LostCounts {
            evicted: 0,
            expired: 2,
        };
        assert_eq!(queue.take_lost(), lost);
        let mut next = OutboundQueue::default();
        next.set_counts(queue.counts);
        assert_eq!(next.take_lost(), LostCounts::default(), "it is reported");
        assert_eq!(next.counts, queue.counts);
    }

    #[test]
    fn a_queue_is_carried_as_its_frames_and_lifetimes() {
        let mut queue = OutboundQueue::default();
        let frames = [&b"\x81\x02ab"[..], b"\x82\x00", b"\x81\x7e\x00\x01x"];
        for (frame, expires_at) in frames.iter().zip([Tick::MAX, 30, 20]) {
            queue.push((*frame).into(), expires_at, &QueueBounds::OPERATOR);
        }
        let mut carried = OutboundQueue::from_bytes(&queue.to_bytes()).expect("whole frames");
        carried.set_lifetimes(&queue.lifetimes(10), 110);
        assert_eq!(carried.lifetimes(110), [None, Some(20), Some(10)]);
        assert_eq!(carried.len(), queue.len());
        for frame in frames {
            assert_eq!(carried.take_first().as_deref(), Some(frame));
        }
        assert!(
            OutboundQueue::from_bytes(b"\x81\x02a").is_none(),
            "a frame that is not whole"
        );
        let longest = b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff";
        assert!(OutboundQueue::from_bytes(longest).is_none());
    }

    #[test]
    fn an_empty_queue_owns_no_memory() {
        let mut queue = OutboundQueue::default();
        queue.push(frame(0, 2), Tick::MAX, &BOUNDS);
        queue.take_first();
        assert_eq!(queue.messages.capacity(), 0);
        queue.push(frame(0, 2), 1, &BOUNDS);
        queue.drop_expired(1);
        assert_eq!(queue.messages.capacity(), 0);
        queue.push(frame(0, 2), 1, &BOUNDS);
        queue.clear();
        assert_eq!((queue.messages.capacity(), queue.len()), (0, 0));
    }

    proptest! {
        /// Whatever is queued and taken, the bounds hold, what leaves leaves in order, and every
        /// message is sent, dropped or waits.
        #[test]
        fn i8_every_message_is_accounted_for(
            steps in prop::collection::vec((0_usize..14, prop::bool::ANY, 0_u32..40), 0..60),
            oldest in prop::bool::ANY,
        ) {
            let when_full = if oldest { WhenFull::DropOldest } else { WhenFull::DropNew };
            let bounds = QueueBounds { when_full, ..BOUNDS };
            let mut queue = OutboundQueue::default();
            let (mut pushed, mut last) = (0_u64, None);
            for (place, (len, take, life)) in steps.into_iter().enumerate() {
                let now = place as Tick;
                queue.drop_expired(now);
                if take {
                    let taken = queue.take_first();
                    if let Some(number) = taken.as_ref().and_then(|frame| frame.first()) {
                        prop_assert!(last < Some(*number));
                        last = Some(*number);
                    }
                } else {
                    pushed += 1;
                    queue.push(frame(place as u8, len), now + life, &bounds);
                }
                prop_assert!(queue.len() <= bounds.bytes);
                prop_assert!(queue.messages.len() <= bounds.messages);
                let waiting = queue.messages.len() as u64;
                prop_assert_eq!(queue.counts.sent + queue.counts.dropped + waiting, pushed);
            }
        }
    }
}
