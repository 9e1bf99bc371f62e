//! An in-memory driver of the machine: bounded queues for streams, a clock that the test owns.

use std::collections::VecDeque;
use std::io;
use std::task::Poll;
use std::time::Duration;

use super::*;
use crate::base::message::Message;
use crate::config::limits::Over;
use crate::core::limits::{Meter, Pace};
use crate::core::relay::pump::{self, Link, Pumped};

/// A throttle of one message a second.
pub(super) fn one_per_second(over: Over) -> Throttle {
    let pace = Pace::with_burst(1.0, Duration::from_secs(1));
    Throttle::new(Meter::new(Some(pace), None), over, 100_000_000)
}

/// A stream to one side, seen from both ends. The machine's end is the `Link`; the other methods
/// are the peer's.
#[derive(Debug)]
pub(super) struct Stream {
    width: usize,
    to_relay: VecDeque<u8>,
    from_relay: VecDeque<u8>,
    /// The peer sends nothing more.
    peer_finished: bool,
    /// The peer is gone: it takes nothing more either.
    peer_gone: bool,
    /// The relay ended its sending half.
    pub(super) finished: bool,
    /// The relay dropped its end: it takes nothing more either.
    pub(super) dropped: bool,
    /// All calls of the link fail.
    pub(super) fails: bool,
    /// A flush does not complete.
    pub(super) unflushable: bool,
    /// Calls of the link that would be system calls.
    pub(super) writes: usize,
}

impl Stream {
    pub(super) fn new(width: usize) -> Self {
        Self {
            width,
            to_relay: VecDeque::new(),
            from_relay: VecDeque::new(),
            peer_finished: false,
            peer_gone: false,
            finished: false,
            dropped: false,
            fails: false,
            unflushable: false,
            writes: 0,
        }
    }

    /// Sends as much as there is room for.
    pub(super) fn send_some(&mut self, bytes: &[u8]) -> usize {
        let room = self.width - self.to_relay.len();
        let sent = bytes.len().min(room);
        self.to_relay.extend(&bytes[..sent]);
        sent
    }

    /// Sends all of it; there must be room.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        assert_eq!(self.send_some(bytes), bytes.len(), "there is no room");
    }

    /// Takes what has arrived, `most` bytes at most.
    pub(super) fn take_some(&mut self, most: usize) -> Vec<u8> {
        let most = most.min(self.from_relay.len());
        self.from_relay.drain(..most).collect()
    }

    /// Takes all that has arrived.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.take_some(usize::MAX)
    }

    /// Takes all that has arrived; the relay must have ended its sending half.
    pub(super) fn take_to_end(&mut self) -> Vec<u8> {
        assert!(self.finished, "the stream was not ended");
        self.take()
    }

    /// Whether the peer has seen the end of the stream.
    pub(super) fn at_end(&self) -> bool {
        self.finished && self.from_relay.is_empty()
    }

    /// The peer ends its sending half.
    pub(super) fn finish(&mut self) {
        self.peer_finished = true;
    }

    /// The peer is gone. What it sent still arrives.
    pub(super) fn vanish(&mut self) {
        self.peer_finished = true;
        self.peer_gone = true;
    }

    pub(super) fn is_gone(&self) -> bool {
        self.peer_gone
    }

    /// The relay drops its end. What it wrote still arrives.
    pub(super) fn drop_relay_end(&mut self) {
        self.finished = true;
        self.dropped = true;
    }

    fn broken() -> io::Error {
        io::ErrorKind::BrokenPipe.into()
    }
}

impl Link for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.fails {
            return Poll::Ready(Err(Self::broken()));
        }
        if self.to_relay.is_empty() && !self.peer_finished {
            return Poll::Pending;
        }
        let read = buffer.len().min(self.to_relay.len());
        for (to, from) in buffer.iter_mut().zip(self.to_relay.drain(..read)) {
            *to = from;
        }
        Poll::Ready(Ok(read))
    }

    fn write(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writes += 1;
        if self.fails || self.peer_gone {
            return Poll::Ready(Err(Self::broken()));
        }
        let room = self.width - self.from_relay.len();
        if room == 0 {
            return Poll::Pending;
        }
        let written = bytes.len().min(room);
        self.from_relay.extend(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn flush(&mut self) -> Poll<io::Result<()>> {
        if self.unflushable {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn finish(&mut self) -> Poll<io::Result<()>> {
        self.finished = true;
        Poll::Ready(Ok(()))
    }
}

/// A machine and the streams to its two sides.
pub(super) struct Rig {
    pub(super) relay: Machine,
    pub(super) client: Stream,
    pub(super) backend: Stream,
    pub(super) buffer: ReadBuffer,
    pub(super) now: Tick,
}

impl Rig {
    pub(super) fn new(width: usize) -> Self {
        Self::with(width, setup())
    }

    pub(super) fn with(width: usize, setup: Setup) -> Self {
        Self {
            relay: Machine::new(setup, ENTROPY, 0),
            client: Stream::new(width),
            backend: Stream::new(width),
            buffer: ReadBuffer::new(4096),
            now: 0,
        }
    }

    /// Publishes a message to the client, and writes it at once as far as the client takes it.
    /// Returns whether it was queued.
    pub(super) fn publish(&mut self, text: &str) -> bool {
        let frame = client_frame(&Message::Text(text.into()));
        let bounds = QueueBounds::OPERATOR;
        let queued = self.relay.send_frame(&frame, Tick::MAX, &bounds).is_ok();
        if queued && !self.relay.closing() {
            pump::send(&mut self.relay, Side::Client, &mut self.client, self.now);
        }
        queued
    }

    /// One turn of the pump.
    pub(super) fn pump(&mut self) -> Pumped {
        self.write_last_frames();
        let backend = Some(&mut self.backend).filter(|_| self.relay.attached());
        let (client, buffer) = (&mut self.client, &mut self.buffer);
        let pumped = pump::turn(&mut self.relay, client, backend, buffer, self.now);
        if !self.relay.attached() {
            self.backend.drop_relay_end();
        }
        pumped
    }

    pub(super) fn write_last_frames(&mut self) {
        if let Some(frames) = self.relay.take_last_frames() {
            let LastFrames { client, backend } = frames;
            for (stream, frame) in [(&mut self.client, client), (&mut self.backend, backend)] {
                let _ = frame.map(|frame| stream.write(&frame));
            }
        }
    }

    /// Lets the relay do what it can. Returns the ending, if there is one.
    pub(super) fn turn(&mut self) -> Option<Ending> {
        match self.pump() {
            Pumped::Turn(Turn::Ended(ending)) => Some(ending),
            _ => None,
        }
    }

    /// Lets the relay run to its end.
    #[track_caller]
    pub(super) fn run(&mut self) -> Ending {
        loop {
            match self.pump() {
                Pumped::Turn(Turn::Ended(ending)) => return ending,
                Pumped::Again => {}
                other => panic!("it does not end: {other:?}"),
            }
        }
    }

    /// Time comes to `now`, and what is due happens.
    pub(super) fn expire(&mut self, now: Tick) {
        self.now = now;
        self.relay.expire(now, |_| None);
    }

    /// The client sends these bytes, and the relay does what it can.
    pub(super) fn client_sends(&mut self, bytes: &[u8]) {
        self.client.send(bytes);
        self.turn();
    }

    /// The backend sends these bytes, and the relay does what it can.
    pub(super) fn backend_sends(&mut self, bytes: &[u8]) {
        self.backend.send(bytes);
        self.turn();
    }

    /// Another backend.
    pub(super) fn attach(&mut self) {
        self.relay.attach(Vec::new(), self.now);
        self.backend = Stream::new(1024);
        self.turn();
    }
}

/// A predictable source of masking keys and ping payloads.
pub(super) const ENTROPY: Entropy = |bytes| {
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = 0x5A ^ place as u8;
    }
};

pub(super) const RULES: Rules = Rules {
    frame_bytes: 1 << 20,
    message_bytes: 1 << 20,
    extensions: Extensions::None,
};

pub(super) const TIMES: Times = Times {
    idle: Some(600),
    lifetime_at: Some(10_000),
    expires_at: None,
    close: 50,
};

/// A relay that does nothing of its own.
pub(super) fn setup() -> Setup {
    Setup::plain(RULES, TIMES)
}

/// A frame of a client, with a mask that changes nothing.
pub(super) fn from_client(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short");
    let mut frame = vec![first, 0x80 | length, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

pub(super) fn from_backend(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short");
    [&[first, length], payload].concat()
}

/// A close frame of a client.
pub(super) fn client_close(code: u16) -> Vec<u8> {
    close_frame(code, "", Some([0; 4]))
}

/// The first byte and the code of a masked close frame.
pub(super) fn masked_close(frame: &[u8]) -> (u8, u16) {
    let key = [frame[2], frame[3]];
    let code = u16::from_be_bytes([frame[6] ^ key[0], frame[7] ^ key[1]]);
    (frame[0], code)
}

pub(super) fn ending(by: EndedBy, cause: Cause, close_code: Option<u16>, clean: bool) -> Ending {
    Ending {
        by,
        cause,
        close_code,
        clean,
    }
}

pub(super) fn order(code: u16, reason: &str, cause: Cause) -> CloseOrder {
    CloseOrder {
        code,
        reason: reason.into(),
        cause,
    }
}

pub(super) fn drained() -> LeaveOrder {
    LeaveOrder {
        code: 1012,
        reason: "drained".into(),
        cause: Cause::Drained,
        resume: ResumeReason::Draining,
        operator: None,
    }
}

/// Pings after ten ticks of silence; the answer may take five.
pub(super) fn keepalive(to_client: bool, to_backend: bool) -> Keepalive {
    Keepalive {
        interval: 10,
        timeout: 5,
        to_client,
        to_backend,
    }
}

/// A machine of its own, right behind the 101.
pub(super) fn machine() -> Machine {
    Machine::new(setup(), ENTROPY, 0)
}

/// Gives a chunk to the machine; the other side takes all of it.
pub(super) fn pass(machine: &mut Machine, from: Side, chunk: &[u8]) -> usize {
    let inspected = machine.receive(from, chunk);
    let direct = inspected.direct();
    machine.forwarded(from, (inspected, chunk), direct, false, 0);
    direct
}

/// Takes all that waits for a side, a flush included.
pub(super) fn drain(machine: &mut Machine, to: Side) -> Vec<u8> {
    let mut came = Vec::new();
    loop {
        let written = match machine.output(to) {
            Output::Write(bytes) => {
                came.extend_from_slice(bytes);
                bytes.len()
            }
            Output::Flush => {
                machine.flushed(to);
                continue;
            }
            Output::Finish => {
                machine.finished(to);
                continue;
            }
            Output::Idle => return came,
        };
        machine.wrote(to, written);
    }
}
