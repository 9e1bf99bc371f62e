//! The store dies, hangs, comes back: no client is refused because of it, and none waits.

use std::time::Instant;

use rustix::process::Signal;

use super::*;

const LIMIT: (&str, &str, &str) = (
    "lease = \"3s\"\ndecision_timeout = \"50ms\"",
    "",
    "limits = { sessions_per_address = 2, handshakes_per_address = \"1000/h\" }\n\
     stick = \"live\"",
);

async fn i5_a_store_that_dies_refuses_nobody(kind: &'static str) {
    let (mut store, backend) = (StoreServer::start(kind).await, Backend::echo().await);
    let one = node("one", &store, &[&backend], LIMIT).await;
    let two = node("two", &store, &[&backend], LIMIT).await;
    let mut first = session(&one, "203.0.113.7", "/?k=a").await.unwrap();
    let mut second = session(&two, "203.0.113.7", "/?k=a").await.unwrap();
    assert_eq!(session(&one, "203.0.113.7", "/?k=a").await.err(), Some(429));
    store.kill();
    wait_for_store(&one, false).await;
    wait_for_store(&two, false).await;
    // Each gateway counts alone: one more here, and no third.
    let third = session(&one, "203.0.113.7", "/?k=a").await.unwrap();
    assert_eq!(session(&one, "203.0.113.7", "/?k=a").await.err(), Some(429));
    first.echo("lives").await;
    second.echo("lives").await;
    assert!(decisions(&one, "sessions", "unavailable") >= 1.0);
    let status = one.get("/v1/status");
    assert_eq!(status["state"]["connected"], false, "{status}");
    assert!(status["state"]["error"].is_string(), "{status}");
    let findings = one.get("/v1/findings").to_string();
    assert!(findings.contains("state_lost"), "{findings}");
    // It is back with nothing in it, and learns what there is.
    store.start_again().await;
    wait_for_store(&one, true).await;
    wait_for_store(&two, true).await;
    third.close().await;
    first.close().await;
    one.wait_until_idle().await;
    eventually("the fleet has one, and room for one", async || {
        let Ok(client) = session(&one, "203.0.113.7", "/?k=a").await else {
            return false;
        };
        let refused = session(&two, "203.0.113.7", "/?k=a").await.err();
        client.close().await;
        refused == Some(429)
    })
    .await;
    second.close().await;
    eventually("both are in the history", async || {
        let kinds = ["state_lost", "state_connected"];
        kinds.iter().all(|kind| {
            let events = one.get(&format!("/v1/history?kind={kind}"));
            !events["items"].as_array().expect("a list").is_empty()
        })
    })
    .await;
}

#[tokio::test]
async fn i5_redis_may_die_and_nobody_is_refused() {
    i5_a_store_that_dies_refuses_nobody("redis").await;
}

#[tokio::test]
async fn i5_memcached_may_die_and_nobody_is_refused() {
    i5_a_store_that_dies_refuses_nobody("memcached").await;
}

/// A store that hangs: at most those who ask at that moment wait for the bound, and no longer.
async fn i5_a_store_that_hangs_delays_nobody_for_long(kind: &'static str) {
    let (store, backend) = (StoreServer::start(kind).await, Backend::echo().await);
    let one = node("one", &store, &[&backend], LIMIT).await;
    store.signal(Signal::STOP);
    let mut late = Vec::new();
    for n in 0..40 {
        let began = Instant::now();
        let client = session(&one, &format!("203.0.113.{n}"), "/?k=b").await;
        client.unwrap().close().await;
        late.push(began.elapsed());
    }
    // Three stages ask, and the first of them closes the way for all who follow.
    let outcomes = ["sessions", "handshakes", "stick"];
    let late_ones: f64 = outcomes
        .iter()
        .map(|one_of| decisions(&one, one_of, "late"))
        .sum();
    assert!(
        (1.0..=3.0).contains(&late_ones),
        "{late_ones} waited: {late:?}"
    );
    wait_for_store(&one, false).await;
    let unavailable = decisions(&one, "sessions", "unavailable");
    assert!(unavailable >= 39.0, "{unavailable}");
    store.signal(Signal::CONT);
    wait_for_store(&one, true).await;
    // A busy machine may answer one of them too late, too.
    let shared = decisions(&one, "sessions", "shared");
    eventually("sessions are counted together again", async || {
        let client = session(&one, "203.0.113.7", "/?k=b").await.unwrap();
        client.close().await;
        decisions(&one, "sessions", "shared") > shared
    })
    .await;
}

#[tokio::test]
async fn i5_redis_may_hang_and_delays_nobody_for_long() {
    i5_a_store_that_hangs_delays_nobody_for_long("redis").await;
}

#[tokio::test]
async fn i5_memcached_may_hang_and_delays_nobody_for_long() {
    i5_a_store_that_hangs_delays_nobody_for_long("memcached").await;
}

/// Clients connect all the time while the store is killed, stopped and started: none is refused.
async fn i5_clients_connect_whatever_happens_to_the_store(kind: &'static str) {
    let (mut store, backend) = (StoreServer::start(kind).await, Backend::echo().await);
    let one = node("one", &store, &[&backend], LIMIT).await;
    let edge = one.address();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let clients = tokio::spawn(async move {
        let mut count = 0_u32;
        while stopped.try_recv().is_err() {
            let address = format!("198.51.{}.{}", count / 250 % 250, count % 250);
            let client = session_at(edge, &address, &format!("/?k={}", count % 7)).await;
            client.expect("nobody is refused").close().await;
            count += 1;
        }
        count
    });
    for _ in 0..2 {
        store.kill();
        wait_for_store(&one, false).await;
        store.start_again().await;
        wait_for_store(&one, true).await;
        store.signal(Signal::STOP);
        wait_for_store(&one, false).await;
        store.signal(Signal::CONT);
        wait_for_store(&one, true).await;
    }
    stop.send(()).expect("they connect still");
    let count = clients.await.expect("nobody is refused");
    assert!(count > 4, "{count}");
}

#[tokio::test]
async fn i5_clients_connect_whatever_happens_to_redis() {
    i5_clients_connect_whatever_happens_to_the_store("redis").await;
}

#[tokio::test]
async fn i5_clients_connect_whatever_happens_to_memcached() {
    i5_clients_connect_whatever_happens_to_the_store("memcached").await;
}

#[tokio::test]
async fn i5_a_gateway_starts_without_its_store() {
    let (mut store, backend) = (StoreServer::start("redis").await, Backend::echo().await);
    store.kill();
    let echo = config::echo(&[backend.address], "", LIMIT.2);
    let text = format!("{}{PROXIED}{echo}", store.config(""));
    let one = Gateway::start(&text).await;
    let began = Instant::now();
    let client = session(&one, "203.0.113.7", "/?k=a").await.unwrap();
    client.close().await;
    assert!(began.elapsed() < Duration::from_secs(5), "it waited");
    assert_eq!(decisions(&one, "sessions", "late"), 0.0);
    store.start_again().await;
    wait_for_store(&one, true).await;
}
