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
async fn a_second_signal_ends_it_at_once_and_the_exit_code_tells() {
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
