//! The session's state machine against a simple model: random events, frames split anywhere, and
//! in the end what each peer has got. Messages carry numbers: whatever happens, each arrives at
//! most once, in order and unchanged, frames stay whole, and the session ends once. `handover`
//! does the same with hand-overs between any two events.

use proptest::prelude::*;

use super::*;
use crate::base::message::Message;
use crate::core::relay::pump::Pumped;
use crate::core::wire::frame::{FrameHeader, Opcode, control_frame};
use crate::core::wire::in_band::InBandMatcher;

const HOLD_MAX: usize = 300;
const READ_BYTES: usize = 512;

#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    ClientMessage,
    ClientWrite(usize),
    ClientRead(usize),
    BackendMessage,
    BackendWrite(usize),
    BackendRead(usize),
    ClientClose,
    BackendClose(u16),
    BackendDies,
    Leave,
    Close,
    Attach,
    GiveUp,
    Tick(Tick),
    /// The client sends a message to the gateway itself.
    ClientRenews,
    /// That is answered.
    Answer,
    /// The gateway sends a message to the client.
    Tell,
    /// The gateway sends a message to the backend.
    TellBackend,
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let bytes = || prop_oneof![1_usize..20, 20_usize..400];
    prop_oneof![
        6 => Just(Op::ClientMessage),
        8 => bytes().prop_map(Op::ClientWrite),
        8 => bytes().prop_map(Op::ClientRead),
        6 => Just(Op::BackendMessage),
        8 => bytes().prop_map(Op::BackendWrite),
        8 => bytes().prop_map(Op::BackendRead),
        1 => Just(Op::ClientClose),
        2 => prop_oneof![3 => Just(1012_u16), 1 => Just(1001), 1 => Just(1000)]
            .prop_map(Op::BackendClose),
        2 => Just(Op::BackendDies),
        3 => Just(Op::Leave),
        1 => Just(Op::Close),
        6 => Just(Op::Attach),
        1 => Just(Op::GiveUp),
        3 => (1_u32..30).prop_map(Op::Tick),
        3 => Just(Op::ClientRenews),
        3 => Just(Op::Answer),
        2 => Just(Op::Tell),
        2 => Just(Op::TellBackend),
    ]
}

/// What a message with this number is; a third of them come in fragments around a ping.
fn message(number: usize, key: Option<[u8; 4]>) -> Vec<u8> {
    let payload = payload(number);
    let frame = |first: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).expect("short");
        match key {
            None => from_backend(first, payload),
            Some(key) => {
                let mut frame = vec![first, 0x80 | length];
                frame.extend(key);
                let masked = payload.iter().zip(key.iter().cycle());
                frame.extend(masked.map(|(byte, key)| byte ^ key));
                frame
            }
        }
    };
    // Texts that begin like one for the gateway are looked at longer than by their first byte.
    let opcode = if number % 4 < 2 { 0x01 } else { 0x02 };
    if !number.is_multiple_of(3) {
        return frame(0x80 | opcode, &payload);
    }
    let (one, other) = payload.split_at(payload.len() / 2);
    let ping = control_frame(Opcode::Ping, b"between", key);
    [frame(opcode, one), ping, frame(0x80, other)].concat()
}

/// What messages for the gateway begin with; so do the first bytes of message 1 and 10 to 19.
const FOR_THE_GATEWAY: &str = "1!";

fn payload(number: usize) -> Vec<u8> {
    let mut payload = format!("{number}:").into_bytes();
    payload.resize(payload.len() + number * 37 % 90, b'a' + (number % 26) as u8);
    payload
}

/// One end of the world: what it has yet to send, and what it got.
pub(super) struct Peer {
    key: Option<[u8; 4]>,
    queue: Vec<u8>,
    came: Vec<u8>,
    /// Messages that are whole, by number.
    pub(super) got: Vec<usize>,
    /// Messages of the gateway itself.
    pub(super) notified: Vec<usize>,
    fragments: Option<Vec<u8>>,
    /// It has sent a close frame, or will.
    closing: bool,
    /// It got one.
    closed: Option<u16>,
    ended: bool,
}

impl Peer {
    fn new(key: Option<[u8; 4]>) -> Self {
        Self {
            key,
            queue: Vec::new(),
            came: Vec::new(),
            got: Vec::new(),
            notified: Vec::new(),
            fragments: None,
            closing: false,
            closed: None,
            ended: false,
        }
    }

    fn close(&mut self, code: u16) {
        if !self.closing {
            self.closing = true;
            self.queue.extend(close_frame(code, "", self.key));
        }
    }

    fn write(&mut self, stream: &mut Stream, most: usize) -> usize {
        if stream.dropped {
            return 0;
        }
        let part = &self.queue[..most.min(self.queue.len())];
        let written = stream.send_some(part);
        self.queue.drain(..written);
        written
    }

    fn read(&mut self, stream: &mut Stream, most: usize) -> usize {
        let came = stream.take_some(most);
        self.ended |= stream.at_end();
        self.came.extend_from_slice(&came);
        self.look();
        came.len()
    }

    /// Takes whole frames out of what came.
    fn look(&mut self) {
        while let Some(header) = FrameHeader::parse(&self.came) {
            assert_eq!(self.closed, None, "something comes behind a close frame");
            assert_eq!(
                header.mask.is_some(),
                self.key.is_none(),
                "masked to backends only"
            );
            let end = header.len + usize::try_from(header.payload).expect("short");
            if self.came.len() < end {
                return;
            }
            let key = header.mask.unwrap_or_default();
            let payload = self.came[header.len..end].iter().zip(key.iter().cycle());
            let payload: Vec<u8> = payload.map(|(byte, key)| byte ^ key).collect();
            self.came.drain(..end);
            self.frame(header.opcode.expect("a known opcode"), header.fin, payload);
        }
    }

    fn frame(&mut self, opcode: Opcode, fin: bool, came: Vec<u8>) {
        match opcode {
            Opcode::Ping if came != b"between" => {
                assert_eq!(came.len(), 8, "the gateway's own");
                if !self.closing {
                    self.queue
                        .extend(control_frame(Opcode::Pong, &came, self.key));
                }
            }
            Opcode::Ping => {}
            Opcode::Pong => panic!("a pong for the gateway was passed on"),
            Opcode::Close => {
                let code = came
                    .first_chunk()
                    .map_or(1005, |code| u16::from_be_bytes(*code));
                self.closed = Some(code);
                self.close(if code == 1005 { 1000 } else { code });
            }
            Opcode::Text | Opcode::Binary => {
                assert_eq!(self.fragments, None, "a message inside a message");
                self.fragments = Some(came);
            }
            Opcode::Continuation => {
                let begun = self.fragments.as_mut();
                begun.expect("a message has begun").extend(came);
            }
        }
        if fin && !opcode.is_control() {
            let whole = self.fragments.take().expect("a message has begun");
            let text = String::from_utf8(whole.clone()).expect("ASCII");
            assert!(!text.starts_with(FOR_THE_GATEWAY), "{text} was passed on");
            if let Some(notified) = text.strip_prefix("note ") {
                self.notified.push(notified.parse().expect("a number"));
                return;
            }
            let number = text
                .split(':')
                .next()
                .and_then(|number| number.parse().ok());
            let number: usize = number.expect("a number");
            assert_eq!(whole, payload(number), "payload was changed");
            self.got.push(number);
        }
    }
}

/// The relay, its peers, and what happened.
pub(super) struct World {
    pub(super) rig: Rig,
    width: usize,
    pub(super) client: Peer,
    backend: Option<Peer>,
    /// What all backends before the present one got.
    pub(super) before: Vec<usize>,
    said_up: usize,
    said_down: usize,
    pub(super) ending: Option<Ending>,
    /// Messages for the gateway: sent, received, and whether the last one waits for an answer.
    sent_own: usize,
    pub(super) heard: Vec<usize>,
    asked: bool,
    notified: usize,
    told_up: usize,
    /// What all backends before the present one received.
    noted_before: Vec<usize>,
    /// Something happened that may cost messages.
    costly: bool,
}

impl World {
    pub(super) fn new(width: usize) -> Self {
        let mut setup = setup();
        setup.hold = Some(HOLD_MAX);
        setup.in_band = Some(InBandMatcher::new(FOR_THE_GATEWAY, 40));
        setup.keepalive = Some(Keepalive {
            timeout: 100_000,
            ..keepalive(true, true)
        });
        let mut rig = Rig::with(width, setup);
        rig.buffer = ReadBuffer::new(READ_BYTES);
        Self {
            rig,
            width,
            client: Peer::new(Some([7, 1, 9, 3])),
            backend: Some(Peer::new(None)),
            before: Vec::new(),
            said_up: 0,
            said_down: 0,
            ending: None,
            sent_own: 0,
            heard: Vec::new(),
            asked: false,
            notified: 0,
            told_up: 0,
            noted_before: Vec::new(),
            costly: false,
        }
    }

    fn turn(&mut self) {
        for _ in 0..4 {
            if self.ending.is_some() {
                return;
            }
            match self.rig.pump() {
                Pumped::Turn(Turn::Ended(ending)) => self.ending = Some(ending),
                Pumped::Turn(Turn::BackendNeeded(_)) => assert!(self.rig.relay.needs_backend()),
                Pumped::Turn(Turn::Renewal) => self.hear(),
                Pumped::Again | Pumped::Idle => {}
            }
        }
        let held = self.rig.relay.held();
        assert!(held <= HOLD_MAX + 3 * READ_BYTES + 300, "I8: {held}");
    }

    fn hear(&mut self) {
        let heard = self.rig.relay.renewal().expect("there is one");
        let number = std::str::from_utf8(heard)
            .ok()
            .and_then(|text| text.parse().ok());
        let number = number.expect("a number");
        // Another process is notified again of pending messages.
        if !self.asked || self.heard.last() != Some(&number) {
            self.heard.push(number);
        }
        self.asked = true;
    }

    fn answer(&mut self) {
        if std::mem::take(&mut self.asked) {
            self.rig.relay.renewal_over(true);
        }
    }

    fn lose_backend(&mut self) {
        if let Some(mut backend) = self.backend.take() {
            self.rig.backend.vanish();
            self.before.append(&mut backend.got);
            self.noted_before.append(&mut backend.notified);
        }
    }

    /// The backend takes everything that was written to it.
    fn read_from_backend(&mut self) {
        if let Some(backend) = &mut self.backend {
            while backend.read(&mut self.rig.backend, 400) > 0 {}
        }
    }

    fn attach(&mut self) {
        if self.rig.relay.needs_backend() && self.ending.is_none() {
            // What was written to it before it was left still arrives.
            self.read_from_backend();
            self.lose_backend();
            self.rig.relay.attach(Vec::new(), self.rig.now);
            self.rig.backend = Stream::new(self.width);
            self.backend = Some(Peer::new(None));
        }
    }

    pub(super) fn does(&mut self, op: Op) {
        match op {
            Op::ClientMessage if !self.client.closing => {
                let message = message(self.said_up, self.client.key);
                self.client.queue.extend(message);
                self.said_up += 1;
            }
            Op::ClientRenews if !self.client.closing => {
                let own_message = format!("{FOR_THE_GATEWAY}{}", self.sent_own);
                let frame = from_client(0x81, own_message.as_bytes());
                self.client.queue.extend(frame);
                self.sent_own += 1;
            }
            Op::Answer => self.answer(),
            Op::Tell if self.notified < 8 => {
                let text = format!("note {}", self.notified);
                if self.notified.is_multiple_of(2) {
                    self.rig.relay.send_text(&text);
                    self.notified += 1;
                } else {
                    self.notified += usize::from(self.rig.publish(&text));
                }
            }
            Op::TellBackend if self.told_up < 8 => {
                let text = format!("note {}", self.told_up).as_str().into();
                let sent = self
                    .rig
                    .relay
                    .send_message(Side::Backend, &Message::Text(text));
                self.told_up += usize::from(sent.is_ok());
            }
            Op::ClientWrite(most) => _ = self.client.write(&mut self.rig.client, most),
            Op::ClientRead(most) => _ = self.client.read(&mut self.rig.client, most),
            Op::ClientClose => self.client.close(1000),
            Op::Attach => self.attach(),
            Op::GiveUp if self.rig.relay.needs_backend() => {
                // What was held is dropped.
                self.costly = true;
                self.rig.relay.give_up(None, self.rig.now);
            }
            Op::Leave => {
                self.rig.relay.leave(&drained(), self.rig.now);
            }
            Op::Close => {
                let order = order(1008, "kicked", Cause::Kicked);
                self.rig.relay.close(&order, self.rig.now);
            }
            Op::Tick(ticks) => {
                // A departure that takes too long is forced, or a close frame is not waited for.
                self.costly |= self.rig.relay.moves_now() || self.rig.relay.closing();
                self.rig.expire(self.rig.now + ticks);
            }
            Op::BackendDies => {
                self.costly |= self.backend.is_some();
                self.lose_backend();
            }
            _ => {}
        }
        if let Some(backend) = &mut self.backend {
            match op {
                Op::BackendMessage if !backend.closing => {
                    backend.queue.extend(message(self.said_down, None));
                    self.said_down += 1;
                }
                Op::BackendWrite(most) => _ = backend.write(&mut self.rig.backend, most),
                Op::BackendRead(most) => _ = backend.read(&mut self.rig.backend, most),
                Op::BackendClose(code) => backend.close(code),
                _ => {}
            }
        }
        self.turn();
    }

    /// Lets all parties finish; a party that has sent and received a close frame leaves.
    pub(super) fn finish(&mut self) {
        for round in 0.. {
            assert!(round < 2_000, "it never ends: {:?}", self.rig.relay);
            if self.ending.is_some() {
                break;
            }
            self.answer();
            let before = (self.client.queue.len(), self.rig.relay.held());
            let (client, stream) = (&mut self.client, &mut self.rig.client);
            let mut moved = client.write(stream, 400) + client.read(stream, 400);
            if let Some(backend) = &mut self.backend {
                let stream = &mut self.rig.backend;
                moved += backend.write(stream, 400) + backend.read(stream, 400);
                let over = backend.closing && backend.closed.is_some() && backend.queue.is_empty();
                if over || backend.ended {
                    self.lose_backend();
                }
            }
            self.turn();
            self.attach();
            self.turn();
            if moved > 0 || before != (self.client.queue.len(), self.rig.relay.held()) {
                continue;
            }
            if self.client.ended || (self.client.closed.is_some() && self.client.closing) {
                self.rig.client.vanish();
            } else if !self.client.closing {
                self.client.close(1000);
            }
            self.rig.expire(self.rig.now + 1);
            self.turn();
        }
        self.read_from_backend();
        self.lose_backend();
    }

    pub(super) fn check(&self) {
        let ending = self.ending.expect("it has ended");
        let rises = |got: &[usize]| got.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(rises(&self.before), "to backends: {:?}", self.before);
        assert!(
            rises(&self.client.got),
            "to the client: {:?}",
            self.client.got
        );
        assert!(rises(&self.heard), "to the gateway: {:?}", self.heard);
        assert!(
            rises(&self.client.notified),
            "told: {:?}",
            self.client.notified
        );
        // One that waits when its session closes is dropped: nothing follows a close frame.
        assert!(rises(&self.noted_before), "told: {:?}", self.noted_before);
        let usual = ending.by == EndedBy::Client && ending.cause == Cause::CloseFrame;
        if usual && !self.costly && self.rig.relay.moves().messages_lost == 0 {
            let all: Vec<_> = (0..self.said_up).collect();
            assert_eq!(self.before, all, "lost without a cause, {ending:?}");
        }
        if usual && !self.costly {
            assert_eq!(self.rig.relay.moves().messages_lost, 0, "{ending:?}");
        }
    }
}

proptest! {
    #![proptest_config(cases(160))]

    #[test]
    fn i10_whatever_happens_messages_arrive_once_in_order_and_unchanged(
        width in prop_oneof![1_usize..40, 40_usize..2_000],
        ops in prop::collection::vec(op(), 0..120),
    ) {
        let mut world = World::new(width);
        for op in ops {
            if world.ending.is_some() {
                break;
            }
            world.does(op);
        }
        world.finish();
        world.check();
    }
}
