//! Quotas and rates that hold over the fleet.

use serde_json::json;

use super::*;
use crate::support::tokens;

async fn sessions_of_one_address_count_on_all_gateways(kind: &'static str) {
    let (store, backend) = (StoreServer::start(kind).await, Backend::echo().await);
    let limit = ("", "", "limits = { sessions_per_address = 2 }");
    let one = node("one", &store, &[&backend], limit).await;
    let two = node("two", &store, &[&backend], limit).await;
    let first = session(&one, "203.0.113.7", "/").await.unwrap();
    let second = session(&two, "203.0.113.7", "/").await.unwrap();
    let accepted = backend.accepted();
    for gateway in [&one, &two] {
        assert_eq!(session(gateway, "203.0.113.7", "/").await.err(), Some(429));
    }
    assert_eq!(backend.accepted(), accepted, "a refused client reached it");
    let other = session(&one, "203.0.113.8", "/").await.unwrap();
    other.close().await;
    // One that ends makes room on the other gateway.
    first.close().await;
    eventually("there is room again", async || {
        match session(&two, "203.0.113.7", "/").await {
            Ok(client) => {
                client.close().await;
                true
            }
            Err(status) => {
                assert_eq!(status, 429);
                false
            }
        }
    })
    .await;
    second.close().await;
    assert_eq!(decisions(&one, "sessions", "late"), 0.0);
    assert!(decisions(&two, "sessions", "shared") > 1.0);
}

#[tokio::test]
async fn sessions_of_one_address_count_on_all_gateways_by_redis() {
    sessions_of_one_address_count_on_all_gateways("redis").await;
}

#[tokio::test]
async fn sessions_of_one_address_count_on_all_gateways_by_memcached() {
    sessions_of_one_address_count_on_all_gateways("memcached").await;
}

/// A crowd comes to both gateways at once, and exactly as many get in as may.
async fn a_crowd_at_two_gateways_gets_exactly_what_there_is(kind: &'static str) {
    const MAX: usize = 15;
    let (store, backend) = (StoreServer::start(kind).await, Backend::echo().await);
    let limit = ("", "", "limits = { sessions_max = 15 }");
    let one = node("one", &store, &[&backend], limit).await;
    let two = node("two", &store, &[&backend], limit).await;
    let edges = [one.address(), two.address()];
    let crowd = (0..60_usize).map(|n| {
        let edge = edges[n % 2];
        tokio::spawn(async move { session_at(edge, &format!("203.0.113.{n}"), "/").await })
    });
    let (mut inside, mut refused) = (Vec::new(), 0);
    for client in crowd.collect::<Vec<_>>() {
        match client.await.expect("no panic") {
            Ok(client) => inside.push(client),
            Err(status) => {
                assert_eq!(status, 503);
                refused += 1;
            }
        }
    }
    for gateway in [&one, &two] {
        assert_eq!(decisions(gateway, "sessions", "late"), 0.0);
        assert_eq!(decisions(gateway, "sessions", "unavailable"), 0.0);
    }
    assert_eq!((inside.len(), refused), (MAX, 60 - MAX));
    for client in inside {
        client.close().await;
    }
}

#[tokio::test]
async fn a_crowd_at_two_gateways_gets_exactly_what_there_is_by_redis() {
    a_crowd_at_two_gateways_gets_exactly_what_there_is("redis").await;
}

#[tokio::test]
async fn a_crowd_at_two_gateways_gets_exactly_what_there_is_by_memcached() {
    a_crowd_at_two_gateways_gets_exactly_what_there_is("memcached").await;
}

async fn handshakes_count_on_all_gateways(kind: &'static str) {
    let (store, backend) = (StoreServer::start(kind).await, Backend::echo().await);
    let limit = ("", "", "limits = { handshakes_per_address = \"3/h\" }");
    let one = node("one", &store, &[&backend], limit).await;
    let two = node("two", &store, &[&backend], limit).await;
    for gateway in [&one, &two, &one] {
        let client = session(gateway, "203.0.113.7", "/").await.unwrap();
        client.close().await;
    }
    for gateway in [&one, &two] {
        assert_eq!(session(gateway, "203.0.113.7", "/").await.err(), Some(429));
    }
    let client = session(&two, "203.0.113.8", "/").await.unwrap();
    client.close().await;
}

#[tokio::test]
async fn handshakes_count_on_all_gateways_by_redis() {
    handshakes_count_on_all_gateways("redis").await;
}

#[tokio::test]
async fn handshakes_count_on_all_gateways_by_memcached() {
    handshakes_count_on_all_gateways("memcached").await;
}

/// With TLS, a password, and no more rights than the documentation names.
async fn i11_a_store_may_be_guarded(kind: &'static str) {
    let (store, backend) = (
        StoreServer::start_guarded(kind).await,
        Backend::echo().await,
    );
    let limit = (
        "",
        "",
        "limits = { sessions_per_address = 1, handshakes_per_address = \"100/h\" }\n\
         stick = \"live\"\nstick_for = \"1m\"",
    );
    let one = node("one", &store, &[&backend], limit).await;
    let two = node("two", &store, &[&backend], limit).await;
    let client = session(&one, "203.0.113.7", "/?k=a").await.unwrap();
    assert_eq!(session(&two, "203.0.113.7", "/?k=a").await.err(), Some(429));
    client.close().await;
    eventually("there is room again", async || {
        match session(&two, "203.0.113.7", "/?k=a").await {
            Ok(client) => {
                client.close().await;
                true
            }
            Err(_) => false,
        }
    })
    .await;
    for gateway in [&one, &two] {
        let shown = gateway.get("/v1/config").to_string();
        assert!(!shown.contains("s3cret-of-the-store"), "{shown}");
        assert!(!gateway.log().contains("s3cret-of-the-store"));
    }
}

#[tokio::test]
async fn i11_redis_may_be_guarded() {
    i11_a_store_may_be_guarded("redis").await;
}

#[tokio::test]
async fn i11_memcached_may_be_guarded() {
    i11_a_store_may_be_guarded("memcached").await;
}

#[tokio::test]
async fn a_route_may_count_on_each_gateway_alone() {
    let (store, backend) = (StoreServer::start("redis").await, Backend::echo().await);
    let limit = (
        "",
        "",
        "scope = \"node\"\nlimits = { sessions_per_address = 1 }",
    );
    let one = node("one", &store, &[&backend], limit).await;
    let two = node("two", &store, &[&backend], limit).await;
    let first = session(&one, "203.0.113.7", "/").await.unwrap();
    let second = session(&two, "203.0.113.7", "/").await.unwrap();
    assert_eq!(session(&one, "203.0.113.7", "/").await.err(), Some(429));
    assert_eq!(decisions(&one, "sessions", "shared"), 0.0);
    first.close().await;
    second.close().await;
}

/// A gateway dies without a word, and its sessions stop to count when its lease ends.
async fn a_dead_gateway_does_not_count_for_longer_than_its_lease(kind: &'static str) {
    let (store, backend) = (StoreServer::start(kind).await, Backend::echo().await);
    let limit = (
        "lease = \"3s\"",
        "",
        "limits = { sessions_per_address = 1 }",
    );
    let mut one = node("one", &store, &[&backend], limit).await;
    let two = node("two", &store, &[&backend], limit).await;
    let mut first = session(&one, "203.0.113.7", "/").await.unwrap();
    first.echo("lives").await;
    assert_eq!(session(&two, "203.0.113.7", "/").await.err(), Some(429));
    one.signal(rustix::process::Signal::KILL);
    one.wait_for_exit().await;
    eventually("its share is gone", async || {
        match session(&two, "203.0.113.7", "/").await {
            Ok(client) => {
                client.close().await;
                true
            }
            Err(status) => {
                assert_eq!(status, 429);
                false
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_dead_gateway_does_not_count_for_longer_than_its_lease_by_redis() {
    a_dead_gateway_does_not_count_for_longer_than_its_lease("redis").await;
}

#[tokio::test]
async fn a_dead_gateway_does_not_count_for_longer_than_its_lease_by_memcached() {
    a_dead_gateway_does_not_count_for_longer_than_its_lease("memcached").await;
}

/// Subjects that would be words of a command, if they came into one. Those with control characters
/// are no principals at all.
async fn i12_hostile_subjects_are_counted_and_harm_nothing(kind: &'static str) {
    let (store, backend) = (StoreServer::start(kind).await, Backend::echo().await);
    let users = format!(
        "authenticate = [\"users\"]\nlimits = {{ sessions_per_principal = 1 }}\n\
         [authenticators.users]\ntype = \"jwt\"\nsecret = \"{}\"\nfrom = [\"query:token\"]",
        tokens::SECRET
    );
    let one = node("one", &store, &[&backend], ("", "", &users)).await;
    let two = node("two", &store, &[&backend], ("", "", &users)).await;
    let long = "x".repeat(512);
    let subjects = [
        "a b c",
        "$8 FLUSHALL",
        "x T0 C1",
        "..:sessions:*",
        "\u{fc}\u{4e2d}",
        &long,
    ];
    let mut inside = Vec::new();
    for subject in subjects {
        let token = tokens::token(&tokens::claims(subject));
        let target = format!("/?token={token}");
        inside.push(session(&one, "203.0.113.7", &target).await);
        assert_eq!(session(&two, "203.0.113.7", &target).await.err(), Some(429));
    }
    for client in inside {
        client.expect("each is another one").close().await;
    }
    let status = one.get("/v1/status");
    assert_eq!(status["state"]["connects"], json!(1), "{status}");
}

#[tokio::test]
async fn i12_hostile_subjects_are_counted_and_harm_nothing_in_redis() {
    i12_hostile_subjects_are_counted_and_harm_nothing("redis").await;
}

#[tokio::test]
async fn i12_hostile_subjects_are_counted_and_harm_nothing_in_memcached() {
    i12_hostile_subjects_are_counted_and_harm_nothing("memcached").await;
}

#[tokio::test]
async fn shares_go_along_when_another_process_takes_over() {
    let (store, backend) = (StoreServer::start("redis").await, Backend::echo().await);
    let limit = ("", "", "limits = { sessions_per_address = 1 }");
    let echo = config::echo(&[backend.address], "", limit.2);
    let text = format!(
        "{}{PROXIED}{echo}",
        store.config("decision_timeout = \"1s\"")
    );
    let mut one = Gateway::start_with_handover(&text).await;
    wait_for_store(&one, true).await;
    let two = node("two", &store, &[&backend], limit).await;
    let mut client = session(&one, "203.0.113.7", "/").await.unwrap();
    let next = one.succeed().await;
    assert!(one.wait_for_exit().await.success());
    client.echo("goes on").await;
    wait_for_store(&next, true).await;
    assert_eq!(next.sessions_live(), 1);
    // The new process writes its share when it has the session.
    eventually("the session counts there", async || {
        match session(&two, "203.0.113.7", "/").await {
            Ok(client) => {
                client.close().await;
                false
            }
            Err(status) => status == 429,
        }
    })
    .await;
    client.close().await;
    eventually("there is room again", async || {
        match session(&two, "203.0.113.7", "/").await {
            Ok(client) => {
                client.close().await;
                true
            }
            Err(_) => false,
        }
    })
    .await;
}
