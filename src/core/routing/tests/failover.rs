//! Zones and priorities: which backends get sessions when those of the first choice are not well.

use std::time::{Duration, Instant};

use super::snapshot;
use super::swapping::{to, upstream};
use crate::base::clock;
use crate::config::snapshot::{AdminState, Policy, Upstream, ZonePreference};
use crate::core::health::{Outcome, Witness};
use crate::core::routing::{RoutingTable, level_name};

/// `zones` of the backends, in order, and their priorities.
fn placed(backends: &[(&str, u8)]) -> Upstream {
    let mut upstream = upstream("chat", u16::try_from(backends.len()).expect("a few"));
    for (backend, (zone, priority)) in upstream.backends.iter_mut().zip(backends) {
        backend.zone = (!zone.is_empty()).then(|| (*zone).into());
        backend.priority = *priority;
    }
    upstream
}

/// The table of a gateway in this zone.
fn table(zone: Option<&str>, upstream: &Upstream, before: Option<&RoutingTable>) -> RoutingTable {
    let mut snapshot = snapshot(&[to("chat", "chat")], std::slice::from_ref(upstream));
    snapshot.zone = zone.map(Into::into);
    RoutingTable::compile(&snapshot, before, 1, clock::now())
}

fn picks(table: &RoutingTable, now: Instant) -> Vec<usize> {
    let upstream = table.upstream("chat").expect("it is there");
    let pick = |key: u32| upstream.pick_for_session(Some(&key.to_le_bytes()), &[], now, 0);
    (0..400).map(|key| pick(key).expect("one may")).collect()
}

fn fail(table: &RoutingTable, index: usize) {
    let state = &table.upstream("chat").expect("it is there").members[index].state;
    state.observe_probe(Err("refused"), clock::now());
}

fn recover(table: &RoutingTable, index: usize) {
    let state = &table.upstream("chat").expect("it is there").members[index].state;
    state.observe_probe(Ok(Duration::ZERO), clock::now());
}

const TWO_ZONES: [(&str, u8); 6] = [("a", 0), ("b", 0), ("a", 0), ("b", 0), ("a", 0), ("b", 0)];

#[test]
fn i2_gateways_of_one_zone_place_alike_and_each_zone_in_its_own_backends() {
    let upstream = placed(&TWO_ZONES);
    let now = clock::now();
    let of = |zone| picks(&table(zone, &upstream, None), now);
    assert_eq!(of(Some("a")), of(Some("a")));
    assert!(of(Some("a")).iter().all(|index| index % 2 == 0));
    assert!(of(Some("b")).iter().all(|index| index % 2 == 1));
    // Nobody is in this zone; this gateway has none; zones do not matter to this upstream.
    let everywhere = of(None);
    assert_eq!(of(Some("c")), everywhere);
    let mut ignoring = upstream.clone();
    ignoring.failover.zones = ZonePreference::Ignore;
    assert_eq!(picks(&table(Some("a"), &ignoring, None), now), everywhere);
    // A key that stays in its zone is where it would be among that zone's backends alone.
    let mut alone = upstream.clone();
    alone
        .backends
        .retain(|one| one.zone.as_deref() == Some("a"));
    let alone = picks(&table(None, &alone, None), now);
    let among: Vec<_> = of(Some("a")).iter().map(|index| index / 2).collect();
    assert_eq!(among, alone);
}

#[test]
fn i3_a_zone_that_fails_and_returns_gets_exactly_its_own_keys_back() {
    let table = table(Some("a"), &placed(&TWO_ZONES), None);
    let now = clock::now();
    let home = picks(&table, now);
    fail(&table, 0);
    let one = picks(&table, now);
    for (before, after) in home.iter().zip(&one) {
        assert!(
            before == after || *before == 0,
            "only the keys of the failed one moved"
        );
    }
    let away = one.iter().filter(|index| **index % 2 == 1).count();
    assert!(
        (1..60).contains(&away),
        "two of three are 5 % short: {away} of 400 went away"
    );
    fail(&table, 2);
    fail(&table, 4);
    let chat = table.upstream("chat").expect("it is there");
    assert_eq!((chat.spills(now), chat.panicking(now)), (1.0, false));
    let all = picks(&table, now);
    assert!(
        all.iter().all(|index| index % 2 == 1),
        "everything is in zone b"
    );
    for (part, whole) in one.iter().zip(&all) {
        assert!(
            part % 2 == 0 || part == whole,
            "what had gone stays where it went"
        );
    }
    for index in [0, 2, 4] {
        recover(&table, index);
    }
    assert_eq!(picks(&table, now), home);
}

#[test]
fn health_is_ignored_only_if_every_level_is_short() {
    let table = table(Some("a"), &placed(&TWO_ZONES), None);
    let now = clock::now();
    let chat = table.upstream("chat").expect("it is there");
    // A third is well, which is below the threshold of a half; but of zone b it is two thirds.
    for index in [0, 2, 4, 1] {
        fail(&table, index);
    }
    assert!(!chat.panicking(now));
    assert!(
        picks(&table, now)
            .iter()
            .all(|index| [3, 5].contains(index))
    );
    fail(&table, 3);
    assert!(chat.panicking(now), "none of three, and one of three");
    assert_eq!(chat.spills(now), 0.0);
    let own = picks(&table, now);
    assert!(
        own.iter().all(|index| index % 2 == 0),
        "as if all were well"
    );
}

#[test]
fn priorities_come_after_zones_and_a_full_level_spills() {
    let mut upstream = placed(&[("a", 0), ("b", 0), ("a", 1), ("b", 2)]);
    upstream.sessions_per_backend = Some(1);
    let table = table(Some("a"), &upstream, None);
    let now = clock::now();
    let chat = table.upstream("chat").expect("it is there");
    for expected in [0, 1, 2, 3] {
        assert!(picks(&table, now).iter().all(|index| *index == expected));
        chat.members[expected].state.session_began();
    }
    assert_eq!(chat.pick_for_session(Some(b"k"), &[], now, 0), None);
    assert_eq!(chat.spilled(), 3);
    let names: Vec<_> = (0..4)
        .map(|level| level_name(chat.preference(level), chat.preferred_zone()))
        .collect();
    let expected = [
        "zone a",
        "other zones",
        "zone a, priority 1",
        "other zones, priority 2",
    ];
    assert_eq!(names, expected);
    chat.members
        .iter()
        .for_each(|one| one.state.session_ended());
}

#[test]
fn a_draining_backend_is_not_missed_and_a_disabled_one_is() {
    let now = clock::now();
    for (state, spills) in [(AdminState::Draining, false), (AdminState::Disabled, true)] {
        let mut upstream = placed(&TWO_ZONES);
        upstream.backends[0].state = state;
        let table = table(Some("a"), &upstream, None);
        let chat = table.upstream("chat").expect("it is there");
        assert_eq!(chat.spills(now) > 0.0, spills, "{state:?}");
        let away = picks(&table, now).iter().any(|index| index % 2 == 1);
        assert_eq!(away, spills, "{state:?}");
    }
    // A zone that drains as a whole leaves everything to the others.
    let mut upstream = placed(&TWO_ZONES);
    for index in [0, 2, 4] {
        upstream.backends[index].state = AdminState::Draining;
    }
    let table = table(Some("a"), &upstream, None);
    assert!(picks(&table, now).iter().all(|index| index % 2 == 1));
}

#[test]
fn a_backend_that_failed_for_a_request_is_followed_by_one_of_its_zone() {
    let table = table(Some("a"), &placed(&TWO_ZONES), None);
    let now = clock::now();
    let chat = table.upstream("chat").expect("it is there");
    let mut tried = Vec::new();
    for _ in 0..6 {
        let next = chat.pick_for_session(Some(b"ann"), &tried, now, 0);
        tried.push(next.expect("six are well"));
    }
    assert!(tried[..3].iter().all(|index| index % 2 == 0), "{tried:?}");
    assert!(tried[3..].iter().all(|index| index % 2 == 1), "{tried:?}");
    // An ejection counts as a failed probe does.
    let witness = Witness::default();
    let state = &chat.members[tried[0]].state;
    state.report(Outcome::ConnectFailed, witness, now, true);
    assert!(chat.spills(now) > 0.0);
    assert_ne!(chat.home(b"ann", now), Some(tried[0]));
}

#[test]
fn i1_a_node_that_gets_a_zone_keeps_its_backends_and_a_ring_that_does_not_change() {
    let upstream = placed(&TWO_ZONES);
    let first = table(None, &upstream, None);
    let second = table(Some("a"), &upstream, Some(&first));
    let chat = [&first, &second].map(|table| table.upstream("chat").expect("it is there"));
    let states = chat.map(|one| std::sync::Arc::as_ptr(&one.members[3].state));
    assert_eq!(states[0], states[1]);
    assert_eq!(
        first.digest, second.digest,
        "gateways of two zones have one configuration"
    );
    let mut heavier = upstream.clone();
    heavier.attempts += 1;
    let third = table(Some("a"), &heavier, Some(&second));
    let levels = [&second, &third].map(|table| {
        let chat = table.upstream("chat").expect("it is there");
        std::ptr::from_ref(chat.levels())
    });
    assert_eq!(levels[0], levels[1]);
}

#[test]
fn policies_without_keys_prefer_the_own_zone_too() {
    let now = clock::now();
    for policy in [Policy::LeastSessions, Policy::RoundRobin, Policy::RandomTwo] {
        let mut upstream = placed(&TWO_ZONES);
        upstream.policy = policy;
        let table = table(Some("a"), &upstream, None);
        let chat = table.upstream("chat").expect("it is there");
        let picked = |random: u64| {
            let picked =
                chat.pick_for_session(None, &[], now, random.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            picked.expect("one may")
        };
        assert!((0..300).all(|random| picked(random) % 2 == 0), "{policy:?}");
        for index in [0, 2] {
            fail(&table, index);
        }
        let own = (0..3_000).filter(|random| picked(*random) == 4).count();
        // A third of the zone is well: it takes 48 %.
        assert!((1_300..1_560).contains(&own), "{policy:?}: {own}");
    }
}
