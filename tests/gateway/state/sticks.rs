//! Sticky keys have one backend on all gateways.

use super::*;
use crate::support::Raw;

const LEAST: &str = "policy = \"least_sessions\"";

/// `least_sessions` has no keys: where a key goes is remembered, by all gateways.
async fn a_key_has_one_backend_on_all_gateways(kind: &'static str) {
    let store = StoreServer::start(kind).await;
    let (a, b, c) = (
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    );
    let route = ("", LEAST, "stick = \"live\"");
    let one = node("one", &store, &[&a, &b, &c], route).await;
    let two = node("two", &store, &[&a, &b, &c], route).await;
    let mut inside = Vec::new();
    for key in 0..6 {
        let target = format!("/?k={key}");
        let (first, second) = match key % 2 {
            0 => (&one, &two),
            _ => (&two, &one),
        };
        let mut client = session(first, "203.0.113.7", &target).await.unwrap();
        let mut other = session(second, "203.0.113.8", &target).await.unwrap();
        assert_eq!(client.backend().await, other.backend().await, "key {key}");
        inside.extend([client, other]);
    }
    for client in inside {
        client.close().await;
    }
    assert!(decisions(&one, "stick", "shared") >= 6.0);
}

#[tokio::test]
async fn a_key_has_one_backend_on_all_gateways_by_redis() {
    a_key_has_one_backend_on_all_gateways("redis").await;
}

#[tokio::test]
async fn a_key_has_one_backend_on_all_gateways_by_memcached() {
    a_key_has_one_backend_on_all_gateways("memcached").await;
}

#[tokio::test]
async fn the_record_of_a_session_says_that_the_fleet_chose_its_backend() {
    let store = StoreServer::start("redis").await;
    let (a, b, c) = (
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    );
    let route = ("", LEAST, "stick = \"live\"");
    let one = node("one", &store, &[&a, &b, &c], route).await;
    let two = node("two", &store, &[&a, &b, &c], route).await;
    // So that the second gateway would choose another backend by itself.
    let mut here = session(&one, "203.0.113.7", "/?k=ann").await.unwrap();
    let taken = here.backend().await;
    let mut beside = Vec::new();
    for n in 0..6 {
        let target = format!("/?k=other-{n}");
        let mut client = session(&two, "203.0.113.9", &target).await.unwrap();
        if client.backend().await == taken {
            beside.push(client);
        } else {
            client.close().await;
        }
        if !beside.is_empty() {
            break;
        }
    }
    let asked = r#"{"url":"ws://edge/?k=ann"}"#;
    let shown = two.admin("POST", "/v1/resolve", asked).json();
    let choice = &shown["choice"];
    assert_eq!(choice["backend"], taken.to_string(), "{shown}");
    let reason = "the fleet keeps it for the key";
    assert_eq!(choice["walk"][0]["reason"], reason, "{shown}");
    let mut there = session(&two, "203.0.113.8", "/?k=ann").await.unwrap();
    assert_eq!(there.backend().await, taken);
    let id = there.session_id().await;
    let shown = two.get(&format!("/v1/sessions/{id}"));
    let choice = shown["placement"]["choice"].as_str().expect("a word");
    assert!(
        choice == "fleet" || (beside.is_empty() && choice == "first_choice"),
        "{shown}"
    );
    for client in beside.into_iter().chain([here, there]) {
        client.close().await;
    }
}

/// The health that this gateway sees decides, and the key moves for all.
#[tokio::test]
async fn a_backend_that_is_drained_loses_its_keys_on_all_gateways() {
    let store = StoreServer::start("redis").await;
    let (a, b) = (Backend::echo().await, Backend::echo().await);
    let route = ("", LEAST, "stick = \"live\"");
    let one = node("one", &store, &[&a, &b], route).await;
    let two = node("two", &store, &[&a, &b], route).await;
    let mut first = session(&one, "203.0.113.7", "/?k=ann").await.unwrap();
    let left = first.backend().await;
    let target = format!("/v1/upstreams/echo/backends/{left}");
    // Two does not know of the drain of one; only its own.
    let drained = two.admin("PATCH", &target, r#"{"state":"draining","pace":"1/h"}"#);
    assert_eq!(drained.status, 200, "{}", drained.body);
    let mut second = session(&two, "203.0.113.8", "/?k=ann").await.unwrap();
    let taken = second.backend().await;
    assert_ne!(taken, left);
    first.close().await;
    one.wait_until_idle().await;
    // One has no session of the key any more, and asks.
    let mut third = session(&one, "203.0.113.7", "/?k=ann").await.unwrap();
    assert_eq!(third.backend().await, taken);
    second.close().await;
    third.close().await;
}

async fn keeps(one: &Gateway, other: &Gateway, forgets: bool) {
    let mut client = session(one, "203.0.113.7", "/?k=ann").await.unwrap();
    let taken = client.backend().await;
    client.close().await;
    one.wait_until_idle().await;
    // Others come and go, so that the policy would choose differently.
    let mut differs = false;
    for n in 0..12 {
        let mut beside = session(other, "203.0.113.9", &format!("/?k=o{n}"))
            .await
            .unwrap();
        differs |= beside.backend().await != taken;
        let mut again = session(other, "203.0.113.7", "/?k=ann").await.unwrap();
        if !forgets {
            assert_eq!(again.backend().await, taken);
        }
        again.close().await;
        beside.close().await;
        other.wait_until_idle().await;
    }
    assert!(differs, "there was only one backend");
}

#[tokio::test]
async fn a_key_keeps_its_backend_after_its_last_session_where_the_route_says_so() {
    let (a, b, c) = (
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    );
    let route = "stick = \"live\"\nstick_for = \"10m\"";
    let backends = [a.address, b.address, c.address];
    let alone = format!("{PROXIED}{}", config::echo(&backends, LEAST, route));
    let alone = Gateway::start(&alone).await;
    keeps(&alone, &alone, false).await;
    for kind in ["redis", "memcached"] {
        let store = StoreServer::start(kind).await;
        let route = ("", LEAST, route);
        let one = node("one", &store, &[&a, &b, &c], route).await;
        let two = node("two", &store, &[&a, &b, &c], route).await;
        keeps(&one, &two, false).await;
    }
}

#[tokio::test]
async fn ordinary_requests_go_where_the_sessions_of_their_key_are() {
    let store = StoreServer::start("redis").await;
    let (a, b) = (Backend::echo().await, Backend::echo().await);
    let route = ("", LEAST, "stick = \"live\"\nstick_for = \"1m\"");
    let one = node("one", &store, &[&a, &b], route).await;
    let two = node("two", &store, &[&a, &b], route).await;
    let mut client = session(&one, "203.0.113.7", "/?k=ann").await.unwrap();
    let taken = client.backend().await;
    let (here, there) = match taken == a.address {
        true => (&a, &b),
        false => (&b, &a),
    };
    let untouched = there.seen().len();
    let before = here.seen().len();
    for _ in 0..4 {
        let proxied = "PROXY TCP4 203.0.113.9 127.0.0.1 1 80\r\n";
        let request = "GET /?k=ann HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let mut raw = Raw::connect(two.address()).await;
        raw.write(format!("{proxied}{request}")).await;
        assert_eq!(raw.status().await, Some(200));
    }
    assert_eq!(
        (here.seen().len(), there.seen().len()),
        (before + 4, untouched)
    );
    client.close().await;
}

/// Each gateway finds out by itself that a backend is gone, and the first one chooses for all.
#[tokio::test]
async fn sessions_of_a_key_reconnect_to_one_backend_on_all_gateways() {
    let store = StoreServer::start("redis").await;
    let mut backends = Vec::new();
    for _ in 0..5 {
        backends.push(Backend::echo().await);
    }
    let route = (
        "",
        LEAST,
        "stick = \"live\"\non_backend_loss = \"reconnect\"",
    );
    let all: Vec<_> = backends.iter().collect();
    let one = node("one", &store, &all, route).await;
    let two = node("two", &store, &all, route).await;
    let mut here = session(&one, "203.0.113.7", "/?k=ann").await.unwrap();
    let mut there = session(&two, "203.0.113.8", "/?k=ann").await.unwrap();
    let taken = here.backend().await;
    assert_eq!(there.backend().await, taken);
    let lost = backends.iter().position(|one| one.address == taken);
    backends
        .remove(lost.expect("it is one of them"))
        .stop()
        .await;
    for gateway in [&one, &two] {
        eventually("it has reconnected", async || {
            let sessions = gateway.sessions();
            sessions.len() == 1 && sessions[0]["resumes"] == 1
        })
        .await;
    }
    let next = here.backend().await;
    assert_ne!(next, taken);
    assert_eq!(there.backend().await, next);
    here.close().await;
    there.close().await;
}
