//! Waking up gently: backends that appear or recover, gateways that just started.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Backend, Client, Dial, Gateway, config, eventually};

/// Where the next session of each key would go.
fn places(gateway: &Gateway, keys: std::ops::Range<u32>) -> Vec<Value> {
    let place = |key: u32| {
        let body = json!({"url": format!("ws://localhost/?k={key}")});
        gateway
            .admin("POST", "/v1/resolve", &body.to_string())
            .json()["choice"]
            .clone()
    };
    keys.map(place).collect()
}

fn held(places: &[Value], backend: SocketAddr) -> Vec<usize> {
    let id = json!(backend.to_string());
    (0..places.len())
        .filter(|place| places[*place]["backend"] == id)
        .collect()
}

#[tokio::test]
async fn i3_a_backend_that_returns_gets_its_keys_back_bit_by_bit_and_then_all_of_them() {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let upstream = "slow_start = \"4s\"\nprobe = { type = \"http\", path = \"/healthz\", \
        interval = \"50ms\", timeout = \"2s\", rise = 1, fall = 1 }\npanic_threshold = 0.0";
    let text = config::echo(&[one.address, two.address], upstream, "");
    let gateway = Gateway::start(&text).await;
    gateway
        .wait_for_health("echo", one.address, "healthy")
        .await;
    gateway
        .wait_for_health("echo", two.address, "healthy")
        .await;
    let before = held(&places(&gateway, 0..100), two.address);
    assert!(before.len() > 20, "awake from the start: {before:?}");
    two.set_healthy(false);
    gateway
        .wait_for_health("echo", two.address, "unhealthy")
        .await;
    assert!(held(&places(&gateway, 0..100), two.address).is_empty());
    two.set_healthy(true);
    gateway
        .wait_for_health("echo", two.address, "healthy")
        .await;
    let shown = places(&gateway, 0..100);
    let early = held(&shown, two.address);
    assert!(early.len() < before.len(), "not all of its keys at once");
    assert!(early.iter().all(|key| before.contains(key)), "only its own");
    let passed = shown
        .iter()
        .any(|choice| choice["walk"][0]["verdict"] == "slow_start");
    assert!(passed, "the walk says why");
    assert!(
        gateway.backend("echo", two.address)["awake"]
            .as_f64()
            .unwrap()
            < 1.0
    );
    let mut seen = early.len();
    eventually("it has its keys again, and exactly those", async || {
        let now = held(&places(&gateway, 0..100), two.address);
        assert!(now.iter().all(|key| before.contains(key)), "only its own");
        assert!(now.len() >= seen, "keys do not go back and forth");
        seen = now.len();
        now == before
    })
    .await;
}

#[tokio::test]
async fn a_newcomer_among_least_sessions_is_not_stormed() {
    let (one, new) = (Backend::echo().await, Backend::echo().await);
    let upstream = "policy = \"least_sessions\"\nslow_start = \"1h\"";
    let gateway = Gateway::start(&config::echo(&[one.address], upstream, "")).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Client::connect(gateway.address(), "/").await);
    }
    gateway.write_config(&config::echo(&[one.address, new.address], upstream, ""));
    assert_eq!(gateway.reload().status, 200);
    for _ in 0..20 {
        clients.push(Client::connect(gateway.address(), "/").await);
    }
    let sessions = gateway.backend("echo", new.address)["sessions"]
        .as_u64()
        .unwrap();
    assert!(sessions <= 2, "{sessions} of 20 went to the newcomer");
    for client in clients {
        client.close().await;
    }
}

#[tokio::test]
async fn a_gateway_that_just_started_lets_sessions_in_by_its_ramp() {
    let backend = Backend::echo().await;
    let ramp = "[admission]\nramp = \"3s\"\nfrom = \"5/s\"\nto = \"10/s\"\n\n";
    let text = format!("{ramp}{}", config::echo(&[backend.address], "", ""));
    let gateway = Gateway::start(&text).await;
    let start = Instant::now();
    let (mut clients, mut refused) = (Vec::new(), 0);
    while start.elapsed() < Duration::from_millis(1_500) {
        match Dial::new("/").connect(gateway.address()).await {
            Ok(client) => clients.push(client),
            Err(answer) => {
                assert_eq!(answer.status, 503);
                let wait: u64 = answer.headers["retry-after"]
                    .to_str()
                    .unwrap()
                    .parse()
                    .unwrap();
                assert!((1..=3).contains(&wait), "{wait}");
                refused += 1;
            }
        }
    }
    eprintln!("{} let in, {refused} sent away in 1.5 s", clients.len());
    assert!((2..=30).contains(&clients.len()), "{}", clients.len());
    assert!(refused > 0);
    let counted = gateway.metric("sessile_refusals_total", &["reason=\"admission_ramp\""]);
    assert!((counted - f64::from(refused)).abs() < 0.5, "{counted}");
    eventually("the ramp is over", async || {
        let mut crowd = Vec::new();
        for _ in 0..30 {
            match Dial::new("/").connect(gateway.address()).await {
                Ok(client) => crowd.push(client),
                Err(_) => return false,
            }
        }
        true
    })
    .await;
}
