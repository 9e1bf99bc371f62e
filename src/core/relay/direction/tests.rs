//! One direction, chunk by chunk.

mod replacing;

use super::*;
use crate::core::wire::frame::close_frame;
use crate::core::wire::in_band::InBandMatcher;
use crate::core::wire::tracker::{Extensions, Rules, Sender};
use crate::core::wire::violation::Violation;

const FIXED: Entropy = |bytes| bytes.fill(0);
const RULES: Rules = Rules {
    frame_bytes: 1000,
    message_bytes: 1000,
    extensions: Extensions::None,
};

/// From the backend to the client: its frames are not masked.
fn down() -> Direction {
    Direction::new(FrameTracker::new(Sender::Backend, RULES), Vec::new())
}

fn up() -> Direction {
    Direction::new(FrameTracker::new(Sender::Client, RULES), Vec::new())
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, payload.len() as u8], payload].concat()
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

/// Inspects a chunk and lets the sink take `room` of the direct bytes. Returns how many there were.
fn receive(direction: &mut Direction, chunk: &[u8], room: usize) -> (usize, Option<Event>) {
    let received = direction.receive(chunk, FIXED);
    let direct = received.direct;
    let event = direction.forwarded(&received, chunk, direct.min(room), false);
    (direct, event)
}

/// Takes everything that waits for the sink.
fn drain(direction: &mut Direction) -> Vec<u8> {
    let mut came = Vec::new();
    loop {
        let written = match direction.output(FIXED) {
            Output::Write(bytes) => {
                came.extend_from_slice(bytes);
                bytes.len()
            }
            Output::Flush => {
                direction.flushed();
                continue;
            }
            Output::Finish | Output::Idle => return came,
        };
        direction.wrote(written);
    }
}

fn queue(direction: &mut Direction, message: &[u8]) -> Option<Queued> {
    let bounds = QueueBounds::OPERATOR;
    direction.queue_message(message.into(), Tick::MAX, &bounds)
}

#[test]
fn whole_messages_are_forwarded_without_a_copy() {
    let mut down = down();
    let chunk = [frame(0x81, b"one"), frame(0x82, b"two")].concat();
    assert_eq!(receive(&mut down, &chunk, usize::MAX), (chunk.len(), None));
    assert!(down.backlog.is_empty() && !down.stalled());
    assert_eq!(down.held(), 0);
    assert_eq!(down.output(FIXED), Output::Flush);
    assert!(!down.all_sent());
    down.flushed();
    assert!(down.all_sent());
}

#[test]
fn the_first_bytes_of_a_header_wait_in_the_tracker() {
    let mut down = down();
    assert_eq!(receive(&mut down, &[0x81], usize::MAX), (0, None));
    assert_eq!(down.tracker.carry(), [0x81]);
    assert!(!down.whole(), "a header has begun");
    assert!(down.take_moved(), "it is activity all the same");
    assert_eq!(receive(&mut down, &[0x81, 0], usize::MAX), (2, None));
}

#[test]
fn i8_what_the_sink_does_not_take_stops_the_source() {
    let mut down = down();
    let chunk = frame(0x81, b"hello");
    assert_eq!(receive(&mut down, &chunk, 3), (7, None));
    assert!(down.stalled() && down.held() == 4);
    assert_eq!(drain(&mut down), &chunk[3..]);
    assert!(!down.stalled() && down.held() == 0);
}

#[test]
fn a_ping_is_inserted_between_two_frames_and_the_rest_behind_it() {
    let mut down = down();
    let frames = [frame(0x81, b"one"), frame(0x81, b"two")];
    receive(&mut down, &frames[0][..4], usize::MAX);
    assert!(down.queue_ping([7; PING_BYTES]));
    assert!(down.ping_waits_for_boundary());
    let rest = [&frames[0][4..], &frames[1]].concat();
    assert_eq!(receive(&mut down, &rest, usize::MAX).0, 1, "up to the ping");
    let ping = frame(0x89, &[7; PING_BYTES]);
    assert_eq!(drain(&mut down), [&ping[..], &frames[1]].concat());
}

#[test]
fn a_ping_to_a_backend_is_masked() {
    let mut up = up();
    assert!(up.queue_ping([7; PING_BYTES]));
    assert_eq!(drain(&mut up), masked(0x89, &[7; PING_BYTES]));
    assert!(!up.take_moved(), "a ping of the gateway's is no activity");
}

#[test]
fn i10_a_message_of_the_gateway_waits_for_the_end_of_a_message_and_a_ping_does_not() {
    let mut down = down();
    receive(&mut down, &frame(0x01, b"half"), usize::MAX);
    queue(&mut down, b"\x81\x01m");
    down.queue_ping([7; PING_BYTES]);
    assert_eq!(drain(&mut down), frame(0x89, &[7; PING_BYTES]));
    receive(&mut down, &frame(0x80, b"rest"), usize::MAX);
    assert_eq!(drain(&mut down), b"\x81\x01m");
}

#[test]
fn a_queued_close_frame_drops_what_follows_its_place() {
    let mut down = down();
    let half = frame(0x82, b"in two parts");
    receive(&mut down, &half[..5], usize::MAX);
    let close = close_frame(1001, "", None);
    down.queue_close(close.clone(), ClosePlace::NextBoundary);
    assert!(down.has_queued_close() && down.draining());
    assert_eq!(drain(&mut down), b"", "the frame has not ended");
    let rest = [&half[5..], &frame(0x81, b"late")].concat();
    assert_eq!(receive(&mut down, &rest, usize::MAX), (9, None));
    assert_eq!(drain(&mut down), close);
    assert!(down.closed());
    assert_eq!(receive(&mut down, b"\x81\x00", usize::MAX), (0, None));
}

#[test]
fn i10_there_is_one_close_frame_and_nothing_behind_it() {
    let mut down = down();
    let close = frame(0x88, &[0x0F, 0xA1]);
    let chunk = [&close[..], &frame(0x81, b"late")].concat();
    let (direct, event) = receive(&mut down, &chunk, usize::MAX);
    assert_eq!((direct, event), (close.len(), Some(Event::Closed)));
    assert_eq!(down.tracker.close_code(), Some(4001));
    down.queue_close(close_frame(1001, "", None), ClosePlace::NextBoundary);
    queue(&mut down, b"\x81\x00");
    assert!(!down.queue_ping([7; PING_BYTES]));
    assert_eq!(drain(&mut down), b"");
}

#[test]
fn a_close_frame_in_place_of_the_sources_waits_for_it() {
    let mut down = down();
    let close = close_frame(1002, "bad", None);
    down.queue_close(close.clone(), ClosePlace::SourceClose);
    assert!(down.awaits_source_close() && !down.draining());
    let answer = frame(0x81, b"answer");
    let chunk = [&answer[..], &frame(0x88, b"")].concat();
    assert_eq!(receive(&mut down, &chunk, usize::MAX).0, answer.len());
    assert_eq!(drain(&mut down), close, "and not the source's");
}

#[test]
fn the_end_of_the_source_is_a_place_for_a_close_frame_unless_a_frame_is_open() {
    let close = close_frame(1002, "bad", None);
    let mut whole = down();
    whole.queue_close(close.clone(), ClosePlace::SourceClose);
    let event = whole.source_gone(false);
    assert_eq!(event, Event::SourceEnded { reset: false });
    assert_eq!(drain(&mut whole), close);
    let mut open = down();
    receive(&mut open, &frame(0x81, b"half")[..4], usize::MAX);
    open.queue_close(close.clone(), ClosePlace::NextBoundary);
    open.source_gone(true);
    assert!(!open.has_queued_close());
    open.queue_close(close, ClosePlace::NextBoundary);
    assert_eq!(drain(&mut open), b"");
}

#[test]
fn a_violation_forwards_what_was_valid_before_it() {
    let mut down = down();
    let good = frame(0x81, b"good");
    let chunk = [&good[..], &[0xF1, 0]].concat();
    let (direct, event) = receive(&mut down, &chunk, usize::MAX);
    let violation = Event::Violation(Violation::ReservedBit);
    assert_eq!((direct, event), (good.len(), Some(violation)));
    assert_eq!(down.source, SourceState::Discarding);
    receive(&mut down, b"more", usize::MAX);
    assert_eq!(down.take_progress(), (true, true));
}

#[test]
fn a_close_frame_that_the_filter_withholds_is_not_forwarded() {
    let mut down = down();
    down.filter_closes(CloseFilter::GoingAway);
    let chunk = [frame(0x81, b"a"), close_frame(1012, "", None)].concat();
    let (direct, event) = receive(&mut down, &chunk, usize::MAX);
    assert_eq!((direct, event), (3, Some(Event::CloseWithheld(Some(1012)))));
    assert!(!down.closed());
}

#[test]
fn a_close_frame_inside_a_message_is_not_withheld() {
    let mut down = down();
    down.filter_closes(CloseFilter::GoingAway);
    let chunk = [frame(0x01, b"half"), close_frame(1012, "", None)].concat();
    let received = receive(&mut down, &chunk, usize::MAX);
    assert_eq!(received, (chunk.len(), Some(Event::Closed)));
}

#[test]
fn a_close_frame_that_passes_the_filter_is_forwarded_without_a_copy() {
    let mut down = down();
    down.filter_closes(CloseFilter::GoingAway);
    let chunk = [frame(0x81, b"a"), close_frame(4000, "", None)].concat();
    let received = receive(&mut down, &chunk, usize::MAX);
    assert_eq!(received, (chunk.len(), Some(Event::Closed)));
}

#[test]
fn a_pong_to_the_gateways_ping_is_taken_out() {
    let mut down = down();
    down.tracker.watch([7; PING_BYTES]);
    let (one, two) = (frame(0x81, b"one"), frame(0x81, b"two"));
    let pong = frame(0x8A, &[7; PING_BYTES]);
    let chunk = [&one[..], &pong, &two].concat();
    let (direct, _) = receive(&mut down, &chunk, usize::MAX);
    assert_eq!(direct, one.len(), "what follows the gap is copied");
    assert_eq!(drain(&mut down), two);
}

#[test]
fn a_message_for_the_gateway_is_taken_out_and_stops_the_source() {
    let mut up = up();
    up.tracker.match_in_band(InBandMatcher::new("renew ", 64));
    let own = masked(0x81, b"renew abc");
    assert_eq!(receive(&mut up, &own[..9], usize::MAX), (0, None));
    assert_eq!(up.held(), 9, "it is not decided");
    assert_eq!(receive(&mut up, &own[9..], usize::MAX), (0, None));
    assert_eq!(up.received_in_band(), Some(&b"abc"[..]));
    assert!(up.stalled());
    let injected = up.injected.as_mut().expect("a message");
    injected.answered(true);
    assert!(!up.stalled());
}

#[test]
fn an_undecided_message_that_is_not_for_the_gateway_is_forwarded_whole() {
    let mut up = up();
    up.tracker.match_in_band(InBandMatcher::new("renew ", 64));
    let text = masked(0x81, b"rented");
    receive(&mut up, &text[..8], usize::MAX);
    receive(&mut up, &text[8..], usize::MAX);
    assert_eq!(drain(&mut up), text);
}

#[test]
fn early_bytes_are_judged_like_all_others() {
    let early = [frame(0x81, b"early"), vec![0xF1, 0]].concat();
    let mut down = Direction::new(FrameTracker::new(Sender::Backend, RULES), early);
    let event = down.receive_early(FIXED);
    assert_eq!(event, Some(Event::Violation(Violation::ReservedBit)));
    assert_eq!(drain(&mut down), frame(0x81, b"early"));
    assert_eq!(down.receive_early(FIXED), None);
}

#[test]
fn a_failed_sink_that_is_not_replaced_drops_everything() {
    let mut down = down();
    queue(&mut down, b"\x81\x00");
    let chunk = frame(0x81, b"hello");
    let received = down.receive(&chunk, FIXED);
    let event = down.forwarded(&received, &chunk, 3, true);
    assert_eq!(event, Some(Event::SinkLost));
    assert!(down.done() && down.held() == 0);
    assert_eq!(down.output(FIXED), Output::Idle);
}

#[test]
fn a_stream_is_ended_behind_everything_and_a_flush() {
    let mut down = down();
    let chunk = frame(0x81, b"hello");
    receive(&mut down, &chunk, 2);
    down.finish();
    assert_eq!(down.output(FIXED), Output::Write(&chunk[2..]));
    down.wrote(5);
    assert_eq!(down.output(FIXED), Output::Flush);
    down.flushed();
    assert_eq!(down.output(FIXED), Output::Finish);
    down.sink_finished();
    assert!(down.done() && down.output(FIXED) == Output::Idle);
}

#[test]
fn i10_a_message_that_is_written_in_part_is_finished_before_anything_else() {
    let (mut down, message) = (down(), frame(0x81, b"own"));
    queue(&mut down, &message);
    assert_eq!(
        down.output(FIXED),
        Output::Write(&message),
        "without a copy"
    );
    down.wrote(2);
    queue(&mut down, &frame(0x81, b"next"));
    let chunk = frame(0x82, b"relayed");
    receive(&mut down, &chunk, 0);
    let expected = [message[2..].to_vec(), frame(0x81, b"next"), chunk].concat();
    assert_eq!(drain(&mut down), expected);
    assert_eq!((down.own_counts().sent, down.own_counts().bytes), (2, 11));
}

#[test]
fn a_message_that_finds_no_room_waits_without_stopping_the_source() {
    let (mut down, message) = (down(), frame(0x81, b"own"));
    queue(&mut down, &message);
    assert_eq!(down.output(FIXED), Output::Write(&message));
    assert!(!down.stalled(), "nothing of it was written");
    let chunk = frame(0x82, b"relayed");
    receive(&mut down, &chunk, 0);
    assert!(down.stalled());
    assert_eq!(drain(&mut down), [message, chunk].concat());
}

#[test]
fn messages_that_wait_when_the_sink_is_lost_are_counted() {
    let mut down = down();
    queue(&mut down, &frame(0x81, b"own"));
    down.lose_sink();
    assert_eq!((down.own_counts().sent, down.own_counts().dropped), (0, 1));
}
