//! Reports the frames that pass in a session to an observer. The tap reads the bytes of both sides
//! beside the machine and changes nothing; a session without one has a null pointer.

use std::fmt::Debug;

use crate::core::relay::side::Side;
use crate::core::wire::frame::{FrameHeader, HEADER_MAX, Opcode};

/// A frame that one side sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSeen<'p> {
    /// Who sent it.
    pub from: Side,
    /// Its opcode, known or not.
    pub opcode: u8,
    /// Whether it ends its message.
    pub fin: bool,
    /// Its reserved bits, the first one first.
    pub reserved: u8,
    /// Bytes of its payload.
    pub bytes: u64,
    /// The first bytes of its payload, unmasked; `None` unless the observer asked for them.
    pub payload: Option<&'p [u8]>,
    /// The payload is not shown because it holds a credential.
    pub withheld: bool,
}

/// Gets the frames of a session while it is tapped. It must not block.
pub trait FrameObserver: Debug + Send {
    /// A frame has come. Returns whether to go on.
    fn frame(&mut self, frame: FrameSeen<'_>) -> bool;
    /// Whether it takes no more frames.
    fn is_closed(&self) -> bool;
    /// The tap ends before its session does.
    fn ended(&mut self, reason: &'static str);
}

/// A tapped session's observer, and the position of each side in its frames.
#[derive(Debug)]
pub(super) struct Tap {
    client: Scan,
    backend: Scan,
    observer: Box<dyn FrameObserver>,
}

/// Follows the frames of one side.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Bytes of payload until the next frame begins.
    remaining: u64,
    /// The beginning of a header.
    header: Vec<u8>,
    /// The frame whose payload is collected.
    open: Option<Open>,
    /// Bytes of payload that are shown.
    payload_max: Option<usize>,
    /// What messages begin with that hold a credential.
    secret: Vec<u8>,
    /// The message under way holds one.
    inside_secret: bool,
}

#[derive(Debug)]
struct Open {
    first: u8,
    mask: [u8; 4],
    bytes: u64,
    /// Bytes of payload to collect.
    wanted: usize,
    payload: Vec<u8>,
}

impl Scan {
    /// Begins inside a frame with this much payload left.
    pub(super) fn new(remaining: u64, payload_max: Option<usize>, secret: &[u8]) -> Self {
        Self {
            remaining,
            payload_max,
            secret: secret.to_vec(),
            ..Self::default()
        }
    }

    /// Follows the next bytes; returns false as soon as `report` does.
    fn follow(&mut self, mut bytes: &[u8], mut report: impl FnMut(&Self, &Open) -> bool) -> bool {
        loop {
            if self.remaining > 0 {
                let here = usize::try_from(self.remaining).unwrap_or(usize::MAX);
                let (payload, rest) = bytes.split_at(here.min(bytes.len()));
                self.remaining -= payload.len() as u64;
                bytes = rest;
                self.collect(payload);
            }
            if let Some(open) = self
                .open
                .take_if(|open| self.remaining == 0 || open.payload.len() >= open.wanted)
            {
                self.judge(&open);
                if !report(self, &open) {
                    return false;
                }
                self.inside_secret &= open.first & 0x80 == 0 || is_control(open.first);
            }
            if bytes.is_empty() || self.remaining > 0 {
                return true;
            }
            let missing = (HEADER_MAX - self.header.len()).min(bytes.len());
            let known = self.header.len();
            self.header.extend_from_slice(&bytes[..missing]);
            let Some(header) = FrameHeader::parse(&self.header) else {
                return true;
            };
            bytes = &bytes[header.len - known..];
            let wanted = self
                .payload_max
                .map_or(0, |most| most.max(self.secret.len()));
            let wanted = usize::try_from(header.payload).map_or(wanted, |all| all.min(wanted));
            self.open = Some(Open {
                first: self.header[0],
                mask: header.mask.unwrap_or_default(),
                bytes: header.payload,
                wanted,
                payload: Vec::new(),
            });
            self.header.clear();
            self.remaining = header.payload;
        }
    }

    /// Keeps what is shown of the payload.
    fn collect(&mut self, payload: &[u8]) {
        if let Some(open) = &mut self.open {
            let begun = open.payload.len();
            let room = open.wanted - begun;
            let key = open.mask.iter().cycle().skip(begun % 4);
            let plain = payload.iter().take(room).zip(key);
            open.payload.extend(plain.map(|(byte, key)| byte ^ key));
        }
    }

    /// Whether the message that this frame belongs to may hold a credential.
    fn judge(&mut self, open: &Open) {
        if self.secret.is_empty() || is_control(open.first) {
            return;
        }
        let begins = open.first & 0x0F == Opcode::Text.bits();
        let seen = &open.payload[..open.payload.len().min(self.secret.len())];
        if begins && self.secret.starts_with(seen) {
            self.inside_secret = true;
        }
    }
}

const fn is_control(first: u8) -> bool {
    first & 0x08 != 0
}

impl Tap {
    pub(super) fn new(client: Scan, backend: Scan, observer: Box<dyn FrameObserver>) -> Self {
        Self {
            client,
            backend,
            observer,
        }
    }

    /// Follows the next bytes of a side. Returns whether the observer goes on.
    pub(super) fn follow(&mut self, from: Side, bytes: &[u8]) -> bool {
        let (scan, observer) = match from {
            Side::Client => (&mut self.client, &mut self.observer),
            Side::Backend => (&mut self.backend, &mut self.observer),
        };
        scan.follow(bytes, |scan, open| {
            let withheld = scan.inside_secret && !is_control(open.first);
            let shown = scan.payload_max.filter(|_| !withheld);
            observer.frame(FrameSeen {
                from,
                opcode: open.first & 0x0F,
                fin: open.first & 0x80 != 0,
                reserved: open.first >> 4 & 0x07,
                bytes: open.bytes,
                payload: shown.map(|most| &open.payload[..open.payload.len().min(most)]),
                withheld: withheld && scan.payload_max.is_some(),
            })
        })
    }

    /// Whether the observer takes no more frames.
    pub(super) fn is_over(&self) -> bool {
        self.observer.is_closed()
    }

    /// Another backend takes the place of the one before.
    pub(super) fn replace_backend(&mut self) {
        self.backend = Scan::new(0, self.backend.payload_max, &[]);
    }

    /// The tap ends.
    pub(super) fn end(mut self, reason: &'static str) {
        self.observer.ended(reason);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::core::wire::frame::data_frame;

    /// What a tap saw: who, opcode, end, reserved bits, bytes, payload, withheld.
    pub(in crate::core::relay) type Seen = (Side, u8, bool, u8, u64, Option<Vec<u8>>, bool);

    /// Remembers what it saw.
    #[derive(Clone, Debug, Default)]
    pub(in crate::core::relay) struct Witness {
        pub(in crate::core::relay) seen: Arc<Mutex<Vec<Seen>>>,
        pub(in crate::core::relay) ended: Arc<Mutex<Option<&'static str>>>,
    }

    impl FrameObserver for Witness {
        fn frame(&mut self, frame: FrameSeen<'_>) -> bool {
            self.seen.lock().expect("no panic").push((
                frame.from,
                frame.opcode,
                frame.fin,
                frame.reserved,
                frame.bytes,
                frame.payload.map(<[u8]>::to_vec),
                frame.withheld,
            ));
            true
        }

        fn is_closed(&self) -> bool {
            false
        }

        fn ended(&mut self, reason: &'static str) {
            *self.ended.lock().expect("no panic") = Some(reason);
        }
    }

    fn seen(client: Scan, pieces: &[&[u8]]) -> Vec<Seen> {
        let witness = Witness::default();
        let mut tap = Tap::new(client, Scan::default(), Box::new(witness.clone()));
        for piece in pieces {
            assert!(tap.follow(Side::Client, piece));
        }
        let seen = witness.seen.lock().expect("no panic");
        seen.clone()
    }

    const KEY: [u8; 4] = [7, 1, 9, 3];

    #[test]
    fn frames_are_seen_alike_however_they_are_cut() {
        let long = vec![b'x'; 200];
        let stream = [
            data_frame(Opcode::Text, b"hello", Some(KEY)),
            data_frame(Opcode::Binary, b"", Some(KEY)),
            data_frame(Opcode::Binary, &long, Some(KEY)),
            vec![0x8A, 0x80, 0, 0, 0, 0],
        ]
        .concat();
        let expected = |payload: bool| -> Vec<Seen> {
            let shown = |text: &[u8]| payload.then(|| text.to_vec());
            vec![
                (Side::Client, 1, true, 0, 5, shown(b"hello"), false),
                (Side::Client, 2, true, 0, 0, shown(b""), false),
                (Side::Client, 2, true, 0, 200, shown(&long[..8]), false),
                (Side::Client, 10, true, 0, 0, shown(b""), false),
            ]
        };
        for payload_max in [None, Some(8)] {
            for at in 0..=stream.len() {
                for size in [1, 3, stream.len()] {
                    let scan = Scan::new(0, payload_max, &[]);
                    let (one, other) = stream.split_at(at);
                    let pieces: Vec<_> = one.chunks(size).chain(other.chunks(size)).collect();
                    let expected = expected(payload_max.is_some());
                    assert_eq!(seen(scan, &pieces), expected, "{at} {size}");
                }
            }
        }
    }

    #[test]
    fn a_tap_that_begins_inside_a_frame_sees_the_next_one() {
        let stream = data_frame(Opcode::Text, b"hello", None);
        let rest = [&stream[4..], &data_frame(Opcode::Ping, b"", None)].concat();
        let found = seen(Scan::new(3, Some(8), &[]), &[&rest]);
        let ping = (Side::Client, 9, true, 0, 0, Some(Vec::new()), false);
        assert_eq!(found, [ping]);
    }

    #[test]
    fn i11_a_credential_in_a_message_is_not_shown() {
        let check = |frames: &[(u8, &[u8])], withheld: &[bool]| {
            let mut stream = Vec::new();
            for (first, payload) in frames {
                let mut frame = data_frame(Opcode::Text, payload, Some(KEY));
                frame[0] = *first;
                stream.extend(frame);
            }
            for payload_max in [1, 5, 100] {
                let found = seen(Scan::new(0, Some(payload_max), b"renew "), &[&stream]);
                let hidden: Vec<_> = found.iter().map(|one| one.6).collect();
                assert_eq!(hidden, withheld, "{frames:?}");
                for one in found {
                    assert_eq!(one.5.is_none(), one.6);
                }
            }
        };
        check(&[(0x81, b"renew eyJ"), (0x81, b"text")], &[true, false]);
        check(&[(0x81, b"ren")], &[true]);
        check(&[(0x81, b"rent")], &[false]);
        // In fragments, around a ping.
        let parts: &[(u8, &[u8])] = &[(0x01, b"ren"), (0x89, b""), (0x80, b"ew e"), (0x81, b"x")];
        check(parts, &[true, false, true, false]);
    }
}
