//! One direction of a session: what its source sends is followed and written to its sink. It holds
//! bytes only while the sink does not take them, and then reads nothing more (I8).
//!
//! Either end may be missing for a while. Without a sink, whole messages are held for the next one
//! (`fork`); without a source, only what is left for the sink moves.

mod fork;
mod goodbye;
mod own;
mod pass;
mod withhold;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::base::blob;
use crate::core::wire::frame::{HEADER_MAX, Opcode, code_of_close, control_frame};
use crate::core::wire::position::Position;
use crate::core::wire::tracker::{FrameTracker, PING_BYTES, Stop, Tracked, Until};
use crate::core::wire::violation::Violation;
use crate::io::relay::flow::fork::Fork;
use crate::io::relay::flow::goodbye::Goodbye;
use crate::io::relay::flow::own::Own;

pub(super) use crate::io::relay::flow::fork::Lost;
pub(super) use crate::io::relay::flow::goodbye::Place;
pub(super) use crate::io::relay::flow::withhold::Withhold;

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
    /// The source said goodbye in a way that is for the gateway: its close frame, with this code,
    /// did not go on, and what follows it will be dropped.
    Withheld(Option<u16>),
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

/// What happened to bytes since that was last asked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// The sink took some.
    pub(super) wrote: bool,
    /// Some of the source's were read and dropped.
    pub(super) dropped: bool,
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
    /// Where the first of `unsent` stands. Kept up only where the sink may be replaced.
    unsent_at: Position,
    /// `unsent` is a ping of the gateway's own and nothing else: no sign of life in the session.
    unsent_own: bool,
    /// Set where the sink may be replaced.
    replaceable: bool,
    /// What waits for the next sink, while one is looked for.
    fork: Option<Box<Fork>>,
    /// Which close frames of the source do not go on.
    withhold: Withhold,
    /// Payload of a ping of the gateway's own that waits for its place.
    ping: Option<[u8; PING_BYTES]>,
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
    /// The source was heard since it was last asked.
    heard: bool,
    #[serde(skip)]
    progress: Progress,
    /// Set where the gateway itself speaks, or is spoken to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    own: Option<Box<Own>>,
}

impl Flow {
    pub(super) fn new(tracker: FrameTracker, early: Vec<u8>) -> Self {
        Self {
            tracker,
            state: State::Open,
            unsent: Vec::new(),
            sent: 0,
            unsent_at: Position::default(),
            unsent_own: false,
            replaceable: false,
            fork: None,
            withhold: Withhold::Nothing,
            ping: None,
            early,
            goodbye: None,
            closed: false,
            finish: false,
            finished: false,
            sink_lost: false,
            unflushed: false,
            moved: false,
            heard: false,
            progress: Progress::default(),
            own: None,
        }
    }

    /// What happened to bytes since the last call.
    pub(super) fn take_progress(&mut self) -> Progress {
        std::mem::take(&mut self.progress)
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

    /// Whether what came is whole messages, with no header begun.
    pub(super) fn whole(&self) -> bool {
        self.tracker.at_message_boundary() && self.tracker.carry().is_empty()
    }

    /// Whether bytes moved since the last call.
    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Whether the source was heard since the last call.
    pub(super) fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    /// Asks the sink for a pong, at the next frame boundary; answers whether one can be asked for,
    /// which is not so behind a close frame.
    pub(super) fn ping(&mut self, payload: [u8; PING_BYTES]) -> bool {
        let open = !self.closed && self.goodbye.is_none();
        let open = open && self.fork.is_none() && !self.sink_lost;
        if open {
            self.ping = Some(payload);
        }
        open
    }

    /// Whether everything that there is for the sink, a ping included, has been taken by it.
    pub(super) fn all_sent(&self) -> bool {
        self.unsent.is_empty() && self.ping.is_none() && !self.unflushed
    }

    /// Whether the source is left unread: the sink does not take what there is, no more may be held
    /// for the next one, or a message for the gateway waits for its answer.
    pub(super) fn held_up(&self) -> bool {
        let stuck = !self.holding() && self.sent < self.unsent.len();
        stuck || self.full() || self.heard().is_some()
    }

    /// Whether a ping waits for the end of a frame that the source has not finished.
    pub(super) fn ping_has_no_place(&self) -> bool {
        self.ping.is_some() && self.unsent.is_empty() && !self.tracker.at_boundary()
    }

    /// Bytes that the gateway holds for the sink, or for the next one.
    pub(super) fn held(&self) -> usize {
        let fork = self.fork.as_ref().map_or(0, |fork| fork.held());
        self.unsent.len() - self.sent + self.early.len() + fork + self.held_own()
    }

    /// Moves what can be moved. Pending means that the source has nothing or the sink takes
    /// nothing, and the task will be woken; an event wants to be looked at before the next call.
    pub(super) fn poll<S, T>(
        &mut self,
        mut source: Option<&mut S>,
        mut sink: Option<&mut T>,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> Poll<Event>
    where
        S: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        for _ in 0..READS_PER_TURN {
            if let Some(sink) = sink.as_deref_mut().filter(|_| !self.sink_lost) {
                match self.poll_sink(sink, cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => {
                        self.sink_failed();
                        return Poll::Ready(Event::SinkLost);
                    }
                    // What is read meanwhile is for the next sink.
                    Poll::Pending if self.holding() => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
            let Some(source) = source.as_deref_mut() else {
                return Poll::Pending;
            };
            if self.state == State::Ended || self.full() || self.heard().is_some() {
                return Poll::Pending;
            }
            let sink = sink.as_deref_mut();
            if let Some(event) = ready!(self.poll_source(source, sink, cx, scratch)) {
                return Poll::Ready(event);
            }
        }
        Poll::Ready(Event::TurnOver)
    }

    /// Brings the sink everything that waits for it, the gateway's own frames and the end included.
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
                self.progress.wrote = true;
                self.moved |= !self.unsent_own;
            }
            self.unsent = Vec::new();
            self.sent = 0;
            self.unsent_own = false;
            if self.holding() || !self.tracker.at_boundary() || !self.insert_own() {
                break;
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

    /// Puts a frame of the gateway's own behind what is forwarded, which ends at a boundary;
    /// answers whether there was one.
    fn insert_own(&mut self) -> bool {
        let in_place = |goodbye: &mut Goodbye| goodbye.place == Place::NextBoundary;
        if let Some(goodbye) = self.goodbye.take_if(in_place) {
            self.keep_own(&goodbye.frame, self.tracker.position());
            self.closed = true;
            self.ping = None;
            self.fall_silent();
            if self.state == State::Open {
                self.state = State::Silenced;
            }
            return true;
        }
        if self.goodbye.is_some() || self.closed {
            return false;
        }
        if self.tracker.at_message_boundary()
            && let Some(says) = self.take_says()
        {
            self.unsent_own = self.unsent.is_empty();
            self.keep_own(&says, self.tracker.position());
            return true;
        }
        let Some(ping) = self.ping.take() else {
            return false;
        };
        let mask = self.tracker.is_masked().then(super::mask);
        let frame = control_frame(Opcode::Ping, &ping, mask);
        self.unsent_own = self.unsent.is_empty();
        self.keep_own(&frame, self.tracker.position());
        true
    }

    /// Appends a frame of the gateway's own, which stands at `at`, to what waits for the sink.
    fn keep_own(&mut self, frame: &[u8], at: Position) {
        if self.unsent.is_empty() {
            self.sent = 0;
            self.unsent_at = at;
        }
        self.unsent.extend_from_slice(frame);
    }

    /// Reads once and forwards what came.
    fn poll_source<S, T>(
        &mut self,
        source: &mut S,
        sink: Option<&mut T>,
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
            let aside = self.take_aside();
            let begun = [&aside, self.tracker.carry()].concat();
            let chunk = if begun.is_empty() {
                early
            } else {
                [begun, early].concat()
            };
            return Poll::Ready(self.take_in(&chunk, sink, cx));
        }
        let carry = self.tracker.carry();
        let start = CARRY_ROOM - carry.len();
        scratch.0[start..CARRY_ROOM].copy_from_slice(carry);
        let room = self.room(scratch.0.len() - CARRY_ROOM);
        let mut buffer = ReadBuf::new(&mut scratch.0[CARRY_ROOM..CARRY_ROOM + room]);
        let came = match ready!(Pin::new(source).poll_read(cx, &mut buffer)) {
            Ok(()) => buffer.filled().len(),
            // A TLS peer that ends its stream without saying so.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(_) => return Poll::Ready(Some(self.source_gone(true))),
        };
        if came == 0 {
            return Poll::Ready(Some(self.source_gone(false)));
        }
        self.heard = true;
        if self.state == State::Silenced {
            self.moved = true;
            self.progress.dropped = true;
            return Poll::Ready(None);
        }
        let came = &scratch.0[start..CARRY_ROOM + came];
        let aside = self.take_aside();
        if !aside.is_empty() {
            return Poll::Ready(self.take_in(&[&aside, came].concat(), sink, cx));
        }
        Poll::Ready(self.take_in(came, sink, cx))
    }

    fn source_gone(&mut self, reset: bool) -> Event {
        self.state = State::Ended;
        // Nobody says the rest of it.
        self.take_aside();
        self.hurry();
        if !self.tracker.at_boundary() {
            self.goodbye = None;
        }
        Event::SourceEnded { reset }
    }

    /// Follows a chunk, which begins with the carry, and writes what may go on.
    fn take_in<T>(
        &mut self,
        mut chunk: &[u8],
        mut sink: Option<&mut T>,
        cx: &mut Context<'_>,
    ) -> Option<Event>
    where
        T: AsyncWrite + Unpin,
    {
        // A close frame that was looked at and goes on is not looked at again.
        let mut looked = false;
        let mut lost = false;
        // What stands between frames that are taken out, which goes on in one write; and its place.
        let (mut between, mut at) = (Vec::new(), self.tracker.position());
        loop {
            let until = self.until(looked);
            if between.is_empty() {
                at = self.tracker.position();
            }
            let Tracked { forward, stop } = self.tracker.track(chunk, until);
            let (mut bytes, rest) = chunk.split_at(forward);
            // A pong to the gateway's own ping is no sign of life in the session.
            self.moved |= forward > 0 || !self.tracker.carry().is_empty();
            let taken_out = matches!(stop, Stop::Pong(_) | Stop::InBand(_));
            if taken_out || !between.is_empty() {
                between.extend_from_slice(bytes);
                bytes = &between;
            }
            if !taken_out {
                if !self.pass_on(bytes, at, sink.as_deref_mut(), cx) {
                    lost = true;
                    self.sink_failed();
                }
                between.clear();
            }
            match self.stopped(stop, until, rest, &mut looked) {
                Step::GoOn(further) => chunk = further,
                Step::Done(event) => return event.or_else(|| lost.then_some(Event::SinkLost)),
            }
        }
    }

    /// How far to follow, with what there is to be put in or kept out.
    fn until(&self, looked: bool) -> Until {
        match &self.goodbye {
            Some(goodbye) if goodbye.place == Place::NextBoundary => Until::Boundary,
            Some(_) => Until::CloseFrame,
            None if self.parting() => Until::Message,
            None if self.has_to_say() && !self.holding() => Until::Message,
            None if self.ping.is_some() && !self.holding() => Until::Boundary,
            None if self.withhold != Withhold::Nothing && !looked => Until::CloseCode,
            None => Until::ChunkEnd,
        }
    }

    /// What follows from where the tracker stopped, before `rest`.
    fn stopped<'c>(
        &mut self,
        stop: Stop,
        until: Until,
        rest: &'c [u8],
        looked: &mut bool,
    ) -> Step<'c> {
        match (stop, until) {
            (Stop::ChunkEnd, _) => Step::Done(None),
            (Stop::Closed, _) => {
                self.closed = true;
                self.goodbye = None;
                self.ping = None;
                self.fall_silent();
                self.state = State::Silenced;
                Step::Done(Some(Event::Closed))
            }
            (Stop::Violation(violation), _) => {
                self.state = State::Silenced;
                Step::Done(Some(Event::Violation(violation)))
            }
            (Stop::Pong(len), _) => Step::GoOn(&rest[len..]),
            (Stop::InBand(len), _) => {
                self.hear(&rest[..len]);
                Step::GoOn(&rest[len..])
            }
            (Stop::Undecided, _) => {
                self.put_aside(rest);
                Step::Done(None)
            }
            (Stop::Reached, Until::Message) if self.parting() => {
                self.part_here();
                Step::GoOn(rest)
            }
            (Stop::Reached, Until::Message) => {
                self.insert_own();
                Step::GoOn(rest)
            }
            (Stop::Reached, Until::Boundary) if self.goodbye.is_none() => {
                self.insert_own();
                Step::GoOn(rest)
            }
            (Stop::Reached, Until::CloseCode) => {
                let code = code_of_close(rest);
                if self.withhold.takes(code) && self.tracker.at_message_boundary() {
                    self.state = State::Silenced;
                    return Step::Done(Some(Event::Withheld(code)));
                }
                *looked = true;
                Step::GoOn(rest)
            }
            (Stop::Reached, _) => {
                self.hurry();
                Step::Done(None)
            }
        }
    }

    /// The sink took an error. What it has not taken stays where another sink may want it.
    fn sink_failed(&mut self) {
        if self.replaceable {
            self.sink_lost = true;
        } else {
            self.lose_sink();
        }
    }
}

/// What comes after a stop of the tracker.
enum Step<'c> {
    /// The rest of the chunk.
    GoOn(&'c [u8]),
    /// Nothing more of the chunk.
    Done(Option<Event>),
}
