//! Previews, compared with the effects of the real change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::snapshot;
use super::swapping::{compile, to, upstream};
use crate::base::clock;
use crate::config::snapshot::{AdminState, OnRemoval, Policy, Route, Upstream};
use crate::core::health::Health;
use crate::core::routing::preview::{
    Leaving, SessionPlacement, Sessions, Why, ending, leaving, movements, sample, sessions,
};
use crate::core::routing::{Action, RoutingTable};

/// Where the sample goes by this table.
fn owners(table: &RoutingTable, upstream: &str, now: Instant) -> Vec<Option<String>> {
    let upstream = table.upstream(upstream).expect("it is there");
    let pick = |key: String| upstream.pick(Some(key.as_bytes()), &[], now, 0);
    let id = |index: usize| upstream.members[index].id.to_string();
    sample().map(|key| pick(key).map(id)).collect()
}

fn differing(one: &[Option<String>], other: &[Option<String>]) -> f64 {
    let pairs = one.iter().zip(other);
    pairs.filter(|(one, other)| one != other).count() as f64 / one.len() as f64
}

/// The preview of `after` over `before` must say what the table compiled from it then does.
fn check(before: &Upstream, after: &Upstream, expected: std::ops::RangeInclusive<f64>) {
    let now = clock::now();
    let routes = [to("a", "chat")];
    let old = compile(&routes, std::slice::from_ref(before), None);
    let wanted = snapshot(&routes, std::slice::from_ref(after));
    let trial = RoutingTable::trial(&wanted, &old, now);
    let (movement, _) = movements(&old, &trial, now);
    let [movement] = &movement[..] else {
        panic!("one upstream differs: {movement:?}");
    };
    let new = compile(&routes, std::slice::from_ref(after), Some(&old));
    let (were, are) = (owners(&old, "chat", now), owners(&new, "chat", now));
    let moved = movement.moved.expect("keys decide");
    assert!((moved - differing(&were, &are)).abs() < 1e-9);
    assert!(expected.contains(&moved), "{moved}");
    assert_eq!(trial.digest, new.digest);

    let held = |owners: &[Option<String>], id: &str| {
        let of = |owner: &&Option<String>| owner.as_deref() == Some(id);
        owners.iter().filter(of).count() as f64 / 10_000.0
    };
    for share in &movement.members {
        let id = share.backend.as_str();
        assert_eq!(share.before.unwrap_or_default(), held(&were, id), "{id}");
        assert_eq!(share.after.unwrap_or_default(), held(&are, id), "{id}");
    }
}

#[test]
fn i3_a_preview_predicts_the_moves() {
    let four = upstream("chat", 4);
    check(&four, &upstream("chat", 5), 0.15..=0.25);
    check(&upstream("chat", 5), &four, 0.15..=0.25);

    let mut draining = four.clone();
    draining.backends[2].state = AdminState::Draining;
    check(&four, &draining, 0.2..=0.3);

    let mut moved = four.clone();
    moved.backends[2].address = "127.0.0.9:1".parse().expect("an address");
    // The same id keeps its keys, but clients that reconnect reach another address.
    let now = clock::now();
    let old = compile(&[], std::slice::from_ref(&four), None);
    let trial = RoutingTable::trial(&snapshot(&[], &[moved]), &old, now);
    let share = movements(&old, &trial, now).0[0]
        .moved
        .expect("keys decide");
    assert!((0.2..=0.3).contains(&share), "{share}");

    for policy in [Policy::Rendezvous, Policy::Maglev] {
        let other = |count| Upstream {
            policy,
            ..upstream("chat", count)
        };
        check(&other(4), &other(5), 0.15..=0.25);
    }
    let mut patient = four.clone();
    patient.attempts = 7;
    check(&four, &patient, 0.0..=0.0);
}

#[test]
fn policies_without_keys_have_no_shares() {
    let even = Upstream {
        policy: Policy::RoundRobin,
        ..upstream("chat", 3)
    };
    let now = clock::now();
    let old = compile(&[], &[even], None);
    let trial = RoutingTable::trial(&snapshot(&[], &[upstream("chat", 3)]), &old, now);
    let (movement, _) = movements(&old, &trial, now);
    assert_eq!((movement[0].moved, movement[0].members.len()), (None, 0));
}

#[test]
fn i1_a_trial_leaves_what_is_in_force_alone() {
    let now = clock::now();
    let routes = [to("a", "chat"), to("b", "other")];
    let chat = upstream("chat", 3);
    let old = compile(&routes, &[chat.clone(), upstream("other", 2)], None);
    let backend = &old.upstream("chat").expect("it is there").members[0].state;
    backend.observe_probe(Err("down"), now);
    let mut without = chat;
    without.probe = None;
    without.passive.failures = 0;

    let trial = RoutingTable::trial(
        &snapshot(&routes, &[without.clone(), upstream("other", 2)]),
        &old,
        now,
    );
    assert_eq!(backend.health(), Health::Unhealthy, "the probe is in force");
    let of = |table: &RoutingTable| Arc::clone(table.upstream("other").expect("it is there"));
    assert!(Arc::ptr_eq(&of(&old), &of(&trial)));
    drop(trial);
    assert_eq!(backend.reason().as_deref(), Some("down"));

    // The same for good: a swap takes the probe away, and with it what it found.
    compile(&routes, &[without, upstream("other", 2)], Some(&old));
    assert_eq!(backend.health(), Health::Unknown);
}

#[test]
fn backends_that_would_be_left_are_named_with_their_sessions() {
    let now = clock::now();
    let old = compile(&[], &[upstream("chat", 5), upstream("gone", 1)], None);
    let chat = old.upstream("chat").expect("it is there");
    chat.members[1].state.session_began();
    chat.members[1].state.session_began();
    let mut after = upstream("chat", 4);
    after.backends[1].state = AdminState::Draining;
    after.backends[2].state = AdminState::Disabled;
    after.backends[3].address = "127.0.0.9:1".parse().expect("an address");
    let trial = RoutingTable::trial(&snapshot(&[], &[after]), &old, now);
    let one = |upstream: &str, backend: &str, why, sessions| Leaving {
        upstream: upstream.into(),
        backend: backend.into(),
        why,
        sessions,
    };
    let expected = [
        one("chat", "b00001", Why::Draining, 2),
        one("chat", "b00002", Why::Disabled, 0),
        one("chat", "b00003", Why::Readdressed, 0),
        one("chat", "b00004", Why::Removed, 0),
        one("gone", "b00000", Why::Removed, 0),
    ];
    assert_eq!(leaving(&old, &trial), expected);
    assert_eq!(leaving(&old, &old), []);
}

#[test]
fn live_sessions_are_counted_by_their_keys() {
    let now = clock::now();
    let closing = Route {
        on_removal: OnRemoval::Close,
        ..to("closing", "chat")
    };
    let routes = [to("a", "chat"), to("kept", "chat"), closing];
    let old = compile(&routes, &[upstream("chat", 3), upstream("other", 3)], None);
    let wanted = snapshot(
        &[to("a", "chat")],
        &[upstream("chat", 4), upstream("other", 3)],
    );
    let trial = RoutingTable::trial(&wanted, &old, now);
    assert_eq!(
        ending(&old, &trial),
        [&crate::base::names::RouteName::from("closing")]
    );

    let keys: Vec<_> = sample().collect();
    let on = |route: &'static str| {
        let session = move |key: &'_ String| (route, key.clone());
        keys.iter().map(session).collect::<Vec<_>>()
    };
    let live: Vec<_> = ["a", "closing", "kept"].into_iter().flat_map(on).collect();
    let live = live.iter().map(|(route, key)| SessionPlacement {
        route,
        key: (key != "17").then_some(key.as_bytes()),
    });
    let movement = sessions(&old, &trial, live, now);
    let was = owners(&old, "chat", now);
    let is = owners(&trial, "chat", now);
    let moves = |index: usize| index != 17 && was[index] != is[index];
    let expected = Sessions {
        live: 30_000,
        keyed: 9_999,
        moved: (0..10_000).filter(|index| moves(*index)).count(),
        ended: 10_000,
    };
    assert_eq!(movement, expected);
    assert!(expected.moved > 2_000);

    // A route that leads elsewhere takes its keys along.
    let elsewhere = snapshot(
        &[to("a", "other")],
        &[upstream("chat", 3), upstream("other", 3)],
    );
    let trial = RoutingTable::trial(&elsewhere, &old, now);
    let targets: BTreeMap<_, _> = trial
        .routes()
        .iter()
        .map(|route| match trial.action(route) {
            Action::Forward(upstream) => (route.name().to_string(), upstream.name().to_string()),
            Action::Redirect(_) | Action::Static(..) | Action::Function(..) => {
                panic!("it forwards")
            }
        })
        .collect();
    assert_eq!(targets["a"], "other");
    let session = SessionPlacement {
        route: "a",
        key: Some(b"1"),
    };
    // Ids and addresses of both upstreams are equal here, so no client would move.
    assert_eq!(sessions(&old, &trial, [session], now).moved, 0);
}
