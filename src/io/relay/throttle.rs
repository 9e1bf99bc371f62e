//! How fast a client may send. What it sent has been read by the time it is counted, so that too
//! much of it is made good afterwards: by not reading the client until it is, or by the end of the
//! session. So that little can be too much, who is throttled is read in small pieces.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, ReadBuf};

use crate::config::limits::Over;
use crate::core::limits::{Meter, SharedMeter};
use crate::core::session::record::{Cause, EndedBy};
use crate::core::session::wheel::Tick;
use crate::core::wire::frame::close_frame;
use crate::io::relay::flow::Place;
use crate::io::relay::{Relay, Stream, mask};

/// Bytes that a throttled client is read before they are counted.
const PIECE: usize = 16 * 1024;

/// What a client may send, and what it has.
#[derive(Debug)]
pub struct Throttle {
    /// The session's own.
    pub own: Meter,
    /// Its principal's, with the other sessions of that.
    pub shared: Option<Arc<SharedMeter>>,
    /// What happens beyond it.
    pub over: Over,
    /// Nanoseconds of a tick, and the node's time at tick 0.
    pub tick: u64,
    /// See `tick`.
    pub began: u64,
    /// Messages and bytes that have been counted.
    pub counted: (u64, u64),
    /// The reading of the fragments that have been counted.
    pub fragments: u16,
    /// Until when the client is not read.
    pub until: Option<Tick>,
}

/// A throttle as plain data. A principal's meter is not in it: it is full again, and counts for
/// new sessions only.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Throttled {
    own: Meter,
    over: Over,
    tick: u64,
    counted: (u64, u64),
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fragments: Option<u16>,
    paused_for: Option<Tick>,
}

impl Throttle {
    fn time(&self, now: Tick) -> u64 {
        self.began + u64::from(now) * self.tick
    }

    pub(super) fn pack(&self, now: Tick) -> Throttled {
        Throttled {
            own: self.own.shifted(self.time(now), 0),
            over: self.over,
            tick: self.tick,
            counted: self.counted,
            fragments: Some(self.fragments).filter(|count| *count > 0),
            paused_for: self.until.map(|until| until.saturating_sub(now)),
        }
    }
    /// Counts what has come since the last time; answers when what is owed will have come in.
    /// A fragment costs as much as a message: else a message that never ends would be free.
    fn charge(&mut self, messages: u64, fragments: u16, bytes: u64, now: Tick) -> Option<Tick> {
        let more = fragments.wrapping_sub(std::mem::replace(&mut self.fragments, fragments));
        let before = std::mem::replace(&mut self.counted, (messages, bytes));
        let (messages, bytes) = (
            messages.saturating_sub(before.0) + u64::from(more),
            bytes.saturating_sub(before.1),
        );
        if (messages, bytes) == (0, 0) {
            return None;
        }
        let time = self.time(now);
        let own = self.own.charge(messages, bytes, time);
        let shared = self.shared.as_ref();
        let shared = shared.map_or(0, |shared| shared.charge(messages, bytes, time));
        let wait = own.max(shared);
        let ticks = Tick::try_from(wait.div_ceil(self.tick)).unwrap_or(Tick::MAX);
        (wait > 0).then(|| now.saturating_add(ticks))
    }
}

impl Throttled {
    pub(super) fn unpack(self, now: Tick) -> Throttle {
        let mut throttle = Throttle {
            own: self.own,
            shared: None,
            over: self.over,
            tick: self.tick.max(1),
            began: 0,
            counted: self.counted,
            fragments: self.fragments.unwrap_or(0),
            until: self.paused_for.map(|left| now.saturating_add(left)),
        };
        throttle.own = throttle.own.shifted(0, throttle.time(now));
        throttle
    }
}

impl<C: Stream> Relay<C> {
    /// Whether the client is to be left unread at this time.
    pub(super) fn pauses(&mut self, now: Tick) -> bool {
        let Some(throttle) = &mut self.throttle else {
            return false;
        };
        if throttle.until.is_some_and(|until| now >= until) {
            throttle.until = None;
        }
        if throttle.until.is_some() && self.ending.is_some() {
            // Its answer to the close frame stands behind what it has no right to send yet. It is
            // read, and all of that is dropped.
            throttle.until = None;
            self.end_for_backend();
            return false;
        }
        throttle.until.is_some()
    }

    /// When the client is to be read again, if it is not.
    pub(super) fn resumes_at(&self) -> Option<Tick> {
        self.throttle.as_ref().and_then(|throttle| throttle.until)
    }

    /// Counts what the client has sent, and does what is to be done if that was too much.
    pub(super) fn measure(&mut self, now: Tick) {
        let traffic = self.up.tracker.traffic();
        let messages = traffic.text + traffic.binary + traffic.ping + traffic.pong;
        let fragments = self.up.tracker.fragments();
        let Some(throttle) = &mut self.throttle else {
            return;
        };
        let Some(until) = throttle.charge(messages, fragments, traffic.bytes, now) else {
            return;
        };
        match throttle.over {
            Over::Slow if self.ending.is_some() => self.end_for_backend(),
            Over::Slow => throttle.until = Some(until),
            Over::Close if self.ending.is_none() => self.end_rash(now),
            Over::Close => {}
        }
    }

    /// Ends the session of a client that sends too much. Its messages so far have gone on; the
    /// next do not.
    fn end_rash(&mut self, now: Tick) {
        const SAID: &str = "message rate exceeded";
        self.stop_moving();
        self.end(EndedBy::Gateway, Cause::RateLimited, Some(1008), now);
        self.down
            .say_goodbye(close_frame(1008, SAID, None), Place::NextBoundary);
        self.down.finish();
        let frame = close_frame(1008, &format!("client: {SAID}"), Some(mask()));
        self.up.say_goodbye(frame, Place::NextBoundary);
    }
}

/// A reader that gives one piece and then waits for its next turn.
pub(super) struct Sip<'c, C> {
    source: &'c mut C,
    left: usize,
}

impl<'c, C> Sip<'c, C> {
    pub(super) fn new(source: &'c mut C) -> Self {
        let left = PIECE;
        Self { source, left }
    }

    /// Whether there may be more, which nobody else will tell.
    pub(super) fn exhausted(&self) -> bool {
        self.left == 0
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Sip<'_, C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Pending;
        }
        let room = buffer.remaining().min(self.left);
        let mut piece = ReadBuf::new(buffer.initialize_unfilled_to(room));
        let read = Pin::new(&mut *self.source).poll_read(cx, &mut piece);
        let came = piece.filled().len();
        buffer.advance(came);
        if read.is_ready() {
            // A second read would be counted with this one.
            self.left = 0;
        }
        read
    }
}
