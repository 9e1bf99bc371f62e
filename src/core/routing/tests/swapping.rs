//! What a new table takes over from the one before it, and which backend is picked through both.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::snapshot;
use crate::base::clock;
use crate::config::conflict::tests::route;
use crate::config::snapshot::{
    Action as To, AdminState, Backend, Passive, Policy, Probe, ProbeKind, Route, Upstream,
};
use crate::core::balance::Passed;
use crate::core::health::{Health, Outcome, Witness};
use crate::core::routing::{Action, RoutingTable};

/// With as many backends as asked.
pub(super) fn upstream(name: &str, backends: u16) -> Upstream {
    let backend = |number| Backend {
        id: format!("b{number:05}").as_str().into(),
        address: format!("127.0.0.1:{}", 9100 + number)
            .parse()
            .expect("an address"),
        weight: 1,
        zone: None,
        priority: 0,
        labels: BTreeMap::new(),
        state: AdminState::Active,
    };
    Upstream {
        name: name.into(),
        policy: Policy::ConsistentHash,
        bounded_load: None,
        backends: (0..backends).map(backend).collect(),
        probe: Some(Probe {
            kind: ProbeKind::Tcp,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            rise: 1,
            fall: 1,
        }),
        passive: Passive {
            failures: 1,
            clients: 2,
            ejection: Duration::from_secs(10),
            ejection_max: Duration::from_secs(60),
            ejected_share_max: 0.5,
            early_close: Duration::from_secs(1),
        },
        panic_threshold: 0.5,
        tls: None,
        proxy_protocol: None,
        forwarded_header: false,
        connect_timeout: Duration::from_secs(2),
        attempts: 3,
        idle_connections: 32,
        dns: Vec::new(),
        consul: None,
        kubernetes: None,
        response_limits: crate::config::snapshot::HeadLimits::default(),
        scaling: crate::config::snapshot::Scaling {
            sessions_target: None,
            backends_min: 1,
            backends_max: 1000,
            scale_in_after: Duration::from_secs(600),
            scale_in_margin: 0.1,
        },
        failover: crate::config::snapshot::Failover {
            zones: crate::config::snapshot::ZonePreference::Prefer,
            healthy_share_min: 0.7,
        },
        drain: crate::config::snapshot::Drain::default(),
        rebalance: crate::config::snapshot::Rebalance::default(),
        slow_start: None,
        sessions_per_backend: None,
    }
}

pub(super) fn to(name: &str, upstream: &str) -> Route {
    Route {
        action: To::Forward(upstream.into()),
        ..route(name, &format!("/{name}"))
    }
}

pub(super) fn compile(
    routes: &[Route],
    upstreams: &[Upstream],
    previous: Option<&RoutingTable>,
) -> RoutingTable {
    let generation = previous.map_or(1, |table| table.generation + 1);
    RoutingTable::compile(
        &snapshot(routes, upstreams),
        previous,
        generation,
        clock::now(),
    )
}

fn picks(table: &RoutingTable, now: Instant) -> Vec<Option<usize>> {
    let upstream = table.upstream("chat").expect("it is there");
    let pick = |key: u32| upstream.pick(Some(&key.to_le_bytes()), &[], now, 0);
    (0..500).map(pick).collect()
}

#[test]
fn i1_what_did_not_change_is_the_very_same() {
    let routes = [to("a", "chat"), to("b", "other"), to("c", "chat")];
    let first = compile(&routes, &[upstream("chat", 3), upstream("other", 2)], None);

    let mut changed = upstream("chat", 4);
    changed.backends[1].weight = 2;
    changed.backends[2].address = "127.0.0.2:9102".parse().expect("an address");
    let second = compile(&routes, &[changed, upstream("other", 2)], Some(&first));

    let both =
        |name: &str| [&first, &second].map(|table| table.upstream(name).expect("it is there"));
    let [before, after] = both("other");
    assert!(Arc::ptr_eq(before, after));
    let [before, after] = both("chat");
    assert!(!Arc::ptr_eq(before, after));
    let kept = before.members.iter().zip(&after.members);
    let kept: Vec<_> = kept
        .map(|(one, other)| Arc::ptr_eq(&one.state, &other.state))
        .collect();
    assert_eq!(kept, [true, true, false], "the third has moved");

    let same = |name: &str| {
        let [one, other] =
            [&first, &second].map(|table| table.route(&name.into()).expect("a route"));
        Arc::ptr_eq(one, other)
    };
    assert_eq!(["a", "b", "c"].map(same), [true, true, true]);
    assert!(
        Arc::ptr_eq(&first.matcher, &second.matcher),
        "no route has changed"
    );
    let Action::Forward(target) = second.action(second.route(&"a".into()).expect("a route")) else {
        panic!("it forwards");
    };
    assert!(
        Arc::ptr_eq(target, after),
        "routes lead to the new upstream"
    );
}

#[test]
fn i1_a_table_goes_while_a_session_keeps_what_it_needs() {
    let first = Arc::new(compile(&[to("a", "chat")], &[upstream("chat", 2)], None));
    let route = Arc::clone(first.route(&"a".into()).expect("a route"));
    let backend = Arc::clone(&first.upstream("chat").expect("it is there").members[0].state);
    let upstream_of_old = Arc::downgrade(first.upstream("chat").expect("it is there"));
    let table = Arc::downgrade(&first);

    backend.session_began();
    let second = compile(&[to("a", "chat")], &[upstream("chat", 3)], Some(&first));
    drop(first);
    assert!(table.upgrade().is_none(), "nothing holds the table");
    assert!(
        upstream_of_old.upgrade().is_none(),
        "neither a route nor a backend state holds it"
    );
    assert_eq!(route.name().as_str(), "a");
    assert_eq!(
        second.upstream("chat").expect("it is there").members[0]
            .state
            .sessions(),
        1
    );
}

#[test]
fn i1_health_survives_a_swap_unless_its_probe_goes() {
    let now = clock::now();
    let health = |table: &RoutingTable| {
        table.upstream("chat").expect("it is there").members[0]
            .state
            .health()
    };
    let first = compile(&[], &[upstream("chat", 3)], None);
    let member = &first.upstream("chat").expect("it is there").members[0];
    member.state.observe_probe(Err("refused"), now);
    assert_eq!(health(&first), Health::Unhealthy);

    let mut drained = upstream("chat", 3);
    drained.backends[1].state = AdminState::Draining;
    let second = compile(&[], &[drained.clone()], Some(&first));
    assert_eq!(health(&second), Health::Unhealthy);

    drained.probe = None;
    let third = compile(&[], &[drained], Some(&second));
    assert_eq!(
        health(&third),
        Health::Unknown,
        "nothing could make it healthy again"
    );
}

#[test]
fn i2_equal_configuration_gives_equal_digests_and_picks_whatever_came_before() {
    let now = clock::now();
    let routes = [to("a", "chat"), to("b", "chat"), to("c", "other")];
    let upstreams = [upstream("chat", 5), upstream("other", 1)];
    let one = compile(&routes, &upstreams, None);
    let turned: Vec<_> = routes.iter().rev().cloned().collect();
    let before = compile(&[], &[upstream("chat", 9)], None);
    let other = compile(&turned, &upstreams, Some(&before));
    assert_eq!(one.digest, other.digest);
    assert_eq!(picks(&one, now), picks(&other, now));

    let mut weighted = upstreams.clone();
    weighted[0].backends[0].weight = 2;
    assert_ne!(one.digest, compile(&routes, &weighted, None).digest);
    assert_ne!(one.digest, compile(&routes[..2], &upstreams, None).digest);
    let text = one.digest.to_string();
    assert!(
        text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{text}"
    );
}

#[test]
fn i3_a_backend_that_returns_gets_its_own_keys_back() {
    let now = clock::now();
    let table = compile(&[], &[upstream("chat", 4)], None);
    let backend = &table.upstream("chat").expect("it is there").members[2].state;
    let before = picks(&table, now);
    backend.observe_probe(Err("refused"), now);
    let without = picks(&table, now);
    for (was, is) in before.iter().zip(&without) {
        assert!(if *was == Some(2) {
            *is != Some(2) && is.is_some()
        } else {
            is == was
        });
    }
    backend.observe_probe(Ok(Duration::ZERO), now);
    assert_eq!(picks(&table, now), before);
    assert!(before.contains(&Some(2)));

    // Draining it does the same, through a swap.
    let mut drained = upstream("chat", 4);
    drained.backends[2].state = AdminState::Draining;
    let second = compile(&[], &[drained], Some(&table));
    assert_eq!(picks(&second, now), without);
    assert_eq!(
        picks(&compile(&[], &[upstream("chat", 4)], Some(&second)), now),
        before
    );
}

#[test]
fn a_changed_policy_takes_effect() {
    let now = clock::now();
    let mut one = upstream("chat", 5);
    for change in [
        |upstream: &mut Upstream| upstream.policy = Policy::Maglev,
        |upstream: &mut Upstream| upstream.bounded_load = Some(1.0),
    ] {
        let before = compile(&[], &[one.clone()], None);
        change(&mut one);
        let after = compile(&[], &[one.clone()], Some(&before));
        after.upstream("chat").expect("it is there").members[0]
            .state
            .session_began();
        assert_ne!(picks(&after, now), picks(&before, now));
    }
}

#[test]
fn health_is_ignored_when_too_few_are_well_but_never_the_operator() {
    let now = clock::now();
    let mut config = upstream("chat", 6);
    config.backends[0].state = AdminState::Disabled;
    config.backends[5].state = AdminState::Draining;
    let table = compile(&[], &[config], None);
    let chat = table.upstream("chat").expect("it is there");
    let taken = || {
        let mut taken: Vec<_> = picks(&table, now).into_iter().flatten().collect();
        taken.sort_unstable();
        taken.dedup();
        taken
    };
    assert_eq!(taken(), [1, 2, 3, 4]);
    chat.members[1].state.observe_probe(Err("refused"), now);
    assert!(chat.may_eject(now));
    chat.members[2].state.report(
        Outcome::ConnectFailed,
        Witness::default(),
        now,
        chat.may_eject(now),
    );
    assert_eq!((taken(), chat.panicking(now)), (vec![3, 4], false));
    chat.members[3].state.observe_probe(Err("refused"), now);
    assert_eq!((taken(), chat.panicking(now)), (vec![1, 2, 3, 4], true));

    // The ejection ends.
    let later = now + Duration::from_secs(11);
    assert!(!chat.panicking(later));
}

#[test]
fn explain_shows_the_walk_of_pick() {
    let now = clock::now();
    let mut config = upstream("chat", 5);
    config.backends[0].state = AdminState::Disabled;
    config.backends[1].state = AdminState::Draining;
    let table = compile(&[], &[config], None);
    let chat = table.upstream("chat").expect("it is there");
    chat.members[2].state.observe_probe(Err("refused"), now);
    let mut reasons = Vec::new();
    for key in 0_u32..200 {
        let key = key.to_le_bytes();
        let walk = chat.explain(Some(&key), &[], now, 0);
        let (last, passed) = walk.candidates.split_last().expect("somebody was asked");
        assert_eq!(chat.pick(Some(&key), &[], now, 0), Some(last.index));
        assert_eq!(last.verdict, Ok(()));
        assert!(!walk.panicking);
        reasons.extend(
            passed
                .iter()
                .map(|c| (c.index, c.verdict.expect_err("passed"))),
        );

        let next = chat.pick(Some(&key), &[last.index], now, 0);
        assert!(next.is_some() && next != Some(last.index));
        assert_eq!(chat.pick(Some(&key), &[3, 4], now, 0), None);
    }
    reasons.sort_unstable_by_key(|(index, _)| *index);
    reasons.dedup();
    let expected = [
        (0, Passed::Disabled),
        (1, Passed::Draining),
        (2, Passed::Unhealthy),
    ];
    assert_eq!(reasons, expected);
}

#[test]
fn a_member_that_is_taken_in_again_wakes_up() {
    let mut config = Upstream {
        slow_start: Some(Duration::from_secs(60)),
        ..upstream("chat", 2)
    };
    let routes = [to("chat", "chat")];
    let wakes = |table: &RoutingTable| {
        let upstream = table.upstream("chat").expect("it is there");
        upstream.wakes(clock::now())
    };
    let first = compile(&routes, &[config.clone()], None);
    config.backends[0].state = AdminState::Draining;
    let second = compile(&routes, &[config.clone()], Some(&first));
    assert_eq!([&first, &second].map(wakes), [false, false]);
    config.backends[0].state = AdminState::Active;
    let third = compile(&routes, &[config], Some(&second));
    assert!(wakes(&third));
}
