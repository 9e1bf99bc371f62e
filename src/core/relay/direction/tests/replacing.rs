//! Sinks and sources that are replaced.

use super::*;

#[test]
fn a_sink_is_left_at_the_next_message_boundary() {
    let mut up = up();
    up.allow_replacement();
    let message = masked(0x82, b"in two parts");
    receive(&mut up, &message[..9], usize::MAX);
    up.leave_sink(b"close".to_vec(), 100);
    assert!(up.is_leaving() && !up.has_left());
    let next = masked(0x81, b"next");
    let rest = [&message[9..], &next].concat();
    let (direct, _) = receive(&mut up, &rest, usize::MAX);
    assert_eq!(direct, message.len() - 9);
    assert_eq!(drain(&mut up), b"close");
    assert!(up.has_left());
    assert_eq!(up.held_loss().messages, 1);
    up.attach_sink();
    assert_eq!(drain(&mut up), next);
}

#[test]
fn i8_a_hold_buffer_that_is_full_stops_the_source() {
    let mut up = up();
    up.allow_replacement();
    up.leave_sink(Vec::new(), 10);
    assert_eq!(up.room(4096), 10);
    receive(&mut up, &masked(0x81, b"1234"), usize::MAX);
    assert!(up.stalled() && up.room(4096) == 0);
}

#[test]
fn a_session_may_stay_until_its_boundary_has_come() {
    let mut up = up();
    up.allow_replacement();
    receive(&mut up, &masked(0x01, b"half"), usize::MAX);
    up.leave_sink(b"close".to_vec(), 100);
    assert!(up.stay() && up.replaceable);
    receive(&mut up, &masked(0x80, b"rest"), usize::MAX);
    up.leave_sink(b"close".to_vec(), 100);
    assert!(!up.stay(), "there was a boundary");
}

#[test]
fn a_failed_sink_that_may_be_replaced_keeps_whole_messages_for_the_next() {
    let mut up = up();
    up.allow_replacement();
    let (one, two) = (masked(0x81, b"one"), masked(0x81, b"two"));
    let chunk = [&one[..], &two].concat();
    let received = up.receive(&chunk, FIXED);
    let event = up.forwarded(&received, &chunk, 3, true);
    assert_eq!((event, up.sink), (Some(Event::SinkLost), SinkState::Lost));
    let lost = up.salvage(100).expect("all of it is here");
    assert_eq!((lost.messages, lost.bytes), (1, one.len() as u64 - 3));
    assert!(up.has_left(), "the lost one is not flushed");
    up.attach_sink();
    assert_eq!(drain(&mut up), two);
}

#[test]
fn a_message_that_is_not_complete_cannot_be_saved_from_a_failed_sink() {
    let mut up = up();
    up.allow_replacement();
    let message = masked(0x81, b"in two parts");
    let received = up.receive(&message[..10], FIXED);
    up.forwarded(&received, &message[..10], 7, true);
    assert_eq!(up.salvage(100), None);
}

#[test]
fn a_sink_is_left_only_once_it_was_flushed() {
    let mut up = up();
    up.allow_replacement();
    up.leave_sink(b"close".to_vec(), 100);
    assert_eq!(up.output(FIXED), Output::Write(b"close"));
    up.wrote(5);
    assert!(!up.has_left());
    assert_eq!(up.output(FIXED), Output::Flush);
    up.flushed();
    assert!(up.has_left());
}

#[test]
fn a_sink_that_fails_while_it_is_left_inside_a_message_is_not_replaced() {
    let mut up = up();
    up.allow_replacement();
    let message = masked(0x81, b"in two parts");
    receive(&mut up, &message[..10], 7);
    up.leave_sink(b"close".to_vec(), 100);
    up.sink_failed();
    assert_eq!(up.salvage(100), None);
    assert!(up.is_leaving());
}
