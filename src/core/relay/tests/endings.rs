//! Every way in which a session ends, over narrow streams and with slow peers: what each side has
//! received by the end.

use super::*;
use crate::config::limits::Over;
use crate::core::wire::frame::{FrameHeader, Opcode};

/// How a peer ends, once it has sent everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With a close frame; then it waits for the end of the stream.
    Close(u16),
    /// With the end of its sending side.
    Finish,
    /// It is gone.
    Vanish,
    /// It goes on sending.
    SendOn,
}

struct Peer {
    queue: Vec<u8>,
    came: Vec<u8>,
    eof: bool,
    end: Option<End>,
    masked: bool,
}

impl Peer {
    fn new(masked: bool) -> Self {
        Self {
            queue: Vec::new(),
            came: Vec::new(),
            eof: false,
            end: None,
            masked,
        }
    }

    fn frame(&self, first: u8, payload: &[u8]) -> Vec<u8> {
        if self.masked {
            from_client(first, payload)
        } else {
            from_backend(first, payload)
        }
    }

    /// Writes what it can, and ends when that was all.
    fn write(&mut self, stream: &mut Stream) {
        if stream.is_gone() {
            return;
        }
        if stream.dropped {
            // The relay takes nothing any more.
            self.queue.clear();
        }
        let sent = stream.send_some(&self.queue);
        self.queue.drain(..sent);
        if !self.queue.is_empty() {
            return;
        }
        match self.end {
            Some(End::Finish) => stream.finish(),
            Some(End::Vanish) => stream.vanish(),
            // A server ends the connection once both have closed; so does the gateway.
            Some(End::Close(_)) if self.eof || (!self.masked && self.close().is_some()) => {
                stream.vanish();
            }
            _ => {}
        }
    }

    fn read(&mut self, stream: &mut Stream, most: usize) {
        if stream.is_gone() {
            return;
        }
        let came = stream.take_some(most);
        self.eof |= came.is_empty() && stream.at_end();
        self.came.extend_from_slice(&came);
    }

    fn ends(&mut self, end: End) {
        if let (End::Close(code), None) = (end, self.end) {
            let frame = self.frame(0x88, &code.to_be_bytes());
            self.queue.extend(frame);
        }
        self.end = Some(end);
    }

    /// The code of the close frame that came; 1005 for one without a code.
    fn close(&self) -> Option<u16> {
        let frames = frames(&self.came);
        let (first, payload) = frames.into_iter().find(|(first, _)| *first == 0x88)?;
        assert_eq!(first, 0x88);
        let code = payload.first_chunk();
        Some(code.map_or(1005, |code| u16::from_be_bytes(*code)))
    }

    /// Payloads of data frames that came whole.
    fn data(&self) -> Vec<Vec<u8>> {
        let frames = frames(&self.came).into_iter();
        let data = frames.filter(|(first, _)| *first == 0x82);
        data.map(|(_, payload)| payload).collect()
    }
}

fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(header) = FrameHeader::parse(bytes) {
        let end = header.len + usize::try_from(header.payload).expect("short");
        let Some(payload) = bytes.get(header.len..end) else {
            break;
        };
        assert!(
            frames.last().is_none_or(|(first, _)| *first != 0x88),
            "nothing comes behind a close frame: {:?}",
            header.opcode
        );
        let key = header.mask.unwrap_or_default();
        let plain = payload.iter().zip(key.iter().cycle());
        frames.push((bytes[0], plain.map(|(byte, key)| byte ^ key).collect()));
        assert_ne!(header.opcode, Some(Opcode::Continuation));
        bytes = &bytes[end..];
    }
    frames
}

/// One peer sends `DATA` and ends; the other is slow, sends meanwhile, and answers the end.
struct Case {
    ender: Side,
    end: End,
    answer: End,
    /// The code of the close frame that the slow one receives behind all data, or none.
    slow_gets: Option<u16>,
    /// The same for the ender, if it is still there.
    ender_gets: Option<u16>,
    ended: (EndedBy, Cause, Option<u16>, bool),
}

/// Messages of the ender, 100 bytes each.
const DATA: u8 = 20;
/// Bytes that the slow one reads in ten ticks: all of it takes many times `TIMES.close`.
const SLOW: usize = 16;

fn run(case: &Case) {
    let mut rig = Rig::new(64);
    let (mut ender, mut slow) = match case.ender {
        Side::Client => (Peer::new(true), Peer::new(false)),
        Side::Backend => (Peer::new(false), Peer::new(true)),
    };
    for number in 0..DATA {
        ender.queue.extend(ender.frame(0x82, &[number; 100]));
    }
    ender.ends(case.end);
    let mut ended = None;
    for step in 0..1_000_u32 {
        let (of_ender, of_slow) = match case.ender {
            Side::Client => (&mut rig.client, &mut rig.backend),
            Side::Backend => (&mut rig.backend, &mut rig.client),
        };
        ender.write(of_ender);
        ender.read(of_ender, 400);
        slow.write(of_slow);
        slow.read(of_slow, SLOW);
        let has_end = slow.eof || slow.close().is_some();
        if has_end && slow.end.is_none() {
            slow.ends(case.answer);
        }
        let talks = matches!(slow.end, None | Some(End::SendOn));
        if talks && slow.queue.is_empty() && step % 3 == 0 {
            slow.queue = slow.frame(0x82, b"on and on");
        }
        if case.end == End::Finish && ender.eof {
            ender.ends(End::Vanish);
        }
        // A client that has its answer goes, whatever comes of its backend.
        if ended.is_none() {
            rig.now += 10;
            for _ in 0..4 {
                ended = ended.or_else(|| rig.turn());
            }
            if ended.is_some() {
                rig.client.drop_relay_end();
                rig.backend.drop_relay_end();
            }
            if ended.is_none() && rig.relay.due().is_some_and(|due| due <= rig.now) {
                rig.expire(rig.now);
            }
        }
    }
    let what = format!("{:?} ends by {:?}, {:?}", case.ender, case.end, case.answer);
    let all: Vec<_> = (0..DATA).map(|number| vec![number; 100]).collect();
    assert!(slow.data() == all, "{what}: {} messages", slow.data().len());
    assert_eq!(slow.close(), case.slow_gets, "the slow one, {what}");
    if case.end != End::Vanish {
        assert_eq!(ender.close(), case.ender_gets, "the ender, {what}");
        let talk = ender.data();
        assert!(!talk.is_empty() && talk.iter().all(|message| message == b"on and on"));
        let stream = match case.ender {
            Side::Client => &rig.client,
            Side::Backend => &rig.backend,
        };
        assert!(ender.eof || stream.is_gone(), "{what}");
    }
    let ended = ended.unwrap_or_else(|| panic!("it does not end: {what}"));
    let (by, cause, code, clean) = case.ended;
    assert_eq!(ended, ending(by, cause, code, clean), "{what}");
}

#[test]
fn i10_both_sides_receive_everything_and_a_close_frame_however_a_session_ends() {
    use EndedBy::{Backend, Client};
    let case = |ender, end, answer, slow_gets, ender_gets, ended| {
        run(&Case {
            ender,
            end,
            answer,
            slow_gets,
            ender_gets,
            ended,
        });
    };
    let (client, backend, closed) = (Side::Client, Side::Backend, Cause::CloseFrame);
    let code = Some(4001);
    for (answer, clean) in [
        (End::Close(4001), true),
        (End::Vanish, false),
        (End::Finish, false),
        (End::SendOn, false),
    ] {
        let record = (Client, closed, code, clean);
        case(client, End::Close(4001), answer, code, code, record);
        let record = (Backend, closed, code, clean);
        case(backend, End::Close(4001), answer, code, code, record);
    }
    let gone = (Client, Cause::Disconnected, None, false);
    case(client, End::Finish, End::Vanish, None, Some(1000), gone);
    case(client, End::Vanish, End::Vanish, None, None, gone);
    let lost = (Backend, Cause::Disconnected, Some(1011), false);
    for answer in [End::Close(1011), End::Vanish, End::Finish, End::SendOn] {
        case(backend, End::Vanish, answer, Some(1011), None, lost);
    }
}

#[test]
fn a_closed_client_is_forwarded_no_longer_than_it_may_take_to_answer() {
    let mut rig = Rig::new(64);
    let order = order(3000, "credential revoked", Cause::Revoked);
    let frame = from_backend(0x82, &[7; 120]);
    rig.backend.send(&frame[..60]);
    rig.turn();
    rig.backend.send(&frame[60..]);
    rig.turn();
    assert!(rig.relay.close(&order, 0));
    let (mut to_client, mut heard) = (Vec::new(), Vec::new());
    let mut over = None;
    for step in 1..=35 {
        rig.now = step * 10;
        // What the client is owed takes it longer than `TIMES.close`, and it goes on talking.
        to_client.extend(rig.client.take_some(4));
        rig.client.send_some(&from_client(0x82, b"on"));
        if let Some(ending) = rig.turn() {
            over.get_or_insert(ending);
        }
        if rig.relay.due().is_some_and(|due| due <= rig.now) {
            rig.expire(rig.now);
        }
        heard.extend(rig.backend.take_some(400));
    }
    assert_eq!(over, None, "it still takes what it is owed");
    assert!(to_client.starts_with(&frame), "{} bytes", to_client.len());
    let heard = frames(&heard);
    let (first, payload) = heard.last().expect("the client talked");
    assert_eq!((*first, &payload[..]), (0x88, &3000_u16.to_be_bytes()[..]));
    assert!(heard.len() <= 8, "{} messages after the close", heard.len());
}

#[test]
fn a_throttled_client_that_is_closed_is_read_and_its_answer_ends_the_session() {
    let order = order(1008, "kicked", Cause::Kicked);
    let flood: Vec<u8> = (0..50).flat_map(|_| from_client(0x81, b"hi")).collect();
    for late in [false, true] {
        let mut rig = Rig::new(4096);
        rig.relay.throttle = Some(Box::new(one_per_second(Over::Slow)));
        rig.client.send(&flood);
        rig.turn();
        assert_eq!(rig.backend.take(), flood, "a piece is not split");
        rig.client.send(&flood);
        rig.now = 10;
        rig.turn();
        assert_eq!(rig.backend.take(), b"", "it is not read");
        assert_eq!(rig.relay.idle_at(), Some(1_090), "not read is not idle");
        if late {
            let close = close_frame(4000, "", None);
            rig.backend.send(&close);
        } else {
            assert!(rig.relay.close(&order, rig.now));
        }
        rig.turn();
        let code = if late { 4000 } else { 1008 };
        let to_client = rig.client.take();
        assert_eq!(frames(&to_client)[0].1[..2], u16::to_be_bytes(code));
        let heard = frames(&rig.backend.take());
        assert_eq!(heard.len(), 1, "no message beyond the rate: {heard:?}");
        assert_eq!(
            (heard[0].0, &heard[0].1[..]),
            (0x88, &u16::to_be_bytes(code)[..])
        );
        let answer = close_frame(code, "", Some([0; 4]));
        rig.client.send(&answer);
        rig.client.finish();
        rig.turn();
        rig.backend.vanish();
        let ended = rig.turn().expect("nothing is waited for");
        assert_eq!(ended.close_code, Some(code));
    }
}
