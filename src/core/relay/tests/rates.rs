//! Clients that send faster than they may.

use super::*;
use crate::config::limits::Over;
use crate::core::relay::liveness::Liveness;

/// A machine whose client may send one message a second.
fn limited(over: Over) -> Machine {
    let mut machine = machine();
    machine.throttle = Some(Box::new(one_per_second(over)));
    machine
}

#[test]
fn every_kind_of_message_counts() {
    for first in [0x81, 0x82, 0x89, 0x8A, 0x01] {
        let mut machine = limited(Over::Slow);
        pass(&mut machine, Side::Client, &from_client(first, b""));
        assert!(
            machine.read_allowance(Side::Client, 4096, 0).is_some(),
            "{first:x}"
        );
        let more = if first == 0x01 { 0x00 } else { first };
        let more = from_client(more, b"").repeat(2);
        pass(&mut machine, Side::Client, &more);
        assert_eq!(
            machine.read_allowance(Side::Client, 4096, 0),
            None,
            "{first:x}"
        );
    }
}

#[test]
fn a_pause_that_is_over_asks_for_a_turn() {
    let mut machine = limited(Over::Slow);
    pass(
        &mut machine,
        Side::Client,
        &from_client(0x81, b"").repeat(3),
    );
    assert_eq!(machine.due(), Some(20));
    machine.expire(19, |_| None);
    assert!(!machine.turn_needed());
    machine.expire(20, |_| None);
    assert!(machine.turn_needed());
    assert!(machine.read_allowance(Side::Client, 4096, 20).is_some());
}

#[test]
fn a_closed_client_that_exceeds_its_rate_is_read_and_its_backend_closed() {
    let mut machine = limited(Over::Slow);
    machine.close(&order(1008, "kicked", Cause::Kicked), 0);
    pass(
        &mut machine,
        Side::Client,
        &from_client(0x81, b"").repeat(3),
    );
    assert!(machine.read_allowance(Side::Client, 4096, 0).is_some());
    let came = drain(&mut machine, Side::Backend);
    assert_eq!(masked_close(&came), (0x88, 1008));
}

#[test]
fn a_client_that_is_closed_for_another_reason_is_not_closed_for_its_rate() {
    let mut machine = limited(Over::Close);
    machine.close(&order(1001, "going", Cause::Shutdown), 0);
    pass(
        &mut machine,
        Side::Client,
        &from_client(0x81, b"").repeat(3),
    );
    let frame = close_frame(1001, "going", None);
    assert_eq!(drain(&mut machine, Side::Client), frame);
    assert_eq!(drain(&mut machine, Side::Backend), b"", "it may answer");
}

#[test]
fn the_silence_of_a_client_that_is_not_read_does_not_count() {
    let mut machine = limited(Over::Slow);
    let rules = keepalive(true, false);
    machine.liveness = Some(Box::new(Liveness::new(rules, 0)));
    pass(
        &mut machine,
        Side::Client,
        &from_client(0x81, b"").repeat(3),
    );
    machine.settle(0);
    machine.expire(10, |_| None);
    assert_eq!(drain(&mut machine, Side::Client), b"");
    machine.expire(20, |_| None);
    machine.read_allowance(Side::Client, 4096, 20);
    machine.settle(20);
    machine.expire(29, |_| None);
    assert_eq!(drain(&mut machine, Side::Client), b"");
    machine.expire(30, |_| None);
    assert_eq!(drain(&mut machine, Side::Client).len(), 10, "a ping");
}
