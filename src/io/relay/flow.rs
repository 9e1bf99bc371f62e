//! One direction of a session: what its source sends is followed and written to its sink. It holds
//! bytes only while the sink does not take them, and then reads nothing more (I8).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::base::blob;
use crate::core::wire::frame::HEADER_MAX;
use crate::core::wire::tracker::{FrameTracker, Stop, Until, Violation};

/// Room in front of a read for the beginning of a header that the last read ended in.
const CARRY_ROOM: usize = HEADER_MAX;
/// Reads in one turn, after which other sessions of the worker get theirs.
const READS_PER_TURN: u32 = 16;

/// The worker's one read buffer: every session of the worker reads into it, none keeps it.
#[derive(Debug)]
pub struct Scratch(Box<[u8]>);

impl Scratch {
    /// Room for reads of this many bytes.
    pub fn new(read_bytes: usize) -> Self {
        Self(vec![0; CARRY_ROOM + read_bytes].into_boxed_slice())
    }
}

/// What one direction has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A close frame of the source went on; what follows it will be dropped.
    Closed,
    /// The source broke the rules; what it sent before went on, the rest will be dropped.
    Violation(Violation),
    /// The source sends nothing more.
    SourceEnded {
        /// By an error, not by the orderly end of its stream.
        reset: bool,
    },
    /// The sink takes nothing more; what the source sends will be dropped.
    SinkLost,
    /// It moved a good deal, and others want their turn.
    TurnOver,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// Forwarding.
    Open,
    /// What the source sends is read, so that its end is seen, and dropped.
    Silenced,
    /// The source's end was seen.
    Ended,
}

/// A close frame of the gateway's own that waits for its place.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Goodbye {
    #[serde(with = "blob")]
    frame: Vec<u8>,
    place: Place,
}

/// Where it goes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    /// Behind the frame that is passing.
    NextBoundary,
    /// Behind the source's last word: in the place of its close frame, or at its end.
    LastWord,
}

/// One direction. All of it goes along to another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Flow {
    pub(super) tracker: FrameTracker,
    state: State,
    /// Bytes that the sink has not taken yet, from `sent` on.
    #[serde(with = "blob")]
    unsent: Vec<u8>,
    sent: usize,
    /// What was read before the relay began.
    #[serde(with = "blob")]
    early: Vec<u8>,
    goodbye: Option<Goodbye>,
    /// A close frame went to the sink, the source's or the gateway's.
    closed: bool,
    /// The sink is to be told that nothing more comes, once it has everything.
    finish: bool,
    finished: bool,
    sink_lost: bool,
    unflushed: bool,
    /// Bytes moved since it was last asked.
    moved: bool,
}

impl Flow {
    pub(super) fn new(tracker: FrameTracker, early: Vec<u8>) -> Self {
        Self {
            tracker,
            state: State::Open,
            unsent: Vec::new(),
            sent: 0,
            early,
            goodbye: None,
            closed: false,
            finish: false,
            finished: false,
            sink_lost: false,
            unflushed: false,
            moved: false,
        }
    }

    /// Whether it is one that polling can lead to; asked of what another process wrote.
    pub(super) fn is_sound(&self) -> bool {
        self.tracker.is_sound() && self.sent <= self.unsent.len()
    }

    /// Puts a close frame of the gateway's own in at its place, and drops what the source sends
    /// from there on. Without effect once a close frame has passed, or where the source ended
    /// inside a frame.
    pub(super) fn say_goodbye(&mut self, frame: Vec<u8>, place: Place) {
        if !self.closed && (self.state != State::Ended || self.tracker.at_boundary()) {
            self.goodbye = Some(Goodbye { frame, place });
            if self.state == State::Ended {
                self.hurry();
            }
        }
    }

    /// Waits for the source's last word no longer; answers whether it did.
    pub(super) fn hurry(&mut self) -> bool {
        match &mut self.goodbye {
            Some(goodbye) if goodbye.place == Place::LastWord => {
                goodbye.place = Place::NextBoundary;
                true
            }
            _ => false,
        }
    }

    /// Forwards nothing more, and tells the sink so once it has everything.
    pub(super) fn finish(&mut self) {
        if self.state == State::Open && self.goodbye.is_none() {
            self.state = State::Silenced;
        }
        self.finish = true;
    }

    /// Drops everything for the sink, which is gone.
    pub(super) fn lose_sink(&mut self) {
        self.sink_lost = true;
        self.goodbye = None;
        self.unsent = Vec::new();
        self.sent = 0;
        if self.state == State::Open {
            self.state = State::Silenced;
        }
    }

    pub(super) fn closed(&self) -> bool {
        self.closed
    }

    pub(super) fn source_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Nothing more will go to the sink.
    pub(super) fn done(&self) -> bool {
        self.sink_lost || self.finished
    }

    /// Whether bytes moved since the last call.
    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Bytes that the gateway holds for the sink.
    pub(super) fn held(&self) -> usize {
        self.unsent.len() - self.sent + self.early.len()
    }

    /// Moves what can be moved. Pending means that the source has nothing or the sink takes
    /// nothing, and the task will be woken; an event wants to be looked at before the next call.
    pub(super) fn poll<S, T>(
        &mut self,
        source: &mut S,
        sink: &mut T,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> Poll<Event>
    where
        S: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        for _ in 0..READS_PER_TURN {
            if !self.sink_lost && ready!(self.poll_sink(sink, cx)).is_err() {
                self.lose_sink();
                return Poll::Ready(Event::SinkLost);
            }
            if self.state == State::Ended {
                return Poll::Pending;
            }
            if let Some(event) = ready!(self.poll_source(source, sink, cx, scratch)) {
                return Poll::Ready(event);
            }
        }
        Poll::Ready(Event::TurnOver)
    }

    /// Brings the sink everything that waits for it, the gateway's close frame and the end
    /// included.
    fn poll_sink<T: AsyncWrite + Unpin>(
        &mut self,
        sink: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while self.sent < self.unsent.len() {
                let written =
                    ready!(Pin::new(&mut *sink).poll_write(cx, &self.unsent[self.sent..]))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.sent += written;
                self.unflushed = true;
                self.moved = true;
            }
            self.unsent = Vec::new();
            self.sent = 0;
            let in_place = |goodbye: &mut Goodbye| goodbye.place == Place::NextBoundary;
            if !self.tracker.at_boundary() {
                break;
            }
            let Some(goodbye) = self.goodbye.take_if(in_place) else {
                break;
            };
            self.unsent = goodbye.frame;
            self.closed = true;
            if self.state == State::Open {
                self.state = State::Silenced;
            }
        }
        // Only TLS has anything to flush; a record that waits must not keep the source unread.
        if self.unflushed && Pin::new(&mut *sink).poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        let over = self.finish && self.goodbye.is_none();
        if over && !self.finished && !self.unflushed {
            // A peer that is gone already needs no telling.
            let _ = ready!(Pin::new(sink).poll_shutdown(cx));
            self.finished = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once and forwards what came.
    fn poll_source<S, T>(
        &mut self,
        source: &mut S,
        sink: &mut T,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> Poll<Option<Event>>
    where
        S: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            if self.state != State::Open {
                return Poll::Ready(None);
            }
            return Poll::Ready(self.take_in(&early, sink, cx));
        }
        let carry = self.tracker.carry();
        let start = CARRY_ROOM - carry.len();
        scratch.0[start..CARRY_ROOM].copy_from_slice(carry);
        let mut buffer = ReadBuf::new(&mut scratch.0[CARRY_ROOM..]);
        let came = match ready!(Pin::new(source).poll_read(cx, &mut buffer)) {
            Ok(()) => buffer.filled().len(),
            // A TLS peer that ends its stream without saying so.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(_) => return Poll::Ready(Some(self.source_gone(true))),
        };
        if came == 0 {
            return Poll::Ready(Some(self.source_gone(false)));
        }
        self.moved = true;
        if self.state == State::Silenced {
            return Poll::Ready(None);
        }
        Poll::Ready(self.take_in(&scratch.0[start..CARRY_ROOM + came], sink, cx))
    }

    fn source_gone(&mut self, reset: bool) -> Event {
        self.state = State::Ended;
        self.hurry();
        if !self.tracker.at_boundary() {
            self.goodbye = None;
        }
        Event::SourceEnded { reset }
    }

    /// Follows a chunk, which begins with the carry, and writes what may go on.
    fn take_in<T>(&mut self, chunk: &[u8], sink: &mut T, cx: &mut Context<'_>) -> Option<Event>
    where
        T: AsyncWrite + Unpin,
    {
        let until = match self.goodbye.as_ref().map(|goodbye| goodbye.place) {
            None => Until::ChunkEnd,
            Some(Place::NextBoundary) => Until::Boundary,
            Some(Place::LastWord) => Until::CloseFrame,
        };
        let tracked = self.tracker.track(chunk, until);
        let mut event = match tracked.stop {
            Stop::ChunkEnd => None,
            Stop::Reached => {
                self.hurry();
                None
            }
            Stop::Closed => {
                self.closed = true;
                self.goodbye = None;
                self.state = State::Silenced;
                Some(Event::Closed)
            }
            Stop::Violation(violation) => {
                self.state = State::Silenced;
                Some(Event::Violation(violation))
            }
        };
        if !self.sink_lost && self.write_now(&chunk[..tracked.forward], sink, cx).is_err() {
            self.lose_sink();
            event = event.or(Some(Event::SinkLost));
        }
        event
    }

    /// Writes as much as the sink takes at once and keeps the rest.
    fn write_now<T>(
        &mut self,
        mut bytes: &[u8],
        sink: &mut T,
        cx: &mut Context<'_>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin,
    {
        while !bytes.is_empty() {
            match Pin::new(&mut *sink).poll_write(cx, bytes) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => bytes = &bytes[written..],
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.unsent = bytes.to_vec();
                    self.sent = 0;
                    break;
                }
            }
            self.unflushed = true;
        }
        Ok(())
    }
}
