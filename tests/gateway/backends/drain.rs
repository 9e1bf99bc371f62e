//! Draining a backend: by an operator, by the configuration, by its going; what clients see, and
//! how the closes are spread.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::shell::{histogram, sessile};
use crate::support::{Backend, Client, Gateway, config, eventually};

/// SessionEnds of clients: code, reason and when.
type SessionEnds = JoinSet<(Option<(u16, String)>, Instant)>;

/// So many clients whose key is at this backend; they wait for their ends.
async fn clients_at(gateway: &Gateway, backend: SocketAddr, count: usize) -> SessionEnds {
    let mut ends = JoinSet::new();
    let mut key = 0;
    while ends.len() < count {
        key += 1;
        let mut client = Client::connect(gateway.address(), &format!("/?k={key}")).await;
        if client.backend().await != backend {
            client.close().await;
            continue;
        }
        ends.spawn(async move { (client.end().await, Instant::now()) });
    }
    ends
}

async fn times(mut ends: SessionEnds, start: Instant) -> Vec<Duration> {
    let mut times = Vec::new();
    while let Some(end) = ends.join_next().await {
        let (end, at) = end.unwrap();
        assert_eq!(end, Some((1012, "backend is draining".to_owned())));
        times.push(at - start);
    }
    times.sort();
    times
}

fn patch(gateway: &Gateway, backend: SocketAddr, change: &Value) -> Value {
    let target = format!("/v1/upstreams/echo/backends/{backend}");
    let answer = gateway.admin("PATCH", &target, &change.to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// A gateway with two backends.
async fn pair(upstream: &str) -> (Backend, Backend, Gateway) {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let text = config::echo(&[one.address, two.address], upstream, "");
    let gateway = Gateway::start(&text).await;
    (one, two, gateway)
}

#[tokio::test]
async fn a_pace_spreads_the_closes_and_each_client_sees_one_1012() {
    let (one, two, gateway) = pair("").await;
    let ends = clients_at(&gateway, one.address, 60).await;
    let mut stays = clients_at(&gateway, two.address, 1).await;
    let start = Instant::now();
    let shown = patch(
        &gateway,
        one.address,
        &json!({"state": "draining", "pace": "20/s"}),
    );
    assert_eq!(shown["state"], "draining");
    assert_eq!(shown["ordered"], "draining");
    assert_eq!(shown["configured"], "active");
    assert_eq!(shown["drain"]["pace"], "20/s");
    // New sessions go elsewhere at once.
    for key in 0..20 {
        let mut client = Client::connect(gateway.address(), &format!("/?k={key}")).await;
        assert_eq!(client.backend().await, two.address);
        client.close().await;
    }
    eventually("the end can be foreseen", async || {
        let drain = gateway.backend("echo", one.address)["drain"].clone();
        drain["seconds_left"].as_f64().unwrap_or(0.0) > 0.1 && drain["ends"].is_string()
    })
    .await;
    let times = times(ends, start).await;
    let counts = histogram("drained at 20/s", &times, Duration::from_millis(250));
    assert!(times[59] > Duration::from_millis(2_000), "too fast");
    assert!(times[59] < Duration::from_millis(8_000), "too slow");
    assert!(
        counts.iter().all(|count| *count <= 25),
        "at once: {counts:?}"
    );
    eventually("it is done", async || {
        gateway.backend("echo", one.address)["drain"]["state"] == "done"
    })
    .await;
    let drain = gateway.backend("echo", one.address)["drain"].clone();
    assert_eq!(
        (&drain["closed"], &drain["total"]),
        (&json!(60), &json!(60))
    );
    let drained = gateway.metric("sessile_drained_sessions_total", &["how=\"closed\""]);
    assert!((drained - 60.0).abs() < 0.5, "{drained}");
    // The neighbour's session is not affected.
    assert!(stays.try_join_next().is_none());
    stays.shutdown().await;
    for record in gateway
        .records()
        .iter()
        .filter(|one| one.ended_by == "gateway")
    {
        assert_eq!((&*record.cause, record.close_code), ("drained", Some(1012)));
    }
}

#[tokio::test]
async fn idle_sessions_leave_first_and_the_rest_at_the_deadline() {
    let backend = Backend::echo().await;
    let upstream = "drain = { pace = \"5/s\", deadline = \"3s\" }";
    let gateway = Gateway::start(&config::echo(&[backend.address], upstream, "")).await;
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(Client::connect(gateway.address(), "/").await);
    }
    // Idle times are counted in tenths of a second.
    gateway
        .wait_until_sessions_idle(clients.len(), "300ms")
        .await;
    let mut ends = JoinSet::new();
    for (place, mut client) in clients.into_iter().enumerate() {
        // Those that came first.
        let busy = place < 20;
        if busy {
            client.echo("not idle").await;
        }
        ends.spawn(async move { (busy, client.end().await, Instant::now()) });
    }
    let start = Instant::now();
    patch(&gateway, backend.address, &json!({"state": "draining"}));
    let mut all = Vec::new();
    while let Some(end) = ends.join_next().await {
        let (busy, end, at) = end.unwrap();
        assert_eq!(end.map(|(code, _)| code), Some(1012));
        all.push((at - start, busy));
    }
    all.sort();
    let times: Vec<_> = all.iter().map(|(time, _)| *time).collect();
    histogram(
        "drained at 5/s within 3s",
        &times,
        Duration::from_millis(250),
    );
    let soon = |(time, _): &&(Duration, bool)| *time < Duration::from_secs(2);
    let early: Vec<_> = all.iter().filter(soon).collect();
    assert!((3..=20).contains(&early.len()), "5/s: {}", early.len());
    assert!(early.iter().all(|(_, busy)| !busy), "the idle ones first");
    assert!(
        times[39] > Duration::from_secs(2),
        "the rest at the deadline"
    );
    assert!(times[39] < Duration::from_secs(6), "{:?}", times[39]);
}

#[tokio::test]
async fn a_deadline_can_be_ordered_while_it_drains() {
    let (one, _two, gateway) = pair("").await;
    let ends = clients_at(&gateway, one.address, 20).await;
    let slow = json!({"state": "draining", "within": "1h"});
    patch(&gateway, one.address, &slow);
    patch(&gateway, one.address, &json!({"deadline": "100ms"}));
    assert_eq!(times(ends, Instant::now()).await.len(), 20);
}

#[tokio::test]
async fn i1_a_drain_and_its_order_outlive_reloads_and_others_notice_nothing() {
    let (one, two, gateway) = pair("").await;
    let mut moved = clients_at(&gateway, one.address, 10).await;
    let mut stay = clients_at(&gateway, two.address, 10).await;
    patch(
        &gateway,
        one.address,
        &json!({"state": "draining", "within": "1h", "paused": true}),
    );
    let generation = gateway.generation();
    for attempts in [4, 5] {
        let upstream = format!("attempts = {attempts}");
        gateway.write_config(&config::echo(&[one.address, two.address], &upstream, ""));
        assert_eq!(gateway.reload().status, 200);
    }
    assert_eq!(gateway.generation(), generation + 2);
    let shown = gateway.backend("echo", one.address);
    assert_eq!(
        (&shown["state"], &shown["ordered"]),
        (&json!("draining"), &json!("draining"))
    );
    assert_eq!(shown["drain"]["state"], "paused");
    assert_eq!(shown["drain"]["pace"], "within 1h");
    assert!(moved.try_join_next().is_none() && stay.try_join_next().is_none());
    // Without the backend, and with it again: the order still holds.
    for members in [&[two.address][..], &[one.address, two.address]] {
        gateway.write_config(&config::echo(members, "attempts = 5", ""));
        assert_eq!(gateway.reload().status, 200);
    }
    assert_eq!(gateway.backend("echo", one.address)["state"], "draining");
    assert!(
        moved.try_join_next().is_none(),
        "I1: whoever was there still is"
    );
    moved.shutdown().await;
    stay.shutdown().await;
}

#[tokio::test]
async fn i3_a_drain_can_be_held_changed_and_undone() {
    let (one, two, gateway) = pair("").await;
    let mut before = Client::connect(gateway.address(), "/?k=probe").await;
    let home = before.backend().await;
    before.close().await;
    let ends = clients_at(&gateway, home, 30).await;
    patch(
        &gateway,
        home,
        &json!({"state": "draining", "pace": "10/s"}),
    );
    let left = async || gateway.backend("echo", home)["sessions"].as_u64().unwrap();
    eventually("some sessions end", async || left().await < 28).await;
    patch(&gateway, home, &json!({"paused": true}));
    let held = left().await;
    // The clock: another drain at this pace, which is not held.
    let other = if home == one.address {
        two.address
    } else {
        one.address
    };
    let clock = clients_at(&gateway, other, 10).await;
    patch(
        &gateway,
        other,
        &json!({"state": "draining", "pace": "10/s"}),
    );
    times(clock, Instant::now() - Duration::from_secs(60)).await;
    patch(&gateway, other, &json!({"state": "active"}));
    assert!(held - left().await <= 2, "sessions ended while it was held");
    assert_eq!(
        gateway.backend("echo", home)["drain"]["seconds_left"],
        Value::Null
    );
    patch(&gateway, home, &json!({"paused": false, "pace": "1000/s"}));
    eventually("all are gone", async || left().await == 0).await;
    assert_eq!(
        times(ends, Instant::now() - Duration::from_secs(60))
            .await
            .len(),
        30
    );
    let mut elsewhere = Client::connect(gateway.address(), "/?k=probe").await;
    assert_eq!(elsewhere.backend().await, other);
    let shown = patch(&gateway, home, &json!({"state": "active"}));
    assert_eq!(
        (&shown["ordered"], &shown["drain"]),
        (&Value::Null, &Value::Null)
    );
    let mut again = Client::connect(gateway.address(), "/?k=probe").await;
    assert_eq!(again.backend().await, home, "its own keys, as before");
    elsewhere.close().await;
    again.close().await;
}

#[tokio::test]
async fn the_configuration_drains_and_an_operator_may_say_otherwise() {
    let upstream = "drain = { within = \"300ms\" }";
    let (one, two, gateway) = pair(upstream).await;
    let ends = clients_at(&gateway, one.address, 5).await;
    let draining = config::echo(&[two.address], upstream, "").replace(
        "backends = [",
        &format!(
            "backends = [{{ address = \"{}\", state = \"draining\" }}, ",
            one.address
        ),
    );
    gateway.write_config(&draining);
    assert_eq!(gateway.reload().status, 200);
    times(ends, Instant::now() - Duration::from_secs(60)).await;
    let shown = gateway.backend("echo", one.address);
    assert_eq!(shown["drain"]["by"], "configuration");
    assert_eq!(
        (&shown["configured"], &shown["ordered"]),
        (&json!("draining"), &Value::Null)
    );
    let shown = patch(&gateway, one.address, &json!({"state": "active"}));
    assert_eq!(
        (&shown["state"], &shown["ordered"]),
        (&json!("active"), &json!("active"))
    );
    let mut stays = clients_at(&gateway, one.address, 1).await;
    let shown = patch(&gateway, one.address, &json!({"state": "configured"}));
    assert_eq!(
        (&shown["state"], &shown["ordered"]),
        (&json!("draining"), &Value::Null)
    );
    let (end, _) = stays.join_next().await.unwrap().unwrap();
    assert_eq!(end.map(|(code, _)| code), Some(1012));
}

#[tokio::test]
async fn a_backend_that_leaves_its_upstream_keeps_its_sessions_by_default() {
    for (rule, drained) in [("keep", false), ("drain", true)] {
        let upstream = format!("drain = {{ within = \"300ms\", on_removal = \"{rule}\" }}");
        let (one, two, gateway) = pair(&upstream).await;
        let mut ends = clients_at(&gateway, one.address, 3).await;
        gateway.write_config(&config::echo(&[two.address], &upstream, ""));
        assert_eq!(gateway.reload().status, 200);
        if drained {
            times(ends, Instant::now() - Duration::from_secs(60)).await;
            eventually("the drain is over", async || {
                gateway.get("/v1/upstreams/echo")["removed"] == json!([])
            })
            .await;
        } else {
            let removed = &gateway.get("/v1/upstreams/echo")["removed"][0];
            assert_eq!(
                (&removed["sessions"], &removed["drain"]),
                (&json!(3), &Value::Null)
            );
            // The clock: a drain with the same time, which does end sessions.
            let clock = clients_at(&gateway, two.address, 1).await;
            patch(&gateway, two.address, &json!({"state": "draining"}));
            times(clock, Instant::now() - Duration::from_secs(60)).await;
            assert!(ends.try_join_next().is_none());
            ends.shutdown().await;
        }
    }
}

#[tokio::test]
async fn orders_that_make_no_sense_are_refused() {
    let (one, _two, gateway) = pair("").await;
    let known = format!("/v1/upstreams/echo/backends/{}", one.address);
    for (target, body, status) in [
        (known.as_str(), "{}", 400),
        (&known, r#"{"state":"asleep"}"#, 400),
        (
            &known,
            r#"{"state":"draining","pace":"1/s","within":"1m"}"#,
            400,
        ),
        (&known, r#"{"paused":true}"#, 409),
        (&known, r#"{"state":"active","pace":"1/s"}"#, 409),
        (
            "/v1/upstreams/echo/backends/absent",
            r#"{"state":"active"}"#,
            404,
        ),
        (
            "/v1/upstreams/nothing/backends/x",
            r#"{"state":"active"}"#,
            404,
        ),
    ] {
        let answer = gateway.admin("PATCH", target, body);
        assert_eq!(answer.status, status, "{target} {body}: {}", answer.body);
    }
    assert_eq!(gateway.backend("echo", one.address)["state"], "active");
}

#[tokio::test]
async fn the_shell_drains_watches_and_undoes() {
    let (one, _two, gateway) = pair("").await;
    let ends = clients_at(&gateway, one.address, 10).await;
    let id = one.address.to_string();
    let directory = gateway.directory().to_owned();
    let run = async |more: &[&'static str]| {
        let arguments: Vec<_> = more.iter().map(ToString::to_string).collect();
        let (id, directory) = (id.clone(), directory.clone());
        // The clients go on meanwhile.
        let output = tokio::task::spawn_blocking(move || {
            let mut all = vec!["drain", "echo", &id];
            all.extend(arguments.iter().map(String::as_str));
            sessile(&all, &directory)
        });
        let output = output.await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, text, _) = run(&["--within", "500ms", "--watch"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.lines().count() >= 2, "progress: {text}");
    assert!(
        text.contains("done, within 500ms: 0 of 10 remain, 0 moved, 10 closed"),
        "{text}"
    );
    times(ends, Instant::now() - Duration::from_secs(60)).await;
    let (code, text, _) = run(&["--undo"]).await;
    assert_eq!(code, Some(0));
    assert!(
        text.contains("active (active by the configuration)"),
        "{text}"
    );
    let (code, _, error) = run(&["--pause"]).await;
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("is not draining"), "{error}");
    let output = sessile(&["drain", "nothing", &id], gateway.directory());
    assert_eq!(output.status.code(), Some(1));
}
