//! The relay's machine over streams in memory, with everything switched on that looks into a stream
//! or inserts something: keepalive, renewal, throttle, changes of backend. The input decides what
//! peers and gateway do.

use std::collections::VecDeque;
use std::io;
use std::task::Poll;
use std::time::Duration;

use sessile::config::limits::Over;
use sessile::core::limits::{Meter, Pace};
use sessile::core::relay::pump::{self, Link, Pumped};
use sessile::core::relay::{
    Entropy, Keepalive, Machine, ReadBuffer, SendQueue, Setup, Side, Throttle, Times, Turn,
};
use sessile::core::session::orders::{CloseOrder, LeaveOrder};
use sessile::core::session::record::Cause;
use sessile::core::session::resume::ResumeReason;
use sessile::core::session::wheel::Tick;
use sessile::core::wire::frame::{FrameHeader, Opcode, control_frame};
use sessile::core::wire::in_band::InBandMatcher;
use sessile::core::wire::tracker::{Extensions, Rules};

/// A bounded stream in memory, seen from both ends.
#[derive(Default)]
struct Pipe {
    width: usize,
    to_relay: VecDeque<u8>,
    from_relay: VecDeque<u8>,
    peer_finished: bool,
    peer_gone: bool,
}

impl Pipe {
    fn new(width: usize) -> Self {
        Self {
            width,
            ..Self::default()
        }
    }
}

impl Link for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
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
        if self.peer_gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
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
        Poll::Ready(Ok(()))
    }

    fn finish(&mut self) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// One peer, and what it received.
struct Peer {
    stream: Pipe,
    came: Vec<u8>,
    /// Its frames are masked, those to it are not.
    masks: bool,
    closed: bool,
    /// Payload of the gateway's last ping.
    pinged: [u8; 8],
}

impl Peer {
    fn new(stream: Pipe, masks: bool) -> Self {
        Self {
            stream,
            came: Vec::new(),
            masks,
            closed: false,
            pinged: *b"not yet!",
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        if !self.stream.peer_finished {
            let room = self.stream.width - self.stream.to_relay.len();
            let bytes = &bytes[..bytes.len().min(room)];
            self.stream.to_relay.extend(bytes);
        }
    }

    /// A frame of the usual form, masked with zeros.
    fn frame(&mut self, first: u8, payload: &[u8]) {
        let bit = if self.masks { 0x80 } else { 0 };
        let length = u8::try_from(payload.len()).expect("short");
        let key: &[u8] = if self.masks { &[0; 4] } else { &[] };
        self.write(&[&[first, bit | length], key, payload].concat());
    }

    /// Answers the gateway's ping with a length in any form.
    fn pong(&mut self, form: u8) {
        let bit = if self.masks { 0x80 } else { 0 };
        let mut frame = vec![0x8A];
        match form % 3 {
            0 => frame.push(bit | 8),
            1 => frame.extend([bit | 126, 0, 8]),
            _ => frame.extend([bit | 127, 0, 0, 0, 0, 0, 0, 0, 8]),
        }
        if self.masks {
            frame.extend([0; 4]);
        }
        frame.extend(self.pinged);
        self.write(&frame);
    }

    fn read(&mut self, most: usize) {
        if !self.stream.peer_gone {
            let most = most.min(self.stream.from_relay.len());
            self.came.extend(self.stream.from_relay.drain(..most));
            self.look();
        }
    }

    /// Whatever is sent, what comes out is valid frames, and nothing behind a close frame (I10).
    fn look(&mut self) {
        while let Some(header) = FrameHeader::parse(&self.came) {
            assert!(!self.closed, "something comes behind a close frame");
            assert!(header.shortest && header.reserved == 0);
            assert_eq!(header.mask.is_some(), !self.masks);
            let opcode = header.opcode.expect("a known opcode");
            assert!(!opcode.is_control() || (header.fin && header.payload <= 125));
            let end = header.len + usize::try_from(header.payload).expect("bounded");
            if self.came.len() < end {
                return;
            }
            let key = header.mask.unwrap_or_default();
            let payload = self.came[header.len..end].iter().zip(key.iter().cycle());
            let payload: Vec<u8> = payload.map(|(byte, key)| byte ^ key).collect();
            if opcode == Opcode::Ping
                && let Ok(pinged) = payload.try_into()
            {
                self.pinged = pinged;
            }
            self.closed = opcode == Opcode::Close;
            self.came.drain(..end);
        }
    }

    fn finish(&mut self) {
        self.stream.peer_finished = true;
    }

    fn vanish(&mut self) {
        self.stream.peer_finished = true;
        self.stream.peer_gone = true;
    }
}

/// Predictable masking keys and ping payloads, so that a crash can be repeated.
const ENTROPY: Entropy = |bytes| bytes.fill(0x5A);

const HOLD_MAX: usize = 300;
const READ_BYTES: usize = 256;
const OWN_MAX: usize = 64;

/// The setup that the input's first byte selects.
fn setup(flags: u8) -> Setup {
    let rules = Rules {
        frame_bytes: 200,
        message_bytes: 300,
        extensions: Extensions::None,
    };
    let over = if flags & 1 == 0 {
        Over::Slow
    } else {
        Over::Close
    };
    let own = Meter::new(Some(Pace::with_burst(5.0, Duration::from_secs(1))), None);
    let throttle = Throttle::new(own, over, 100_000_000);
    Setup {
        client_rules: rules,
        backend_rules: Rules {
            frame_bytes: u64::MAX,
            message_bytes: u64::MAX,
            ..rules
        },
        client_early: Vec::new(),
        backend_early: Vec::new(),
        times: Times {
            idle: (flags & 2 != 0).then_some(100),
            lifetime_at: (flags & 4 != 0).then_some(500),
            expires_at: None,
            close: 20,
        },
        backend_lost_code: 1011,
        hold: (flags & 8 != 0).then_some(HOLD_MAX),
        keepalive: (flags & 16 != 0).then_some(Keepalive {
            interval: 5,
            timeout: 5,
            to_client: true,
            to_backend: true,
        }),
        throttle: (flags & 32 != 0).then(|| Box::new(throttle)),
        warning: None,
        in_band: (flags & 64 != 0).then(|| InBandMatcher::new("renew ", OWN_MAX)),
    }
}

struct World {
    relay: Machine,
    buffer: ReadBuffer,
    client: Peer,
    backend: Peer,
    width: usize,
    queue: Option<SendQueue>,
    now: Tick,
    renewal: bool,
    ended: bool,
}

impl World {
    fn turn(&mut self) {
        for _ in 0..3 {
            if self.ended {
                return;
            }
            let backend = Some(&mut self.backend.stream).filter(|_| self.relay.attached());
            let (client, buffer) = (&mut self.client.stream, &mut self.buffer);
            match pump::turn(&mut self.relay, client, backend, buffer, self.now) {
                Pumped::Turn(Turn::Ended(_)) => self.ended = true,
                Pumped::Turn(Turn::BackendNeeded(_)) => assert!(self.relay.needs_backend()),
                Pumped::Turn(Turn::Renewal) => self.renewal = true,
                Pumped::Again | Pumped::Idle => {}
            }
        }
        let bound = HOLD_MAX + 3 * READ_BYTES + 2 * (OWN_MAX + 16) + 16 * 1024;
        assert!(self.relay.held() <= bound, "I8: {}", self.relay.held());
    }

    fn pass(&mut self, ticks: Tick) {
        self.now += ticks;
        if self.relay.due().is_some_and(|due| due <= self.now) && !self.ended {
            let queue = self.queue;
            self.relay.expire(self.now, |_: Side| queue);
            if let Some(frames) = self.relay.take_last_frames() {
                let _ = frames.client.map(|frame| self.client.stream.write(&frame));
                let _ = frames
                    .backend
                    .map(|frame| self.backend.stream.write(&frame));
            }
        }
    }

    /// What the gateway does, or a peer beyond bytes.
    fn special(&mut self, which: u8) {
        let order = CloseOrder {
            code: 1008,
            reason: "kicked".into(),
            cause: Cause::Kicked,
        };
        let leave = LeaveOrder {
            code: 1012,
            reason: "drained".into(),
            cause: Cause::Drained,
            resume: ResumeReason::Draining,
            operator: None,
        };
        match which {
            0 => _ = self.relay.close(&order, self.now),
            1 => _ = self.relay.leave(&leave, self.now),
            2 | 3 if self.relay.needs_backend() => {
                self.relay.attach(Vec::new(), self.now);
                self.backend = Peer::new(Pipe::new(self.width), false);
            }
            4 => self.relay.give_up(None, self.now),
            5 => self.client.finish(),
            6 => self.backend.finish(),
            7 => self.client.vanish(),
            8 => self.backend.vanish(),
            9..=11 => self.client.pong(which),
            12..=14 => self.backend.pong(which),
            15 => self.relay.send_text("a word"),
            16 => self.relay.set_expiry(Some(self.now + 30)),
            17 if std::mem::take(&mut self.renewal) => self.relay.renewal_over(true),
            18 => self
                .client
                .write(&control_frame(Opcode::Close, &[0x03, 0xE8], Some([0; 4]))),
            19 => self
                .backend
                .write(&control_frame(Opcode::Close, &[0x03, 0xF4], None)),
            20 => self.client.frame(0x81, b"renew x"),
            _ => {}
        }
    }
}

/// No input makes it panic, hold more than is stated, or send anything but valid frames; and once
/// both peers are gone, or no time is left, it ends.
pub fn relay(data: &[u8]) {
    let Some((&[flags, width], mut rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let width = usize::from(width) * 4 + 1;
    let queue = (flags & 128 != 0).then_some(SendQueue {
        bytes: 7,
        in_flight: usize::from(width % 2 == 0),
    });
    let mut world = World {
        relay: Machine::new(setup(flags), ENTROPY, 0),
        buffer: ReadBuffer::new(READ_BYTES),
        client: Peer::new(Pipe::new(width), true),
        backend: Peer::new(Pipe::new(width), false),
        width,
        queue,
        now: 0,
        renewal: false,
        ended: false,
    };
    while let Some((&op, behind)) = rest.split_first() {
        let count = usize::from(op >> 3);
        let bytes = &behind[..behind.len().min(count + 1)];
        rest = behind;
        match op & 7 {
            0 => world.client.write(bytes),
            1 => world.backend.write(bytes),
            2 => world.client.read(8 * (count + 1)),
            3 => world.backend.read(8 * (count + 1)),
            4 => world.pass(Tick::from(op >> 3) + 1),
            5 => world.special(op >> 3),
            6 if !bytes.is_empty() => world.client.frame(bytes[0], &bytes[1..]),
            7 if !bytes.is_empty() => world.backend.frame(bytes[0], &bytes[1..]),
            _ => {}
        }
        if matches!(op & 7, 0 | 1 | 6 | 7) {
            rest = &behind[bytes.len()..];
        }
        world.turn();
        if world.ended {
            break;
        }
    }
    world.client.vanish();
    world.backend.vanish();
    for _ in 0..100 {
        world.turn();
        if world.relay.needs_backend() {
            world.relay.give_up(None, world.now);
        }
        world.pass(50);
    }
    assert!(world.ended, "it never ends");
}
