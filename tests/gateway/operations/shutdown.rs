//! How a gateway ends.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::support::{Backend, Client, Gateway, config, eventually};

fn with_grace(backend: &Backend, grace: &str) -> String {
    format!(
        "[shutdown]\ngrace = \"{grace}\"\n\n{}",
        config::echo(&[backend.address], "", "")
    )
}

#[tokio::test]
async fn sigterm_closes_sessions_with_1001_spread_over_the_grace() {
    let backend = Backend::echo().await;
    let mut gateway = Gateway::start(&with_grace(&backend, "2s")).await;
    let mut ends = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let mut client = Client::connect(gateway.address(), "/").await;
        client.echo("before").await;
        ends.spawn(async move { (client.end().await, Instant::now()) });
    }
    let start = Instant::now();
    gateway.signal(Signal::TERM);
    eventually("no new connections", async || {
        TcpStream::connect(gateway.address()).await.is_err()
    })
    .await;
    assert_eq!(gateway.admin("GET", "/readyz", "").status, 503);
    assert_eq!(gateway.admin("GET", "/livez", "").status, 200);
    let mut times = Vec::new();
    while let Some(end) = ends.join_next().await {
        let (end, at) = end.unwrap();
        let (code, reason) = end.expect("a close frame");
        assert_eq!(code, 1001);
        assert!(!reason.is_empty());
        times.push(at - start);
    }
    times.sort();
    // Even over two seconds: no quarter of the time has more than half of the sessions.
    for quarter in 0..4_u32 {
        let range =
            Duration::from_millis(500) * quarter..Duration::from_millis(500) * (quarter + 1);
        let within = times.iter().filter(|&time| range.contains(time)).count();
        assert!(within <= 50, "{within} of 100 sessions between {range:?}");
    }
    assert!(
        times[99] > Duration::from_millis(1000),
        "all were closed at once: {:?}",
        times[99]
    );
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
    let records = gateway.records();
    assert_eq!(records.len(), 100, "i6: a record for each");
    for record in records {
        assert_eq!(
            (record.ended_by.as_str(), record.close_code),
            ("gateway", Some(1001))
        );
    }
}

#[tokio::test]
async fn a_gateway_without_sessions_does_not_wait_for_its_grace() {
    let backend = Backend::echo().await;
    let mut gateway = Gateway::start(&with_grace(&backend, "30s")).await;
    let start = Instant::now();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_with_another_exit_code() {
    let backend = Backend::echo().await;
    let mut gateway = Gateway::start(&with_grace(&backend, "60s")).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Client::connect(gateway.address(), "/").await);
    }
    gateway.signal(Signal::TERM);
    eventually("it is shutting down", async || {
        gateway.admin("GET", "/readyz", "").status == 503
    })
    .await;
    let start = Instant::now();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait_for_exit().await.code(), Some(1));
    assert!(start.elapsed() < Duration::from_secs(3));
    // I6: however it ends, each session leaves its record.
    assert_eq!(gateway.wait_for_records(20).await.len(), 20);
}

#[tokio::test]
async fn a_client_that_does_not_answer_the_close_does_not_hold_the_gateway() {
    let backend = Backend::echo().await;
    let text = format!(
        "[shutdown]\ngrace = \"200ms\"\n\n{}",
        config::echo(&[backend.address], "", "timeouts = { close = \"500ms\" }")
    );
    let mut gateway = Gateway::start(&text).await;
    let _mute = crate::support::Raw::upgrade(gateway.address()).await;
    let start = Instant::now();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(4));
    assert_eq!(gateway.records().len(), 1);
}

#[tokio::test]
async fn readiness_ends_before_the_first_client_is_refused() {
    let backend = Backend::echo().await;
    let text = format!(
        "[shutdown]\ndelay = \"60s\"\ngrace = \"300ms\"\n\n{}",
        config::echo(&[backend.address], "", "")
    );
    let mut gateway = Gateway::start(&text).await;
    let mut before = Client::connect(gateway.address(), "/").await;
    gateway.signal(Signal::TERM);
    eventually("it is not ready", async || {
        gateway.admin("GET", "/readyz", "").status == 503
    })
    .await;
    assert_eq!(gateway.get("/v1/status")["phase"], "leaving");
    // Balancers in front have not noticed yet, and no client suffers.
    let mut late = Client::connect(gateway.address(), "/").await;
    late.echo("still served").await;
    before.echo("and so is this").await;
    // Another signal ends the wait.
    gateway.signal(Signal::TERM);
    for client in [&mut before, &mut late] {
        assert_eq!(client.end().await.map(|(code, _)| code), Some(1001));
    }
    // The gateway waits for a connection that stays open, and then cuts it.
    drop((before, late));
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
}

#[tokio::test]
async fn idle_sessions_go_first_and_a_pace_ends_with_the_grace() {
    let backend = Backend::echo().await;
    let text = format!(
        "[shutdown]\ngrace = \"2s\"\npace = \"5/s\"\n\n{}",
        config::echo(&[backend.address], "", "")
    );
    let mut gateway = Gateway::start(&text).await;
    let mut ends = tokio::task::JoinSet::new();
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(Client::connect(gateway.address(), "/").await);
    }
    // Idle times are counted in tenths of a second.
    gateway
        .wait_until_sessions_idle(clients.len(), "300ms")
        .await;
    for (place, mut client) in clients.into_iter().enumerate() {
        // Those that came first.
        let busy = place < 20;
        if busy {
            client.echo("not idle").await;
        }
        ends.spawn(async move { (busy, client.end().await, Instant::now()) });
    }
    let start = Instant::now();
    gateway.signal(Signal::TERM);
    let mut all = Vec::new();
    while let Some(end) = ends.join_next().await {
        let (busy, end, at) = end.unwrap();
        assert_eq!(end.map(|(code, _)| code), Some(1001));
        all.push((at - start, busy));
    }
    all.sort();
    let times: Vec<_> = all.iter().map(|(time, _)| *time).collect();
    crate::support::shell::histogram(
        "stopped at 5/s within 2s",
        &times,
        Duration::from_millis(250),
    );
    let early = all
        .iter()
        .filter(|(time, _)| *time < Duration::from_millis(1_500));
    let early: Vec<_> = early.collect();
    assert!(
        (3..=20).contains(&early.len()),
        "5 a second: {}",
        early.len()
    );
    assert!(early.iter().all(|(_, busy)| !busy), "the idle ones first");
    assert!(
        all[39].0 >= Duration::from_millis(1_500),
        "the rest at the end of the grace"
    );
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
}
