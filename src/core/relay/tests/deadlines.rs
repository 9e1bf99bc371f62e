//! How long an end may take, what extends it, and what a side that is gone leaves behind.

use super::*;
use crate::core::relay::direction::mask;

/// A data frame and a close frame of this side.
fn frames_of(side: Side) -> (Vec<u8>, Vec<u8>) {
    match side {
        Side::Client => (from_client(0x82, &[7; 100]), client_close(1000)),
        Side::Backend => (from_backend(0x82, &[7; 100]), close_frame(1000, "", None)),
    }
}

/// Gives a chunk to the machine; the other side takes none of it.
fn store(machine: &mut Machine, from: Side, chunk: &[u8]) {
    let inspected = machine.receive(from, chunk);
    machine.forwarded(from, (inspected, chunk), 0, false, 0);
}

/// The side takes one byte of what waits for it.
fn take_one(machine: &mut Machine, side: Side) {
    assert!(matches!(machine.output(side), Output::Write(_)));
    machine.wrote(side, 1);
}

/// Ticks of an end that lasts longer than that of a peer which only sends.
fn long_end() -> impl Iterator<Item = Tick> {
    (40..=12 * TIMES.close).step_by(40)
}

#[test]
fn a_peer_that_still_takes_what_stands_before_a_close_frame_is_waited_for() {
    for closer in [Side::Client, Side::Backend] {
        let mut machine = machine();
        let (data, close) = frames_of(closer);
        store(&mut machine, closer, &[data, close].concat());
        for now in long_end() {
            take_one(&mut machine, closer.other());
            assert_eq!(machine.settle(now), None);
            assert_eq!(machine.due(), Some(now + TIMES.close), "{closer:?}");
        }
    }
}

#[test]
fn what_a_side_sends_after_it_takes_nothing_more_still_has_its_time() {
    for lost in [Side::Client, Side::Backend] {
        let mut machine = machine();
        machine.sink_failed(lost, 0);
        let (data, _) = frames_of(lost);
        for now in long_end() {
            assert_eq!(pass(&mut machine, lost, &data), data.len());
            assert_eq!(machine.settle(now), None);
            assert_eq!(machine.due(), Some(now + TIMES.close), "{lost:?}");
        }
    }
}

#[test]
fn a_client_whose_backend_does_not_answer_its_close_frame_is_answered_at_the_limit() {
    let mut rig = Rig::new(1024);
    rig.client_sends(&client_close(4000));
    rig.expire(TIMES.close);
    assert!(rig.relay.turn_needed());
    assert_eq!(rig.relay.due(), Some(2 * TIMES.close), "to leave in order");
    rig.turn();
    assert_eq!(rig.client.take(), close_frame(4000, "", None));
    rig.client.finish();
    rig.backend.vanish();
    let closed = ending(EndedBy::Client, Cause::CloseFrame, Some(4000), false);
    assert_eq!(rig.run(), closed);
}

#[test]
fn a_client_whose_backend_has_ended_too_is_not_closed_again() {
    let mut machine = machine();
    machine.source_ended(Side::Client, false, 0);
    let (data, _) = frames_of(Side::Backend);
    store(&mut machine, Side::Backend, &data);
    machine.source_ended(Side::Backend, false, 0);
    assert!(!machine.close(&order(1008, "kicked", Cause::Kicked), 0));
    let last = close_frame(1000, "", None);
    assert_eq!(drain(&mut machine, Side::Client), [data, last].concat());
}

#[test]
fn a_client_that_was_reset_gets_nothing_more_and_its_backend_is_read() {
    for reset in [true, false] {
        let mut machine = machine();
        let (data, _) = frames_of(Side::Backend);
        store(&mut machine, Side::Backend, &data);
        machine.source_ended(Side::Client, reset, 0);
        assert_eq!(machine.held(), if reset { 0 } else { data.len() });
        let read = machine.read_allowance(Side::Backend, 4096, 0);
        assert_eq!(read.is_some(), reset, "{reset}");
    }
}

#[test]
fn what_a_lost_backend_has_not_taken_is_dropped_and_its_client_is_read() {
    let mut machine = machine();
    store(&mut machine, Side::Client, &frames_of(Side::Client).0);
    machine.source_ended(Side::Backend, false, 0);
    assert_eq!(machine.held(), 0);
    assert_eq!(machine.output(Side::Backend), Output::Idle);
    assert!(machine.read_allowance(Side::Client, 4096, 0).is_some());
}

#[test]
fn half_a_message_that_no_backend_can_have_is_dropped_and_its_client_is_read() {
    let mut machine = machine();
    machine.allow_moves(1000);
    let (data, _) = frames_of(Side::Client);
    let half = &data[..60];
    let inspected = machine.receive(Side::Client, half);
    machine.forwarded(Side::Client, (inspected, half), 20, true, 0);
    assert!(!machine.moves_now(), "the next backend cannot finish it");
    assert_eq!(machine.held(), 0);
    assert!(machine.read_allowance(Side::Client, 4096, 0).is_some());
}

#[test]
fn a_slow_backend_gets_the_reason_of_a_violation_however_late() {
    let mut machine = machine();
    let (data, _) = frames_of(Side::Client);
    let bad = from_client(0x83, b"bad");
    store(&mut machine, Side::Client, &[data, bad].concat());
    for now in long_end() {
        take_one(&mut machine, Side::Backend);
        machine.settle(now);
    }
    let reason = "client: unknown opcode";
    let close = close_frame(1002, reason, Some(mask(ENTROPY)));
    assert!(drain(&mut machine, Side::Backend).ends_with(&close));
}

#[test]
fn a_client_that_leaves_after_a_violation_owes_its_backend_no_answer() {
    let mut machine = machine();
    let (data, close) = (frames_of(Side::Client).0, frames_of(Side::Backend).1);
    let bad = from_client(0x83, b"bad");
    store(&mut machine, Side::Client, &[data, bad].concat());
    pass(&mut machine, Side::Backend, &close);
    drain(&mut machine, Side::Client);
    machine.source_ended(Side::Client, false, 0);
    drain(&mut machine, Side::Backend);
    machine.source_ended(Side::Backend, false, 0);
    let cause = Cause::ClientProtocolError;
    let ended = ending(EndedBy::Gateway, cause, Some(1002), true);
    assert_eq!(machine.settle(0), Some(Turn::Ended(ended)));
}

#[test]
fn a_closed_client_is_forwarded_until_its_answer_is_overdue() {
    let mut machine = machine();
    machine.close(&order(1008, "kicked", Cause::Kicked), 0);
    let (data, _) = frames_of(Side::Client);
    for now in [0, TIMES.close - 1] {
        assert_eq!(pass(&mut machine, Side::Client, &data), data.len());
        machine.settle(now);
        assert_eq!(drain(&mut machine, Side::Backend), b"");
    }
    pass(&mut machine, Side::Client, &data);
    machine.settle(TIMES.close);
    let came = drain(&mut machine, Side::Backend);
    assert_eq!(masked_close(&came), (0x88, 1008));
}

#[test]
fn a_backend_whose_client_was_reset_is_waited_for() {
    let mut machine = machine();
    machine.source_ended(Side::Client, true, 0);
    drain(&mut machine, Side::Backend);
    assert_eq!(machine.settle(0), None);
    machine.source_ended(Side::Backend, false, 0);
    let reset = ending(EndedBy::Client, Cause::Reset, None, false);
    assert_eq!(machine.settle(0), Some(Turn::Ended(reset)));
}
