//! Changes of backend case by case; `random` mixes them.

use super::*;
use crate::core::relay::liveness::Liveness;

/// A rig whose session may move.
fn rig(width: usize) -> Rig {
    let mut setup = setup();
    setup.hold = Some(300);
    Rig::with(width, setup)
}

/// Lets the relay do what it can. Returns whether it needs a backend.
fn needs_backend(rig: &mut Rig) -> bool {
    rig.turn();
    rig.relay.needs_backend()
}

#[test]
fn a_planned_move_waits_for_the_end_of_the_clients_message() {
    let mut rig = rig(1024);
    let message = from_client(0x82, b"in two parts");
    rig.client_sends(&message[..9]);
    assert!(rig.relay.leave(&drained(), 0));
    assert!(!rig.relay.leave(&drained(), 0), "it is leaving already");
    rig.turn();
    assert_eq!(rig.backend.take(), &message[..9]);
    let next = from_client(0x81, b"next");
    rig.client_sends(&[&message[9..], &next].concat());
    let rest = rig.backend.take();
    assert_eq!(
        rest[..9],
        message[9..],
        "the message is finished where it began"
    );
    assert_eq!(masked_close(&rest[9..]), (0x88, 1012));
    // What the old backend still sends arrives; its answer to the close frame does not.
    let late = from_backend(0x81, b"late");
    rig.backend_sends(&[late.clone(), close_frame(1012, "", None)].concat());
    assert_eq!(rig.client.take(), late);
    assert!(needs_backend(&mut rig));
    rig.attach();
    assert_eq!(rig.backend.take(), next);
    assert_eq!(
        (rig.relay.moves().resumes, rig.relay.moves().messages_lost),
        (1, 0)
    );
}

#[test]
fn a_session_without_a_message_boundary_in_time_stays() {
    let mut rig = rig(1024);
    let message = from_client(0x82, b"in two parts");
    rig.client_sends(&message[..9]);
    assert!(rig.relay.leave(&drained(), 0));
    let due = rig.relay.due().expect("parting has a limit");
    assert_eq!(due, TIMES.close);
    rig.expire(due);
    assert!(!rig.relay.moves_now() && !rig.relay.closing());
    rig.client_sends(&message[9..]);
    assert_eq!(rig.backend.take(), message);
    assert!(
        rig.relay.leave(&drained(), due),
        "the order may be repeated"
    );
}

#[test]
fn a_backend_that_does_not_answer_is_left_after_a_while() {
    let mut rig = rig(1024);
    assert!(rig.relay.leave(&drained(), 0));
    assert!(!needs_backend(&mut rig));
    rig.expire(TIMES.close);
    assert!(needs_backend(&mut rig));
    // A backend in the middle of a message ends the session: the client cannot get the rest.
    let mut rig = rig_in_the_middle();
    rig.expire(TIMES.close);
    rig.turn();
    let to_client = rig.client.take();
    assert_eq!(to_client, close_frame(1012, "drained", None));
    assert!(rig.relay.closing());
}

/// A session that leaves a backend which has sent half a message.
fn rig_in_the_middle() -> Rig {
    let mut rig = rig(1024);
    rig.backend_sends(&from_backend(0x01, b"half"));
    assert!(rig.relay.leave(&drained(), 0));
    rig.turn();
    rig.client.take();
    rig
}

#[test]
fn a_close_frame_of_a_backend_that_is_left_is_forwarded_unless_it_is_an_answer() {
    let mut rig = rig(1024);
    assert!(rig.relay.leave(&drained(), 0));
    let over = close_frame(4001, "game over", None);
    rig.backend_sends(&over);
    assert_eq!(rig.client.take(), over);
    assert!(!needs_backend(&mut rig));
    rig.client.vanish();
    rig.backend.vanish();
    let ended = rig.run();
    assert_eq!(
        (ended.by, ended.cause, ended.close_code),
        (EndedBy::Backend, Cause::CloseFrame, Some(4001))
    );
}

#[test]
fn a_message_that_a_lost_backend_has_a_part_of_is_dropped_and_counted() {
    let mut rig = rig(1024);
    // The backend reads nothing: 24 bytes of room are left.
    let filling = from_client(0x82, &[b'0'; 119]);
    for _ in 0..8 {
        rig.client_sends(&filling);
    }
    let (one, two) = (
        from_client(0x82, &[b'1'; 100]),
        from_client(0x82, &[b'2'; 20]),
    );
    rig.client_sends(&[one.clone(), two.clone()].concat());
    assert_eq!(rig.relay.held(), one.len() + two.len() - 24);
    rig.backend.vanish();
    assert!(needs_backend(&mut rig));
    rig.attach();
    assert_eq!(rig.backend.take(), two, "whole, and nothing else");
    let moves = rig.relay.moves();
    assert_eq!((moves.messages_lost, moves.bytes_lost), (1, 106 - 24));
}

#[test]
fn a_message_that_its_client_has_not_completed_is_counted_once_with_its_session() {
    // The backend has the beginning; the rest has not arrived.
    let mut rig = rig(1024);
    rig.client_sends(&from_client(0x82, &[b'1'; 100])[..50]);
    rig.backend.vanish();
    rig.turn();
    assert!(
        !rig.relay.needs_backend(),
        "the next one cannot complete it"
    );
    assert!(rig.relay.closing());
    let moves = rig.relay.moves();
    assert_eq!((moves.messages_lost, moves.bytes_lost), (1, 0));
    // The rest of it changes nothing.
    rig.client_sends(&from_client(0x82, &[b'1'; 100])[50..]);
    rig.client.vanish();
    rig.run();
    assert_eq!(rig.relay.moves().messages_lost, 1);
}

#[test]
fn messages_behind_one_that_cannot_be_completed_are_counted_too() {
    let mut rig = rig(1024);
    let filling = from_client(0x82, &[b'0'; 119]);
    for _ in 0..8 {
        rig.client_sends(&filling);
    }
    // 24 bytes of room: a part of a fragment leaves, its message has no end yet.
    let fragment = from_client(0x02, &[b'1'; 100]);
    rig.client_sends(&fragment);
    rig.backend.vanish();
    rig.turn();
    let moves = rig.relay.moves();
    let unsent = fragment.len() as u64 - 24;
    assert_eq!((moves.messages_lost, moves.bytes_lost), (1, unsent));
}

#[test]
fn the_pong_to_the_gateways_ping_is_taken_out_wherever_it_is_split() {
    for split in 0..=14 {
        let mut rig = Rig::new(1024);
        let rules = keepalive(true, false);
        rig.relay.liveness = Some(Box::new(Liveness::new(rules, 0)));
        assert_eq!(rig.relay.due(), Some(10));
        rig.expire(10);
        rig.turn();
        let ping = rig.client.take();
        assert_eq!((ping[0], ping[1], ping.len()), (0x89, 8, 10));
        assert_eq!(rig.relay.due(), Some(15), "the time to answer");
        let (before, pong, after) = (
            from_client(0x81, b"before"),
            from_client(0x8A, &ping[2..]),
            from_client(0x8A, b"8 letter"),
        );
        rig.now = 12;
        rig.client_sends(&[&before, &pong[..split]].concat());
        rig.client_sends(&[&pong[split..], &after].concat());
        let came = rig.backend.take();
        assert_eq!(came, [before, after].concat(), "split at {split}");
        assert_eq!(rig.relay.to_backend().pong, 1);
        assert_eq!(rig.relay.due(), Some(22), "the next ping");
    }
}

/// A relay whose silent sides are pinged, with one ping to each on its way.
fn pinged() -> Rig {
    // The runtime lets a task read so many times before it has to give way.
    let mut rig = Rig::new(1024);
    let rules = keepalive(true, true);
    rig.relay.liveness = Some(Box::new(Liveness::new(rules, 0)));
    rig.expire(10);
    rig.turn();
    assert_eq!(rig.client.take().len(), 10);
    assert_eq!(rig.backend.take().len(), 14);
    rig
}

#[test]
fn a_pong_whose_length_is_not_in_its_shortest_form_is_refused_wherever_it_is_split() {
    let forms = |bit: u8, key: &[u8]| {
        let middle = [&[0x8A, bit | 126, 0, 8][..], key, b"8 letter"].concat();
        let long = [
            &[0x8A, bit | 127, 0, 0, 0, 0, 0, 0, 0, 8][..],
            key,
            b"8 letter",
        ];
        [middle, long.concat()]
    };
    for pong in forms(0x80, &[1, 2, 3, 4]) {
        for split in 0..=pong.len() {
            let mut rig = pinged();
            rig.client_sends(&pong[..split]);
            rig.client_sends(&pong[split..]);
            assert_eq!(masked_close(&rig.backend.take()), (0x88, 1002));
            rig.expire(20);
            rig.turn();
            let to_client = rig.client.take();
            let reason = "frame length not in its shortest form";
            assert_eq!(
                to_client,
                close_frame(1002, reason, None),
                "split at {split}"
            );
        }
    }
    for pong in forms(0, &[]) {
        for split in 0..=pong.len() {
            let mut rig = pinged();
            rig.backend_sends(&pong[..split]);
            rig.backend_sends(&pong[split..]);
            let to_client = rig.client.take();
            let reason = "backend: frame length not in its shortest form";
            assert_eq!(
                to_client,
                close_frame(1011, reason, None),
                "split at {split}"
            );
            assert_eq!(masked_close(&rig.backend.take()), (0x88, 1002));
        }
    }
}

#[test]
fn a_client_that_takes_bytes_on_the_way_to_a_ping_is_not_lost() {
    let mut rig = Rig::new(1024);
    rig.client = Stream::new(16);
    let rules = keepalive(true, false);
    rig.relay.liveness = Some(Box::new(Liveness::new(rules, 0)));
    let message = from_backend(0x82, &[7; 120]);
    rig.backend.send(&message);
    rig.turn();
    let mut came = Vec::new();
    // The client takes 16 bytes in three ticks, and the ping waits behind them.
    while came.len() < message.len() {
        rig.now += 1;
        rig.expire(rig.now);
        assert!(!rig.relay.closing(), "given up at {}", rig.now);
        if rig.now.is_multiple_of(3) {
            came.extend(rig.client.take());
        }
        rig.turn();
    }
    assert!(rig.now > 20, "it took a while: {}", rig.now);
    rig.expire(rig.now + 5);
    assert!(rig.relay.closing(), "it has the ping and does not answer");
}
