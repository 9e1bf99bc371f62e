//! Silence that the gateway itself causes does not count against a side.

use super::*;
use crate::core::relay::liveness::Liveness;
use crate::core::relay::pump::Pumped;

/// A rig of narrow streams, whose sides are pinged after ten ticks and have five to answer.
fn rig(to_client: bool, to_backend: bool) -> Rig {
    let mut rig = Rig::new(64);
    rig.relay.times.idle = None;
    let rules = keepalive(to_client, to_backend);
    rig.relay.liveness = Some(Box::new(Liveness::new(rules, 0)));
    rig
}

/// Lets so many ticks pass. After the first there is a turn only when the relay asks for one, as in
/// a worker.
fn pass(rig: &mut Rig, ticks: Tick) {
    let mut wanted = true;
    for _ in 0..ticks {
        let now = rig.now + 1;
        if rig.relay.due().is_some_and(|due| due <= now) {
            rig.expire(now);
        }
        rig.now = now;
        if std::mem::take(&mut wanted) || rig.relay.turn_needed() {
            assert_eq!(rig.pump(), Pumped::Idle, "at {now}");
        }
    }
}

/// Writes until there is no room.
fn fill(rig: &mut Rig, side: Side, frame: &[u8]) {
    for _ in 0..100 {
        let stream = match side {
            Side::Client => &mut rig.client,
            Side::Backend => &mut rig.backend,
        };
        match stream.send_some(frame) {
            0 => return,
            sent => assert_eq!(sent, frame.len()),
        }
        rig.turn();
    }
    panic!("the sender is never stopped");
}

#[test]
fn a_client_that_is_not_read_because_its_backend_is_slow_is_not_lost() {
    let frame = from_client(0x82, &[7; 10]);
    // Before it is pinged, and while its answer is awaited.
    for asked in [false, true] {
        let mut rig = rig(true, false);
        if asked {
            pass(&mut rig, 12);
            assert_eq!(rig.client.take().len(), 10, "a ping");
        }
        fill(&mut rig, Side::Client, &frame);
        pass(&mut rig, 500);
        assert!(!rig.relay.closing(), "asked: {asked}");
        // Once it is read again, it has its time again, to the last tick.
        while !rig.backend.take().is_empty() {
            rig.turn();
        }
        pass(&mut rig, if asked { 4 } else { 14 });
        assert!(!rig.relay.closing());
        pass(&mut rig, 20);
        assert!(rig.relay.closing(), "it is silent by itself");
    }
}

#[test]
fn a_backend_that_is_not_read_because_its_client_is_slow_is_not_lost() {
    let frame = from_backend(0x82, &[7; 14]);
    for asked in [false, true] {
        let mut rig = rig(true, true);
        if asked {
            pass(&mut rig, 12);
            assert_eq!(rig.backend.take().len(), 14, "a ping");
        }
        fill(&mut rig, Side::Backend, &frame);
        pass(&mut rig, 500);
        // The client is not lost either: it had no room for its ping.
        assert!(!rig.relay.closing(), "asked: {asked}");
        while !rig.client.take().is_empty() {
            rig.turn();
        }
        pass(&mut rig, 4);
        assert!(!rig.relay.closing());
        pass(&mut rig, 20);
        assert!(rig.relay.closing(), "it is silent by itself");
    }
}

#[test]
fn the_answer_to_a_ping_is_not_awaited_before_the_ping_was_sent() {
    let mut rig = rig(true, false);
    let frame = from_backend(0x82, &[7; 40]);
    rig.backend.send(&frame[..20]);
    pass(&mut rig, 300);
    assert!(!rig.relay.closing(), "the client has no ping yet");
    assert_eq!(rig.client.take(), &frame[..20]);
    rig.backend.send(&frame[20..]);
    pass(&mut rig, 1);
    let came = rig.client.take();
    assert_eq!(came[..22], frame[20..]);
    assert_eq!(came[22], 0x89);
    pass(&mut rig, 8);
    assert!(rig.relay.closing(), "it has the ping and does not answer");
}

#[test]
fn a_client_whose_system_holds_bytes_is_not_lost_before_the_ping_has_a_place() {
    let mut rig = rig(true, false);
    // The backend has begun a frame, and the client's system has bytes in flight all the time.
    rig.backend_sends(&from_backend(0x82, &[7; 40])[..20]);
    let queue = SendQueue {
        bytes: 20,
        in_flight: 20,
    };
    for now in 1..=60 {
        rig.now = now;
        if rig.relay.due().is_some_and(|due| due <= now) {
            rig.relay.expire(now, |_| Some(queue));
        }
        rig.turn();
        assert!(!rig.relay.closing(), "at {now}");
    }
}

#[test]
fn a_backend_that_is_left_is_not_pinged() {
    let mut rig = rig(false, true);
    rig.relay.allow_moves(300);
    assert_eq!(rig.relay.due(), Some(10));
    assert!(rig.relay.leave(&drained(), 0));
    assert_eq!(rig.relay.due(), Some(TIMES.close), "leaving has a limit");
}

#[test]
fn a_session_leaves_a_silent_backend_if_it_may_move() {
    let mut rig = rig(false, true);
    rig.relay.allow_moves(300);
    pass(&mut rig, 14);
    assert!(!rig.relay.needs_backend());
    rig.expire(15);
    assert!(rig.relay.needs_backend() && !rig.relay.closing());
}

#[test]
fn a_backend_that_is_gone_owes_no_answer_to_a_ping() {
    let mut rig = rig(true, true);
    rig.relay.allow_moves(300);
    pass(&mut rig, 12);
    let ping = rig.client.take();
    rig.backend.vanish();
    rig.turn();
    assert!(rig.relay.needs_backend());
    // The client answers, and is pinged again.
    rig.client_sends(&from_client(0x8A, &ping[2..]));
    rig.expire(22);
    assert_eq!(rig.pump(), Pumped::Idle, "the loss was reported");
    assert_eq!(rig.client.take().len(), 10);
}
