//! Sessions that end while they change their backend, and backends that end meanwhile.

use super::*;

/// A machine whose session may move.
fn movable() -> Machine {
    let mut machine = machine();
    machine.allow_moves(300);
    machine
}

/// A session that has left its backend; its client sent `held` meanwhile.
fn detached(held: &[u8]) -> Rig {
    let mut setup = setup();
    setup.hold = Some(300);
    let mut rig = Rig::with(1024, setup);
    assert!(rig.relay.leave(&drained(), 0));
    rig.turn();
    assert_eq!(masked_close(&rig.backend.take()), (0x88, 1012));
    rig.client_sends(held);
    rig.backend_sends(&close_frame(1012, "", None));
    rig
}

/// A message and the close frame behind it.
fn message_and_close() -> Vec<u8> {
    [from_client(0x81, b"last"), client_close(4000)].concat()
}

#[test]
fn the_next_backend_of_a_closed_client_answers_it() {
    let mut rig = detached(&message_and_close());
    assert!(rig.relay.needs_backend(), "for the message");
    rig.attach();
    assert_eq!(rig.backend.take(), message_and_close());
    // The code of a backend that goes away, and yet it is the answer.
    let answer = close_frame(1001, "done", None);
    rig.backend_sends(&answer);
    assert_eq!(rig.client.take(), answer);
}

#[test]
fn the_next_backend_may_go_away_as_well() {
    let mut rig = detached(b"");
    rig.attach();
    rig.backend_sends(&close_frame(1012, "", None));
    assert_eq!(rig.client.take(), b"");
    assert!(rig.relay.needs_backend());
}

#[test]
fn a_closed_client_without_a_message_needs_no_other_backend() {
    let ping = from_client(0x89, b"");
    let mut rig = detached(&[ping, client_close(4000)].concat());
    assert!(!rig.relay.needs_backend());
    assert_eq!(rig.client.take(), close_frame(4000, "", None));
}

#[test]
fn a_client_that_closed_between_two_backends_is_answered_at_the_limit() {
    let mut rig = detached(&message_and_close());
    rig.expire(TIMES.close);
    rig.turn();
    assert!(!rig.relay.needs_backend());
    assert_eq!(rig.relay.moves().messages_lost, 1);
    assert_eq!(rig.client.take(), close_frame(4000, "", None));
    rig.client.vanish();
    let ended = rig.run();
    assert_eq!(
        (ended.by, ended.cause),
        (EndedBy::Client, Cause::CloseFrame)
    );
}

#[test]
fn a_session_that_no_backend_can_take_ends_with_the_reason_and_counts_what_it_held() {
    let message = from_client(0x81, b"last");
    let mut rig = detached(&message);
    rig.relay.give_up(Some("no longer allowed"), 0);
    let moves = rig.relay.moves();
    let lost = (moves.messages_lost, moves.bytes_lost);
    assert_eq!(lost, (1, message.len() as u64));
    rig.turn();
    let to_client = close_frame(1012, "no longer allowed", None);
    assert_eq!(rig.client.take(), to_client);
    rig.client.vanish();
    let ended = ending(EndedBy::Gateway, Cause::NotResumable, Some(1012), false);
    assert_eq!(rig.run(), ended);
}

#[test]
fn a_session_that_ends_does_not_move_when_its_backend_is_lost() {
    let kick = order(1008, "kicked", Cause::Kicked);
    let mut machine = movable();
    machine.close(&kick, 0);
    machine.sink_failed(Side::Backend, 0);
    assert!(!machine.moves_now());
    let mut machine = movable();
    machine.close(&kick, 0);
    machine.source_ended(Side::Backend, false, 0);
    assert!(!machine.needs_backend());
    let frame = close_frame(1008, "kicked", None);
    assert_eq!(drain(&mut machine, Side::Client), frame);
}

#[test]
fn a_message_of_a_closed_client_outlives_the_backend_that_is_left() {
    let leaving = || {
        let mut machine = movable();
        assert!(machine.leave(&drained(), 0));
        pass(&mut machine, Side::Client, &message_and_close());
        assert!(machine.closing());
        machine
    };
    let mut ended = leaving();
    ended.source_ended(Side::Backend, false, 0);
    assert!(ended.needs_backend());
    let mut failed = leaving();
    failed.sink_failed(Side::Backend, 0);
    assert!(failed.moves_now(), "what it sends is still read");
    failed.source_ended(Side::Backend, true, 0);
    assert!(failed.needs_backend());
    failed.attach(Vec::new(), 0);
    assert_eq!(drain(&mut failed, Side::Backend), message_and_close());
}

#[test]
fn a_message_for_a_backend_that_is_away_is_refused() {
    let mut rig = detached(b"");
    let message = crate::base::message::Message::Text("x".into());
    let sent = rig.relay.send_message(Side::Backend, &message);
    assert_eq!(sent, Err(Unsent::Busy));
}
