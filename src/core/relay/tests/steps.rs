//! The machine step by step, as a driver calls it, without streams.

use super::*;

#[test]
fn an_idle_session_wants_both_sides_read_and_writes_nothing() {
    let mut machine = machine();
    assert_eq!(machine.begin(0), None);
    for side in [Side::Client, Side::Backend] {
        assert_eq!(machine.read_allowance(side, 4096, 0), Some(4096));
        assert_eq!(machine.output(side), Output::Idle);
    }
    assert_eq!(machine.settle(0), None);
    assert!(!machine.turn_needed() && machine.held() == 0);
}

#[test]
fn relayed_bytes_are_counted_and_move_the_idle_time() {
    let mut machine = machine();
    let text = from_client(0x81, b"hi");
    assert_eq!(pass(&mut machine, Side::Client, &text), text.len());
    assert_eq!(machine.settle(40), None);
    assert_eq!((machine.active_at(), machine.due()), (40, Some(640)));
    let traffic = machine.to_backend();
    assert_eq!((traffic.text, traffic.bytes), (1, text.len() as u64));
}

#[test]
fn a_close_order_goes_to_the_client_and_the_answer_to_the_backend() {
    let mut machine = machine();
    assert!(machine.close(&order(1008, "kicked", Cause::Kicked), 0));
    assert!(machine.turn_needed() && machine.closing());
    assert_eq!(
        drain(&mut machine, Side::Client),
        close_frame(1008, "kicked", None)
    );
    let answer = client_close(1008);
    assert_eq!(pass(&mut machine, Side::Client, &answer), answer.len());
    assert_eq!(drain(&mut machine, Side::Client), b"");
    machine.source_ended(Side::Client, false, 0);
    machine.source_ended(Side::Backend, false, 0);
    drain(&mut machine, Side::Backend);
    let ended = ending(EndedBy::Gateway, Cause::Kicked, Some(1008), true);
    assert_eq!(machine.settle(0), Some(Turn::Ended(ended)));
}

#[test]
fn the_first_reason_of_an_end_is_the_one_in_the_record() {
    let mut machine = machine();
    machine.close(&order(1008, "kicked", Cause::Kicked), 0);
    machine.source_ended(Side::Backend, true, 0);
    machine.cut(1);
    let ended = ending(EndedBy::Gateway, Cause::Kicked, Some(1008), false);
    assert_eq!(machine.begin(1), Some(Turn::Ended(ended)));
}

#[test]
fn a_side_that_takes_nothing_more_is_the_reason_of_a_cut() {
    let check = |side: Side, by: EndedBy| {
        let mut machine = machine();
        machine.sink_failed(side, 0);
        assert!(!machine.closing(), "the reason may still be read");
        machine.expire(50, |_| None);
        let Some(Turn::Ended(ended)) = machine.begin(50) else {
            panic!("the limit has come");
        };
        assert_eq!((ended.by, ended.cause), (by, Cause::Reset));
        let frames = machine.take_last_frames().expect("it was cut");
        let to_the_lost = match side {
            Side::Client => frames.client,
            Side::Backend => frames.backend,
        };
        assert_eq!(to_the_lost, None, "it takes nothing");
    };
    check(Side::Client, EndedBy::Client);
    check(Side::Backend, EndedBy::Backend);
}

#[test]
fn a_send_queue_that_drains_extends_an_end() {
    let mut machine = machine();
    machine.close(&order(1008, "kicked", Cause::Kicked), 0);
    let mut queued = 100;
    for now in [50, 100, 150] {
        queued -= 10;
        let queue = |side| {
            (side == Side::Client).then_some(SendQueue {
                bytes: queued,
                in_flight: queued,
            })
        };
        drain(&mut machine, Side::Client);
        machine.expire(now, queue);
        assert_eq!(machine.begin(now), None, "at {now}");
    }
    machine.expire(250, |_| None);
    machine.expire(400, |_| None);
    assert!(machine.begin(400).is_some());
}

#[test]
fn a_session_that_moves_asks_for_a_backend_once() {
    let mut machine = machine();
    machine.allow_moves(100);
    assert!(machine.movable() && machine.leave(&drained(), 0));
    let frame = drain(&mut machine, Side::Backend);
    assert_eq!(masked_close(&frame), (0x88, 1012));
    pass(&mut machine, Side::Backend, &close_frame(1012, "", None));
    let needed = Turn::BackendNeeded(ResumeReason::Draining);
    assert_eq!(machine.settle(0), Some(needed));
    assert_eq!(machine.settle(0), None);
    assert!(!machine.attached() && machine.needs_backend());
    assert_eq!(machine.read_allowance(Side::Backend, 4096, 0), None);
    assert_eq!(
        machine.read_allowance(Side::Client, 4096, 0),
        Some(100),
        "the hold buffer"
    );
}

#[test]
fn a_session_without_another_backend_ends_as_its_leave_plan_states() {
    let mut machine = machine();
    machine.allow_moves(100);
    machine.leave(&drained(), 0);
    drain(&mut machine, Side::Backend);
    pass(&mut machine, Side::Backend, &close_frame(1012, "", None));
    machine.settle(0);
    machine.give_up(None, 5);
    assert_eq!(
        drain(&mut machine, Side::Client),
        close_frame(1012, "drained", None)
    );
    machine.source_ended(Side::Client, false, 5);
    let ended = ending(EndedBy::Gateway, Cause::Drained, Some(1012), false);
    assert_eq!(machine.settle(5), Some(Turn::Ended(ended)));
}

#[test]
fn an_order_to_leave_is_refused_where_it_has_no_effect() {
    let mut stays = machine();
    assert!(!stays.movable() && !stays.leave(&drained(), 0));
    let mut closing = machine();
    closing.allow_moves(100);
    closing.close(&order(1008, "kicked", Cause::Kicked), 0);
    assert!(!closing.leave(&drained(), 0));
}

#[test]
fn a_session_that_was_cut_moves_nothing() {
    let mut machine = machine();
    machine.cut(0);
    assert!(machine.take_last_frames().is_some());
    assert!(
        machine.take_last_frames().is_none(),
        "they are written once"
    );
    machine.cut(0);
    assert!(machine.take_last_frames().is_none());
    assert!(machine.begin(0).is_some());
    assert!(machine.state(0).is_none() && machine.due().is_none());
    machine.expire(1_000, |_| None);
    assert!(!machine.close(&order(1008, "kicked", Cause::Kicked), 0));
}

#[test]
fn a_flush_that_does_not_complete_keeps_no_source_unread() {
    let mut rig = Rig::new(64);
    rig.client.unflushable = true;
    for _ in 0..3 {
        rig.backend_sends(&from_backend(0x81, b"more"));
    }
    assert_eq!(rig.client.take().len(), 18);
    rig.client.unflushable = false;
}

#[test]
fn a_failed_read_is_a_reset() {
    let mut rig = Rig::new(64);
    rig.client.fails = true;
    rig.turn();
    rig.backend.finish();
    let ended = ending(EndedBy::Client, Cause::Reset, None, false);
    assert_eq!(rig.run(), ended);
}

#[test]
fn a_closed_direction_of_a_stored_state_queues_nothing_behind_its_close_frame() {
    let mut machine = machine();
    machine.send_text("queued");
    let state = machine.state(0).expect("it lives");
    let text = serde_json::to_string(&state).expect("plain data");
    // Flags that contradict each other: closed, and a message waits.
    let down = text.rfind("\"closed\":false").expect("a flag");
    let hostile = [&text[..down], "\"closed\":true", &text[down + 14..]].concat();
    let state = serde_json::from_str(&hostile).expect("still a state");
    let mut read = Machine::from_state(state, true, ENTROPY, 0).expect("no contradiction is left");
    assert_eq!(drain(&mut read, Side::Client), b"");
    // A direction that tried to insert it for ever would not return.
    pass(&mut read, Side::Backend, &from_backend(0x81, b"text"));
}
