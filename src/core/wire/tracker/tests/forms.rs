//! Every form of a header, split at every byte, with everything switched on that stops at frames.

use super::*;

/// Payload of the gateway's ping, of messages for the gateway, and of every frame here.
const PAYLOAD: &[u8; PING_BYTES] = b"renew 12";
const KEY: [u8; 4] = [7, 0, 201, 3];
const UNTIL: [Until; 5] = [
    Until::ChunkEnd,
    Until::Boundary,
    Until::CloseFrame,
    Until::Message,
    Until::CloseCode,
];

/// How a length is written: in 7, 16 or 64 bits.
#[derive(Clone, Copy, Debug)]
enum Length {
    Short(u8),
    Middle(u16),
    Long(u64),
}

impl Length {
    const ALL: [Self; 19] = [
        Self::Short(0),
        Self::Short(1),
        Self::Short(2),
        Self::Short(8),
        Self::Short(125),
        Self::Middle(0),
        Self::Middle(1),
        Self::Middle(8),
        Self::Middle(125),
        Self::Middle(126),
        Self::Middle(u16::MAX),
        Self::Long(0),
        Self::Long(8),
        Self::Long(125),
        Self::Long(65_535),
        Self::Long(65_536),
        Self::Long(i64::MAX as u64),
        Self::Long(1 << 63),
        Self::Long(u64::MAX),
    ];

    fn value(self) -> u64 {
        match self {
            Self::Short(value) => value.into(),
            Self::Middle(value) => value.into(),
            Self::Long(value) => value,
        }
    }
}

/// A header and as much of its payload as anything could wait for.
fn frame(first: u8, length: Length, masked: bool) -> Vec<u8> {
    let bit = if masked { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match length {
        Length::Short(value) => bytes.push(bit | value),
        Length::Middle(value) => {
            bytes.push(bit | 126);
            bytes.extend(value.to_be_bytes());
        }
        Length::Long(value) => {
            bytes.push(bit | 127);
            bytes.extend(value.to_be_bytes());
        }
    }
    let key = if masked { KEY } else { [0; 4] };
    if masked {
        bytes.extend(key);
    }
    let payload = PAYLOAD.iter().cycle().zip(key.iter().cycle());
    let here = usize::try_from(length.value().min(12)).expect("small");
    bytes.extend(payload.take(here).map(|(byte, key)| byte ^ key));
    bytes
}

/// The rules of RFC 6455 for the header alone.
fn expected(tracker: &FrameTracker, first: u8, length: Length, masked: bool) -> Option<Violation> {
    let (opcode, value) = (first & 0xF, length.value());
    let unknown = tracker.rules.extensions == Extensions::Unknown;
    let client = tracker.sender == Sender::Client;
    let control = matches!(opcode, 8..=10);
    let wrong_form = match length {
        Length::Short(_) => false,
        Length::Middle(value) => value < 126,
        Length::Long(value) => value < 65_536,
    };
    let undefined = !unknown && !matches!(opcode, 0..=2 | 8..=10);
    let reserved = !unknown && first & 0x70 != 0;
    let found = [
        (client && !masked, Violation::Unmasked),
        (!client && masked, Violation::Masked),
        (value >= 1 << 63, Violation::LengthOverflow),
        (wrong_form, Violation::LengthNotShortest),
        (undefined, Violation::UnknownOpcode),
        (reserved, Violation::ReservedBit),
        (control && first & 0x80 == 0, Violation::ControlFragmented),
        (control && value > 125, Violation::ControlTooLong),
        (opcode == 8 && value == 1, Violation::CloseTooShort),
    ];
    let mut found = found.into_iter();
    found.find_map(|(wrong, violation)| wrong.then_some(violation))
}

/// Gives pieces as the relay does; returns how many bytes went on, and the last stop.
fn follow(tracker: &mut FrameTracker, pieces: &[&[u8]], until: Until) -> (usize, Stop) {
    let (mut forwarded, mut aside, mut last) = (0, Vec::new(), Stop::ChunkEnd);
    for piece in pieces {
        let mut chunk = [&aside, tracker.carry(), piece].concat();
        aside = Vec::new();
        loop {
            let Tracked { forward, stop } = tracker.track(&chunk, until);
            forwarded += forward;
            chunk.drain(..forward);
            last = stop;
            match stop {
                Stop::Pong(len) | Stop::InBand(len) => drop(chunk.drain(..len)),
                Stop::Undecided => aside.clone_from(&chunk),
                Stop::ChunkEnd => {}
                Stop::Reached | Stop::Closed | Stop::Violation(_) => return (forwarded, last),
            }
            if matches!(stop, Stop::Undecided | Stop::ChunkEnd) {
                break;
            }
        }
    }
    (forwarded, last)
}

fn tracker(sender: Sender, extensions: Extensions, inside: bool) -> FrameTracker {
    let rules = Rules {
        extensions,
        ..RULES
    };
    let mut tracker = FrameTracker::new(sender, rules);
    tracker.watch(*PAYLOAD);
    if inside {
        let masked = sender == Sender::Client;
        let begun = frame(0x02, Length::Short(0), masked);
        tracker.track(&begun, Until::ChunkEnd);
    }
    if sender == Sender::Client {
        tracker.match_in_band(InBandMatcher::new("renew ", 64));
    }
    tracker
}

/// One header: whole, and split at every byte.
fn check(fresh: &FrameTracker, first: u8, length: Length, masked: bool) {
    let bytes = frame(first, length, masked);
    for until in UNTIL {
        let mut whole = fresh.clone();
        let (forwarded, stop) = follow(&mut whole, &[&bytes], until);
        let at_once = match until {
            Until::Boundary => true,
            Until::Message => fresh.at_message_boundary(),
            _ => false,
        };
        let what = || format!("{bytes:02x?} to {until:?} of {:?}", fresh.sender);
        if at_once {
            assert_eq!((forwarded, stop), (0, Stop::Reached), "{}", what());
            continue;
        }
        if let Some(violation) = expected(fresh, first, length, masked) {
            let refused = (0, Stop::Violation(violation));
            assert_eq!((forwarded, stop), refused, "{}", what());
        }
        for at in 0..bytes.len() {
            let mut split = fresh.clone();
            let (head, tail) = bytes.split_at(at);
            let found = follow(&mut split, &[head, tail], until);
            assert_eq!(found, (forwarded, stop), "split at {at}: {}", what());
            assert_eq!(split.traffic(), whole.traffic(), "at {at}: {}", what());
            assert_eq!(split.carry(), whole.carry(), "split at {at}: {}", what());
            assert_eq!(split.close_code(), whole.close_code());
        }
    }
}

#[test]
fn every_header_of_either_side_is_judged_alike_wherever_it_is_split() {
    for sender in [Sender::Client, Sender::Backend] {
        for extensions in [Extensions::None, Extensions::Unknown] {
            for inside in [false, true] {
                let fresh = tracker(sender, extensions, inside);
                for first in 0..=u8::MAX {
                    for length in Length::ALL {
                        for masked in [false, true] {
                            check(&fresh, first, length, masked);
                        }
                    }
                }
            }
        }
    }
}
