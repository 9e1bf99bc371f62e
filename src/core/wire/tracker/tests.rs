//! Table tests of the tracker, and property tests that compare a split stream with the unsplit
//! stream.

mod forms;

use proptest::prelude::*;

use super::*;
use crate::core::wire::frame::close_frame;

const RULES: Rules = Rules {
    frame_bytes: 1 << 20,
    message_bytes: 1 << 20,
    extensions: Extensions::None,
};

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [7, 11, 13, 17];
    let mut bytes = vec![first];
    match payload.len() {
        short @ ..=125 => bytes.push(0x80 | u8::try_from(short).expect("short")),
        middle @ ..=65_535 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&u16::try_from(middle).expect("middle").to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&key);
    bytes.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    bytes
}

fn check(stream: &[u8], rules: Rules, forward: usize, stop: Stop) {
    let mut tracker = FrameTracker::new(Sender::Client, rules);
    assert_eq!(
        tracker.track(stream, Until::ChunkEnd),
        Tracked { forward, stop },
        "{stream:02x?}"
    );
}

#[test]
fn what_rfc_6455_forbids_is_seen_in_the_header() {
    let ok = frame(0x81, b"fine");
    let after_ok = |bad: &[u8], violation: Violation| {
        check(
            &[&ok, bad].concat(),
            RULES,
            ok.len(),
            Stop::Violation(violation),
        );
    };
    after_ok(&frame(0xC1, b"x"), Violation::ReservedBit);
    after_ok(&frame(0xA1, b"x"), Violation::ReservedBit);
    after_ok(&frame(0x83, b"x"), Violation::UnknownOpcode);
    after_ok(&frame(0x8B, b"x"), Violation::UnknownOpcode);
    after_ok(&[0x81, 1, b'x'], Violation::Unmasked);
    after_ok(&frame(0x09, b"x"), Violation::ControlFragmented);
    after_ok(&frame(0x89, &[0; 126]), Violation::ControlTooLong);
    after_ok(&frame(0x88, b"x"), Violation::CloseTooShort);
    after_ok(&frame(0x80, b"x"), Violation::NothingToContinue);
    after_ok(
        &[0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4],
        Violation::LengthOverflow,
    );
    after_ok(
        &[0x82, 0xFE, 0, 5, 0, 0, 0, 0],
        Violation::LengthNotShortest,
    );
    after_ok(
        &[0x8A, 0xFE, 0, 8, 0, 0, 0, 0],
        Violation::LengthNotShortest,
    );
    let begun = frame(0x01, b"a");
    check(
        &[begun.clone(), frame(0x81, b"b")].concat(),
        RULES,
        begun.len(),
        Stop::Violation(Violation::MessageInsideMessage),
    );
}

#[test]
fn a_backend_must_not_mask() {
    let mut tracker = FrameTracker::new(Sender::Backend, RULES);
    let stop = tracker.track(&frame(0x81, b"x"), Until::ChunkEnd).stop;
    assert_eq!(stop, Stop::Violation(Violation::Masked));
}

#[test]
fn i8_frames_and_messages_have_a_longest() {
    let rules = Rules {
        frame_bytes: 8,
        message_bytes: 10,
        ..RULES
    };
    check(
        &frame(0x82, &[0; 9]),
        rules,
        0,
        Stop::Violation(Violation::FrameTooBig),
    );
    let eight = frame(0x02, &[0; 8]);
    let whole = [eight.clone(), frame(0x80, &[0; 2])].concat();
    check(&whole, rules, whole.len(), Stop::ChunkEnd);
    check(
        &[eight.clone(), frame(0x80, &[0; 3])].concat(),
        rules,
        eight.len(),
        Stop::Violation(Violation::MessageTooBig),
    );
}

#[test]
fn reserved_bits_belong_to_the_extension_that_was_agreed() {
    let deflate = Rules {
        extensions: Extensions::Deflate,
        ..RULES
    };
    let compressed = [frame(0x41, b"a"), frame(0x80, b"b")].concat();
    check(&compressed, deflate, compressed.len(), Stop::ChunkEnd);
    check(
        &frame(0xA1, b"a"),
        deflate,
        0,
        Stop::Violation(Violation::ReservedBit),
    );
    check(
        &frame(0xC9, b"a"),
        deflate,
        0,
        Stop::Violation(Violation::ReservedBit),
    );
    let unknown = Rules {
        extensions: Extensions::Unknown,
        ..RULES
    };
    let odd = frame(0xF3, b"a");
    check(&odd, unknown, odd.len(), Stop::ChunkEnd);
}

#[test]
fn a_close_frame_ends_the_stream_and_its_code_is_read() {
    let close = close_frame(4321, "so long", Some([9, 8, 7, 6]));
    for split in 0..close.len() {
        let mut tracker = FrameTracker::new(Sender::Client, RULES);
        let (forwarded, stop) = feed(
            &mut tracker,
            &[&close[..split], &[&close[split..], b"ignored"].concat()],
        );
        assert_eq!(
            (forwarded, stop),
            (close.clone(), Stop::Closed),
            "split at {split}"
        );
        assert_eq!(tracker.close_code(), Some(4321));
    }
    let mut tracker = FrameTracker::new(Sender::Client, RULES);
    assert_eq!(
        tracker.track(&frame(0x88, b""), Until::ChunkEnd).stop,
        Stop::Closed
    );
    assert_eq!(tracker.close_code(), None);
}

#[test]
fn i10_it_stops_at_the_next_boundary_when_asked() {
    let two = [frame(0x01, b"half a message"), frame(0x80, b"rest")].concat();
    let first = frame(0x01, b"half a message").len();
    let mut tracker = FrameTracker::new(Sender::Client, RULES);
    tracker.track(&two[..10], Until::ChunkEnd);
    assert!(!tracker.at_boundary());
    assert_eq!(
        tracker.track(&two[10..], Until::Boundary),
        Tracked {
            forward: first - 10,
            stop: Stop::Reached
        }
    );
    assert!(tracker.at_boundary());
    assert_eq!(
        tracker.track(&two[first..], Until::Boundary),
        Tracked {
            forward: 0,
            stop: Stop::Reached
        }
    );
}

#[test]
fn it_stops_before_a_close_frame_when_asked() {
    let first = frame(0x81, b"words");
    let stream = [first.clone(), close_frame(1000, "", Some([1, 2, 3, 4]))].concat();
    let mut tracker = FrameTracker::new(Sender::Client, RULES);
    let tracked = tracker.track(&stream, Until::CloseFrame);
    assert_eq!(
        (tracked.forward, tracked.stop),
        (first.len(), Stop::Reached)
    );
    assert!(tracker.at_boundary());
    assert_eq!(
        tracker.track(&stream[first.len()..], Until::ChunkEnd).stop,
        Stop::Closed
    );
}

/// Feeds chunks as the relay does: carried bytes are prepended to the next chunk.
fn feed(tracker: &mut FrameTracker, chunks: &[&[u8]]) -> (Vec<u8>, Stop) {
    let mut forwarded = Vec::new();
    for chunk in chunks {
        let chunk = [tracker.carry(), chunk].concat();
        let tracked = tracker.track(&chunk, Until::ChunkEnd);
        forwarded.extend_from_slice(&chunk[..tracked.forward]);
        if tracked.stop != Stop::ChunkEnd {
            return (forwarded, tracked.stop);
        }
    }
    (forwarded, Stop::ChunkEnd)
}

/// Any frames at all, most of them legal.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => prop::sample::select(vec![0x81_u8, 0x82, 0x89, 0x8A]),
        3 => prop::sample::select(vec![0x01_u8, 0x02, 0x00, 0x80]),
        1 => any::<u8>(),
    ];
    let one = (first, prop::collection::vec(any::<u8>(), 0..300))
        .prop_map(|(first, payload)| frame(first, &payload));
    prop::collection::vec(one, 0..12).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn a_stream_split_anywhere_is_the_stream(stream in frames(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        let mut whole = FrameTracker::new(Sender::Client, RULES);
        let expected = feed(&mut whole, &[&stream]);

        let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        places.extend([0, stream.len()]);
        places.sort_unstable();
        let chunks: Vec<_> = places.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        let mut split = FrameTracker::new(Sender::Client, RULES);
        let (forwarded, stop) = feed(&mut split, &chunks);

        prop_assert_eq!((&forwarded, stop), (&expected.0, expected.1));
        prop_assert_eq!(split.traffic(), whole.traffic());
        prop_assert_eq!(split.at_boundary(), whole.at_boundary());
        // I10: the forwarded bytes are a prefix of the received stream.
        prop_assert!(stream.starts_with(&forwarded));
    }

    #[test]
    fn no_bytes_make_it_panic(stream in prop::collection::vec(any::<u8>(), 0..400), until in prop::sample::select(vec![Until::ChunkEnd, Until::Boundary, Until::CloseFrame])) {
        let mut tracker = FrameTracker::new(Sender::Backend, RULES);
        let tracked = tracker.track(&stream, until);
        prop_assert!(tracked.forward <= stream.len());
    }
}
