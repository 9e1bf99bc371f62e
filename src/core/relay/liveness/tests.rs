//! Liveness of one side, observation by observation.

use super::*;

fn liveness() -> Liveness {
    let rules = Keepalive {
        interval: 10,
        timeout: 5,
        to_client: true,
        to_backend: false,
    };
    Liveness::new(rules, 100)
}

fn pinged(queued: usize) -> Liveness {
    let mut liveness = liveness();
    liveness.ping_queued(Side::Client, true, queued, 110);
    liveness
}

const HEARD: Observation = Observation {
    heard: true,
    unread: false,
    moved: false,
    unsent: false,
};
const UNREAD: Observation = Observation {
    heard: false,
    unread: true,
    moved: false,
    unsent: false,
};
const MOVED: Observation = Observation {
    heard: false,
    unread: false,
    moved: true,
    unsent: false,
};
const TAKES: Observation = Observation {
    unsent: true,
    ..MOVED
};

#[test]
fn a_silent_side_is_pinged_after_the_interval_and_lost_after_the_timeout() {
    let mut liveness = liveness();
    assert_eq!(liveness.due(Side::Client), Some(110));
    assert_eq!(liveness.due(Side::Backend), None, "it is never pinged");
    liveness.ping_queued(Side::Client, true, 0, 110);
    assert!(liveness.asked(Side::Client));
    assert_eq!(liveness.due(Side::Client), Some(115));
}

#[test]
fn any_byte_of_a_side_shows_that_it_is_alive() {
    let mut liveness = pinged(0);
    liveness.observe(Side::Client, HEARD, 113);
    assert!(!liveness.asked(Side::Client));
    assert_eq!(liveness.due(Side::Client), Some(123));
}

#[test]
fn a_side_that_is_not_read_has_its_time_again() {
    let mut before = liveness();
    before.observe(Side::Client, UNREAD, 108);
    assert_eq!(before.due(Side::Client), Some(118));
    let mut asked = pinged(0);
    asked.observe(Side::Client, UNREAD, 113);
    assert_eq!(asked.due(Side::Client), Some(118));
    // The turn in which it is read again ends the time that does not count.
    asked.observe(Side::Client, Observation::default(), 116);
    assert_eq!(asked.due(Side::Client), Some(121));
    asked.observe(Side::Client, Observation::default(), 119);
    assert_eq!(asked.due(Side::Client), Some(121));
}

#[test]
fn taking_bytes_counts_only_while_an_answer_is_awaited() {
    let mut silent = liveness();
    silent.observe(Side::Client, TAKES, 108);
    assert_eq!(
        silent.due(Side::Client),
        Some(110),
        "it may still be pinged"
    );
    let mut asked = pinged(0);
    asked.observe(Side::Client, TAKES, 113);
    assert_eq!(asked.due(Side::Client), Some(118));
}

#[test]
fn taking_bytes_counts_until_the_side_has_all_of_them() {
    let moved = |unsent| Observation { unsent, ..MOVED };
    let mut all_sent = pinged(0);
    all_sent.observe(Side::Client, moved(false), 113);
    assert_eq!(all_sent.due(Side::Client), Some(115), "it has the ping");
    let mut behind = pinged(0);
    let waits = Observation {
        moved: false,
        ..moved(true)
    };
    behind.observe(Side::Client, waits, 112);
    assert_eq!(behind.due(Side::Client), Some(115));
    behind.observe(Side::Client, moved(false), 113);
    assert_eq!(behind.due(Side::Client), Some(118), "it took the last ones");
    behind.observe(Side::Client, moved(false), 114);
    assert_eq!(behind.due(Side::Client), Some(118));
}

#[test]
fn a_ping_without_a_place_is_tried_again() {
    let mut liveness = liveness();
    liveness.ping_queued(Side::Client, false, 0, 110);
    assert!(!liveness.asked(Side::Client));
    assert_eq!(liveness.due(Side::Client), Some(120));
}

#[test]
fn a_side_may_lack_the_ping_while_its_send_queue_moves_or_its_system_has_no_room() {
    let check = |queue: Option<(usize, usize)>, all_sent: bool, may_lack: bool| {
        let queue = queue.map(|(bytes, in_flight)| SendQueue { bytes, in_flight });
        let found = pinged(50).may_lack_ping(Side::Client, queue, all_sent);
        assert_eq!(found, may_lack, "{queue:?} {all_sent}");
    };
    check(None, true, false);
    check(None, false, true);
    check(Some((0, 0)), true, false);
    check(Some((0, 0)), false, true);
    check(Some((60, 0)), true, true);
    check(Some((60, 60)), true, false);
    check(Some((50, 10)), true, false);
    check(Some((49, 10)), true, true);
}

#[test]
fn another_backend_has_its_time_from_the_beginning() {
    let mut liveness = Liveness::new(
        Keepalive {
            interval: 10,
            timeout: 5,
            to_client: false,
            to_backend: true,
        },
        0,
    );
    liveness.ping_queued(Side::Backend, true, 0, 10);
    liveness.backend_attached(12);
    assert_eq!(liveness.due(Side::Backend), Some(22));
}

#[test]
fn liveness_is_the_same_by_another_clock() {
    let here = pinged(0);
    let there = here.pack(112).unpack(9_002);
    assert_eq!(there.due(Side::Client), Some(9_005));
    let text = serde_json::to_string(&here.pack(112)).expect("plain data");
    let read: Liveness = serde_json::from_str(&text).expect("what was written");
    assert_eq!(read.unpack(9_002).due(Side::Client), Some(9_005));
}
