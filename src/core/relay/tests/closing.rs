//! How a session ends, case by case.

use super::*;

#[test]
fn i6_an_orderly_close_counts_as_the_clients() {
    let mut rig = Rig::new(1024);
    rig.client.send(&from_client(0x81, b"hi"));
    rig.client.send(&client_close(1000));
    assert_eq!(rig.turn(), None);
    let came = rig.backend.take();
    assert_eq!(
        came,
        [from_client(0x81, b"hi"), client_close(1000)].concat()
    );
    rig.backend.send(&close_frame(1000, "", None));
    rig.backend.vanish();
    assert_eq!(rig.turn(), None, "the client has not left yet");
    let answer = rig.client.take_to_end();
    assert_eq!(answer, close_frame(1000, "", None));
    rig.client.finish();
    assert_eq!(
        rig.run(),
        ending(EndedBy::Client, Cause::CloseFrame, Some(1000), true)
    );
    assert_eq!(
        (rig.relay.to_backend().text, rig.relay.to_backend().close),
        (1, 1)
    );
}

#[test]
fn the_client_gets_a_code_and_a_reason_when_its_backend_is_lost() {
    let mut rig = Rig::new(1024);
    rig.backend.send(&from_backend(0x82, b"last words"));
    rig.backend.vanish();
    assert_eq!(rig.turn(), None);
    let came = rig.client.take_to_end();
    let lost = close_frame(1011, "backend lost", None);
    assert_eq!(came, [from_backend(0x82, b"last words"), lost].concat());
    rig.client.vanish();
    assert_eq!(
        rig.run(),
        ending(EndedBy::Backend, Cause::Disconnected, Some(1011), false)
    );
}

#[test]
fn i10_no_close_frame_is_inserted_into_a_broken_frame() {
    let mut rig = Rig::new(1024);
    let frame = from_backend(0x82, b"this one breaks off");
    rig.backend.send(&frame[..9]);
    rig.backend.vanish();
    rig.turn();
    let came = rig.client.take_to_end();
    assert_eq!(came, &frame[..9]);
    rig.client.vanish();
    assert_eq!(
        rig.run(),
        ending(EndedBy::Backend, Cause::Disconnected, None, false)
    );
}

#[test]
fn i10_the_gateways_close_waits_for_the_frame_to_end() {
    let mut rig = Rig::new(1024);
    let frame = from_backend(0x82, b"in two parts");
    rig.backend.send(&frame[..5]);
    rig.turn();
    let order = order(1001, "going", Cause::Shutdown);
    assert!(rig.relay.close(&order, 0));
    assert!(!rig.relay.close(&order, 0), "it is closing already");
    let message = crate::base::message::Message::Text("x".into());
    for side in [Side::Client, Side::Backend] {
        let sent = rig.relay.send_message(side, &message);
        assert_eq!(sent, Err(Unsent::Closing));
    }
    rig.turn();
    assert_eq!(rig.client.take(), &frame[..5]);
    let late = from_backend(0x82, b"too late");
    rig.backend.send(&[&frame[5..], &late].concat());
    rig.turn();
    let rest = rig.client.take();
    assert_eq!(
        rest,
        [&frame[5..], &close_frame(1001, "going", None)].concat()
    );
    // Further frames of the client, its answer included, go to the backend.
    let sent = [from_client(0x81, b"ok"), client_close(1001)].concat();
    rig.client.send(&sent);
    rig.turn();
    assert_eq!(rig.backend.take(), sent);
    rig.client.vanish();
    rig.backend.vanish();
    assert_eq!(
        rig.run(),
        ending(EndedBy::Gateway, Cause::Shutdown, Some(1001), true)
    );
}

#[test]
fn a_client_that_breaks_the_protocol_first_gets_the_answers_to_its_valid_messages() {
    let mut rig = Rig::new(1024);
    let good = from_client(0x81, b"good");
    let bad = from_client(0x83, b"bad");
    rig.client.send(&[good.clone(), bad].concat());
    rig.turn();
    let to_backend = rig.backend.take();
    assert!(to_backend.starts_with(&good));
    assert_eq!(
        to_backend[good.len()],
        0x88,
        "the backend gets the reason as well"
    );
    assert_eq!(rig.client.take(), b"", "the backend may still answer");
    let answer = from_backend(0x81, b"answer");
    let close = close_frame(1002, "", None);
    rig.backend.send(&[answer.clone(), close].concat());
    rig.turn();
    let to_client = rig.client.take_to_end();
    assert_eq!(
        to_client,
        [answer, close_frame(1002, "unknown opcode", None)].concat()
    );
    rig.client.vanish();
    rig.backend.vanish();
    let ended = rig.run();
    let expected = ending(
        EndedBy::Gateway,
        Cause::ClientProtocolError,
        Some(1002),
        true,
    );
    assert_eq!(ended, expected);
}

#[test]
fn a_backend_that_does_not_answer_a_violation_delays_its_report_only_shortly() {
    let mut rig = Rig::new(1024);
    rig.client.send(&from_client(0x83, b"bad"));
    rig.turn();
    assert_eq!(rig.relay.due(), Some(10));
    rig.expire(10);
    rig.turn();
    assert_eq!(rig.client.take(), close_frame(1002, "unknown opcode", None));
    rig.expire(60);
    assert!(!rig.run().clean);
}

#[test]
fn an_idle_session_ends_with_a_reason() {
    let mut rig = Rig::new(1024);
    rig.now = 500;
    rig.client.send(&from_client(0x81, b"awake"));
    rig.turn();
    assert_eq!(
        rig.relay.due(),
        Some(1_100),
        "idle time counts from the last byte"
    );
    rig.expire(1_099);
    assert!(!rig.relay.closing());
    rig.now = 1_100;
    rig.expire(1_100);
    rig.turn();
    assert_eq!(
        rig.client.take(),
        close_frame(3008, "idle for too long", None)
    );
    assert_eq!(
        rig.relay.due(),
        Some(1_150),
        "a peer that does not answer is waited for so long"
    );
    rig.expire(1_150);
    assert_eq!(
        rig.run(),
        ending(EndedBy::Gateway, Cause::IdleTimeout, Some(3008), false)
    );
}

#[test]
fn a_half_closed_client_still_receives() {
    let mut rig = Rig::new(1024);
    rig.client.finish();
    rig.turn();
    assert_eq!(rig.backend.take_to_end(), b"", "the backend sees the end");
    rig.now = 45;
    let answer = from_backend(0x81, b"still here");
    rig.backend.send(&answer);
    rig.turn();
    assert_eq!(rig.client.take(), answer);
    assert_eq!(
        rig.relay.due(),
        Some(95),
        "each message gives it its time again"
    );
    rig.backend.vanish();
    assert_eq!(
        rig.run(),
        ending(EndedBy::Client, Cause::Disconnected, None, false)
    );
}

#[test]
fn a_half_closed_session_can_still_be_ended_by_the_gateway() {
    let mut rig = Rig::new(1024);
    rig.client.finish();
    rig.turn();
    let order = order(1008, "kicked", Cause::Kicked);
    assert!(rig.relay.close(&order, 0));
    rig.turn();
    assert_eq!(rig.client.take(), close_frame(1008, "kicked", None));
    // It does not outlive its lifetime either, however much the backend sends.
    let mut old = Rig::new(1024);
    old.client.finish();
    old.turn();
    old.now = 9_990;
    old.backend.send(&from_backend(0x81, b"on and on"));
    old.turn();
    assert_eq!(old.relay.due(), Some(10_000));
    old.expire(10_000);
    let ended = ending(EndedBy::Gateway, Cause::LifetimeReached, Some(1001), false);
    old.expire(10_050);
    assert_eq!(old.run(), ended);
}

#[test]
fn i10_a_cut_writes_nothing_behind_half_a_frame() {
    let mut rig = Rig::new(16);
    let frame = from_client(0x82, &[7; 18]);
    let mut sent = 0;
    while sent < frame.len() {
        match rig.client.send_some(&frame[sent..]) {
            0 => break,
            some => sent += some,
        }
        rig.turn();
    }
    assert!(rig.relay.held() > 0, "the backend does not read");
    let before = rig.backend.take();
    rig.relay.cut(0);
    rig.run();
    let after = rig.backend.take();
    assert!(
        frame.starts_with(&[before, after].concat()),
        "payload was changed"
    );
}

#[test]
fn i8_a_message_that_is_too_big_has_a_cause_of_its_own() {
    let mut setup = setup();
    setup.client_rules.message_bytes = 4;
    let mut rig = Rig::with(1024, setup);
    rig.client_sends(&from_client(0x82, b"five!"));
    let came = rig.backend.take();
    assert_eq!(masked_close(&came), (0x88, 1009));
    rig.backend.send(&close_frame(1009, "", None));
    rig.backend.vanish();
    rig.turn();
    rig.client.vanish();
    let ended = rig.run();
    assert_eq!(
        (ended.by, ended.cause, ended.close_code),
        (EndedBy::Gateway, Cause::TooBig, Some(1009))
    );
}

#[test]
fn a_session_that_is_cut_between_two_backends_has_no_frame_for_a_backend() {
    let mut setup = setup();
    setup.hold = Some(300);
    let mut rig = Rig::with(1024, setup);
    rig.backend.vanish();
    rig.turn();
    assert!(rig.relay.needs_backend());
    rig.relay.cut(0);
    let frames = rig.relay.take_last_frames().expect("it was cut");
    assert_eq!(frames.backend, None);
    assert_eq!(
        frames.client,
        Some(close_frame(1001, "session ended", None))
    );
}
