//! What the source sent: which bytes are forwarded, which are for the gateway, and what happened.

use crate::core::relay::close_filter::CloseFilter;
use crate::core::relay::direction::{
    ClosePlace, Direction, Entropy, Heard, SinkState, SourceState,
};
use crate::core::wire::frame::code_of_close;
use crate::core::wire::position::Position;
use crate::core::wire::tracker::{Stop, Tracked, Until};
use crate::core::wire::violation::Violation;

/// What happened in a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core::relay) enum Event {
    /// A close frame of the source was forwarded; what follows it is dropped.
    Closed,
    /// The close frame of the source, with this code, is for the gateway and was not forwarded;
    /// what follows it is dropped.
    CloseWithheld(Option<u16>),
    /// The source broke the rules. What it sent before was forwarded, the rest is dropped.
    Violation(Violation),
    /// The source sends nothing more.
    SourceEnded {
        /// The stream failed instead of ending in order.
        reset: bool,
    },
    /// The sink takes nothing more; what the source sends is dropped.
    SinkLost,
}

/// The result of inspecting one chunk. The driver writes the first `direct` bytes of the chunk to
/// the sink and then gives this back, with what the sink took.
#[must_use = "`forwarded` takes it, with what the sink took"]
#[derive(Debug)]
pub(in crate::core::relay) struct Received {
    /// Bytes at the front of the chunk that go to the sink without a copy.
    pub(in crate::core::relay) direct: usize,
    /// Position of the first of them.
    at: Position,
    event: Option<Event>,
}

/// What has been stopped at in a chunk and is not stopped at again.
#[derive(Clone, Copy, Debug, Default)]
struct Passed {
    /// A close frame passed the filter.
    filtered: bool,
    /// Messages of the gateway's own were inserted.
    inserted: bool,
}

/// What comes after a stop of the tracker.
enum Step<'c> {
    /// The rest of the chunk.
    GoOn(&'c [u8]),
    /// Nothing more of the chunk.
    Done(Option<Event>),
}

impl Direction {
    /// Inspects a chunk, which begins with the tracker's carry.
    #[inline]
    pub(in crate::core::relay) fn receive(&mut self, chunk: &[u8], entropy: Entropy) -> Received {
        if self.source != SourceState::Open {
            self.activity.moved = true;
            self.activity.dropped = true;
            return self.nothing(None);
        }
        let undecided = match &mut self.injected {
            Some(injected) if !injected.undecided.is_empty() => {
                std::mem::take(&mut injected.undecided)
            }
            _ => return self.inspect(chunk, entropy),
        };
        // The chunk is not all that is inspected: no part of it can be written directly.
        self.receive_copied(&[&undecided, chunk].concat(), entropy)
    }

    /// Inspects the bytes that the source sent before the relay began, if there are any.
    pub(in crate::core::relay) fn receive_early(&mut self, entropy: Entropy) -> Option<Event> {
        let early = self.early.take()?;
        if self.source != SourceState::Open {
            return None;
        }
        let begun = [self.tracker.carry(), &early].concat();
        let received = self.receive_copied(&begun, entropy);
        received.event
    }

    fn receive_copied(&mut self, bytes: &[u8], entropy: Entropy) -> Received {
        let received = self.inspect(bytes, entropy);
        if received.direct > 0 {
            self.keep_rest(&bytes[..received.direct], 0, received.at);
        }
        self.nothing(received.event)
    }

    fn nothing(&self, event: Option<Event>) -> Received {
        Received {
            direct: 0,
            at: self.tracker.position(),
            event,
        }
    }

    /// The sink took `written` of the direct bytes, or failed behind them. Returns what happened.
    pub(in crate::core::relay) fn forwarded(
        &mut self,
        received: &Received,
        chunk: &[u8],
        written: usize,
        failed: bool,
    ) -> Option<Event> {
        if written > 0 {
            self.unflushed = true;
            self.activity.wrote = true;
        }
        if written < received.direct {
            self.keep_rest(&chunk[..received.direct], written, received.at);
        }
        if failed {
            self.sink_failed();
        }
        received.event.or_else(|| failed.then_some(Event::SinkLost))
    }

    /// Keeps the direct bytes that the sink did not take, in front of what was kept of their chunk.
    fn keep_rest(&mut self, direct: &[u8], written: usize, at: Position) {
        self.backlog
            .push_front(direct, written, at, self.replaceable);
    }

    /// The source's stream ended.
    pub(in crate::core::relay) fn source_gone(&mut self, reset: bool) -> Event {
        self.end_source();
        // The rest of an undecided message never arrives.
        if let Some(injected) = &mut self.injected {
            injected.undecided = Vec::new();
        }
        if !self.tracker.at_boundary() {
            self.queued_close = None;
        }
        Event::SourceEnded { reset }
    }

    /// Follows the chunk and decides about each part of it. As long as nothing is taken out or
    /// inserted, the bytes to forward are one run at the front of the chunk and are not copied.
    #[inline]
    fn inspect(&mut self, chunk: &[u8], entropy: Entropy) -> Received {
        let at = self.tracker.position();
        let (mut direct, mut rest) = (0, chunk);
        let mut is_direct = self.writes_directly();
        let mut passed = Passed::default();
        let event = loop {
            let until = self.until(passed);
            // Only bytes that are stored need their position.
            let before = if is_direct {
                at
            } else {
                self.tracker.position()
            };
            let Tracked { forward, stop } = self.tracker.track(rest, until);
            let (bytes, after) = rest.split_at(forward);
            // A pong to the gateway's own ping is no activity of the session.
            self.activity.moved |= forward > 0 || !self.tracker.carry().is_empty();
            if is_direct {
                direct += forward;
            } else {
                self.keep(bytes, before);
            }
            if stop == Stop::ChunkEnd {
                break None;
            }
            match self.stopped(stop, until, after, &mut passed, entropy) {
                Step::GoOn(next) => {
                    let contiguous = chunk.len() - next.len() == direct;
                    is_direct = is_direct && contiguous && self.writes_directly();
                    rest = next;
                }
                Step::Done(event) => break event,
            }
        };
        Received { direct, at, event }
    }

    /// Whether bytes may go to the sink at once.
    #[inline]
    fn writes_directly(&self) -> bool {
        self.backlog.is_empty() && self.holding().is_none() && !self.done()
    }

    /// Stores bytes that cannot go to the sink at once.
    fn keep(&mut self, bytes: &[u8], at: Position) {
        let hold = self.hold.as_mut();
        let held = hold.is_some_and(|hold| hold.take_in(bytes));
        if !held && !self.done() {
            self.backlog.push(bytes, at);
        }
    }

    /// How far to follow the source, given what has to be inserted or withheld.
    #[inline]
    fn until(&self, passed: Passed) -> Until {
        let holding = self.holding().is_some();
        match &self.queued_close {
            Some(close) if close.place == ClosePlace::NextBoundary => Until::Boundary,
            Some(_) => Until::CloseFrame,
            _ if self.is_leaving() => Until::Message,
            _ if !holding && !passed.inserted && self.has_queued_message() => Until::Message,
            _ if !holding && self.ping.is_some() => Until::Boundary,
            _ if self.filter != CloseFilter::Off && !passed.filtered => Until::CloseCode,
            _ => Until::ChunkEnd,
        }
    }

    /// Decides what follows from a stop of the tracker before `rest`.
    fn stopped<'c>(
        &mut self,
        stop: Stop,
        until: Until,
        rest: &'c [u8],
        passed: &mut Passed,
        entropy: Entropy,
    ) -> Step<'c> {
        match (stop, until) {
            (Stop::ChunkEnd, _) => Step::Done(None),
            (Stop::Closed, _) => {
                self.close_sent();
                self.source = SourceState::Discarding;
                Step::Done(Some(Event::Closed))
            }
            (Stop::Violation(violation), _) => {
                self.source = SourceState::Discarding;
                Step::Done(Some(Event::Violation(violation)))
            }
            (Stop::Pong(len), _) => {
                self.activity.heard = Heard::Pong;
                Step::GoOn(&rest[len..])
            }
            (Stop::InBand(len), _) => {
                let matcher = self.tracker.in_band();
                let content = matcher.map(|matcher| matcher.content(&rest[..len]));
                self.injected.get_or_insert_default().receive(content);
                Step::GoOn(&rest[len..])
            }
            (Stop::Undecided, _) => {
                self.injected.get_or_insert_default().undecided = rest.to_vec();
                Step::Done(None)
            }
            (Stop::Reached, Until::Message) if self.is_leaving() => {
                self.leave_here();
                Step::GoOn(rest)
            }
            (Stop::Reached, Until::Message) => {
                self.insert_own(entropy);
                passed.inserted = true;
                Step::GoOn(rest)
            }
            (Stop::Reached, Until::Boundary) if !self.has_queued_close() => {
                self.insert_own(entropy);
                Step::GoOn(rest)
            }
            (Stop::Reached, Until::CloseCode) => {
                let code = code_of_close(rest);
                if self.filter.withholds(code) && self.tracker.at_message_boundary() {
                    self.source = SourceState::Discarding;
                    return Step::Done(Some(Event::CloseWithheld(code)));
                }
                passed.filtered = true;
                Step::GoOn(rest)
            }
            // The place of a queued close frame: what the source sends behind it is dropped.
            (Stop::Reached, _) => {
                self.stop_awaiting_source_close();
                Step::Done(None)
            }
        }
    }

    /// What was forwarded so far is whole messages, and all that the present sink gets.
    pub(super) fn leave_here(&mut self) {
        let hold = self.hold.as_mut();
        if let Some(close) = hold.and_then(|hold| hold.leave_here()) {
            self.backlog.push_close(&close, Position::default());
        }
    }

    /// The sink failed. If it may be replaced, what it has not taken stays for the next one.
    pub(in crate::core::relay) fn sink_failed(&mut self) {
        if self.replaceable {
            self.sink = SinkState::Lost;
        } else {
            self.lose_sink();
        }
    }
}
