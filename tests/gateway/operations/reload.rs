//! Changes of the configuration while traffic flows.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::sync::watch;

use crate::support::time::pace;
use crate::support::{Backend, Client, Gateway, config, eventually};

#[tokio::test]
async fn a_changed_file_takes_effect_on_reload_and_the_changes_are_reported() {
    let (old, new) = (Backend::echo().await, Backend::echo().await);
    let gateway = Gateway::start(&config::echo(&[old.address], "", "")).await;
    let before = gateway.get("/v1/status");
    let mut client = Client::connect(gateway.address(), "/").await;

    gateway.write_config(&config::echo(&[new.address], "", ""));
    let answer = gateway.reload();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let after = gateway.get("/v1/status");
    assert_eq!(
        after["generation"].as_u64(),
        before["generation"].as_u64().map(|old| old + 1)
    );
    assert_ne!(after["digest"], before["digest"]);

    let mut next = Client::connect(gateway.address(), "/").await;
    assert_eq!(next.backend().await, new.address);
    assert_eq!(
        client.backend().await,
        old.address,
        "i1: a session stays where it is"
    );
}

#[tokio::test]
async fn the_same_file_again_changes_nothing() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let digest = gateway.get("/v1/status")["digest"].clone();
    assert_eq!(gateway.reload().status, 200);
    assert_eq!(gateway.get("/v1/status")["digest"], digest);
}

#[tokio::test]
async fn i5_without_a_readable_configuration_sessions_live_and_new_ones_begin() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let mut client = Client::connect(gateway.address(), "/").await;
    fs::remove_file(gateway.config_path()).unwrap();
    assert_eq!(gateway.reload().status, 422);
    gateway.signal(Signal::HUP);
    client.echo("still here").await;
    let mut next = Client::connect(gateway.address(), "/").await;
    next.echo("and welcome").await;
}

#[tokio::test]
async fn sighup_reloads() {
    let (old, new) = (Backend::echo().await, Backend::echo().await);
    let gateway = Gateway::start(&config::echo(&[old.address], "", "")).await;
    gateway.write_config(&config::echo(&[new.address], "", ""));
    gateway.signal(Signal::HUP);
    eventually("new sessions at the new backend", async || {
        let mut client = Client::connect(gateway.address(), "/").await;
        client.backend().await == new.address
    })
    .await;
}

/// Watching is off in the other tests, so that they decide when a file is read.
fn watched(backend: &Backend) -> String {
    let text = config::echo(&[backend.address], "", "");
    format!("[sources.file]\nwatch = true\n\n{text}")
}

#[tokio::test]
async fn a_watched_file_takes_effect_when_it_is_renamed_over_or_written_in_place() {
    let backends = [
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    ];
    let gateway = Gateway::start(&watched(&backends[0])).await;
    gateway.write_config(&watched(&backends[1]));
    let arrives_at = async |backend: &Backend| {
        eventually("new sessions at the new backend", async || {
            let mut client = Client::connect(gateway.address(), "/").await;
            client.backend().await == backend.address
        })
        .await;
    };
    arrives_at(&backends[1]).await;
    let text = config::complete(&watched(&backends[2]), gateway.directory());
    fs::write(gateway.directory().join("gateway.toml"), text).unwrap();
    arrives_at(&backends[2]).await;
}

#[tokio::test]
async fn a_watched_file_behind_swapped_links_is_seen_as_kubernetes_swaps_them() {
    let old = Backend::echo().await;
    let (linked, swapped) = (Backend::echo().await, Backend::echo().await);
    let gateway = Gateway::start(&watched(&old)).await;
    // gateway.toml -> ..data/gateway.toml, ..data -> ..2026_01; then ..data is renamed over.
    let directory = gateway.directory();
    for (version, backend) in [("..2026_01", &linked), ("..2026_02", &swapped)] {
        fs::create_dir(directory.join(version)).unwrap();
        let text = config::complete(&watched(backend), directory);
        fs::write(directory.join(version).join("gateway.toml"), text).unwrap();
    }
    symlink("..2026_01", directory.join("..data")).unwrap();
    symlink("..data/gateway.toml", directory.join("gateway.toml.new")).unwrap();
    fs::rename(
        directory.join("gateway.toml.new"),
        directory.join("gateway.toml"),
    )
    .unwrap();
    let arrives_at = async |backend: &Backend| {
        eventually("new sessions at the next backend", async || {
            let mut client = Client::connect(gateway.address(), "/").await;
            client.backend().await == backend.address
        })
        .await;
    };
    arrives_at(&linked).await;
    symlink("..2026_02", directory.join("..data_tmp")).unwrap();
    fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
    arrives_at(&swapped).await;
}

#[tokio::test]
async fn i4_a_bad_file_is_refused_whole_with_its_place_and_the_good_one_stays() {
    let backend = Backend::echo().await;
    let good = config::echo(&[backend.address], "", "");
    let gateway = Gateway::start(&good).await;
    let before = gateway.get("/v1/status");
    let bad = [
        good.replace("upstream = \"echo\"", "upstream = \"ecko\""),
        good.replace("[[routes]]", "[[routes]"),
        good.replace("affinity", "afinity"),
        format!("{good}\n[[routes]]\nname = \"all\"\nupstream = \"echo\"\npath = \"/x\"\n"),
    ];
    for text in bad {
        gateway.write_config(&text);
        let answer = gateway.reload();
        assert!(
            (400..500).contains(&answer.status),
            "{text} was taken: {}",
            answer.body
        );
        assert!(
            answer.head.contains("application/problem+json"),
            "{}",
            answer.head
        );
        assert!(
            answer.body.contains("gateway.toml"),
            "no place in {}",
            answer.body
        );
        let now = gateway.get("/v1/status");
        assert_eq!(
            (&now["generation"], &now["digest"]),
            (&before["generation"], &before["digest"])
        );
        let mut client = Client::connect(gateway.address(), "/").await;
        client.echo("the good one serves").await;
    }
    // SIGHUP refuses alike, and the log has it.
    gateway.signal(Signal::HUP);
    eventually("the refusal is logged", async || {
        gateway.log().contains("gateway.toml")
    })
    .await;
    Client::connect(gateway.address(), "/")
        .await
        .echo("still")
        .await;
}

#[tokio::test]
async fn upstreams_that_did_not_change_keep_their_health() {
    let (sick, well) = (Backend::echo().await, Backend::echo().await);
    sick.set_healthy(false);
    let probe = "probe = { type = \"http\", path = \"/healthz\", interval = \"50ms\", fall = 1 }";
    let text = config::echo(&[sick.address, well.address], probe, "");
    let gateway = Gateway::start(&text).await;
    gateway
        .wait_for_health("echo", sick.address, "unhealthy")
        .await;
    let mut client = Client::connect(gateway.address(), "/").await;
    for number in 0..5 {
        gateway.write_config(&format!(
            "{text}\n[[routes]]\nname = \"more-{number}\"\npath = \"/more\"\nupstream = \"echo\"\n"
        ));
        assert_eq!(gateway.reload().status, 200);
        assert_eq!(gateway.backend("echo", sick.address)["health"], "unhealthy");
        assert_eq!(gateway.backend("echo", well.address)["sessions"], 1);
    }
    client.echo("lives").await;
}

#[tokio::test]
async fn i1_sessions_of_a_removed_route_live_on_by_default() {
    let backend = Backend::echo().await;
    let keeps = "[[routes]]\nname = \"keeps\"\npath = \"/keeps\"\nupstream = \"echo\"\n";
    let closes = "[[routes]]\nname = \"closes\"\npath = \"/closes\"\nupstream = \"echo\"\n\
        on_removal = \"close\"\n";
    let text = config::echo(&[backend.address], "", "");
    let gateway = Gateway::start(&format!("{text}\n{keeps}\n{closes}")).await;
    let mut kept = Client::connect(gateway.address(), "/keeps").await;
    let mut closed = Client::connect(gateway.address(), "/closes").await;
    let mut other = Client::connect(gateway.address(), "/").await;
    gateway.write_config(&text);
    assert_eq!(gateway.reload().status, 200);
    let (code, reason) = closed.end().await.unwrap();
    assert_eq!(code, 1012);
    assert!(!reason.is_empty());
    kept.echo("kept").await;
    other.echo("untouched").await;
}

#[tokio::test]
async fn i1_a_thousand_swaps_lose_no_message_of_two_hundred_sessions() {
    let backends = [
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    ];
    let addresses = backends.each_ref().map(|backend| backend.address);
    let whole = config::echo(&addresses, "", "");
    let without_one = config::echo(&addresses[1..], "", "limits = { message_bytes = 4096 }");
    let gateway = Gateway::start(&whole).await;
    let stop = watch::Sender::new(false);
    let mut sessions = tokio::task::JoinSet::new();
    for key in 0..200 {
        let mut client = Client::connect(gateway.address(), &format!("/?k={key}")).await;
        let mut stopped = stop.subscribe();
        sessions.spawn(async move {
            let mut number = 0_u64;
            while !*stopped.borrow_and_update() {
                client.echo(&number.to_string()).await;
                number += 1;
                pace(Duration::from_millis(20)).await;
            }
            client.close().await;
            number
        });
    }
    let first_generation = gateway.generation();
    swap(&gateway, &[&without_one, &whole], 100).await;
    let warm = gateway.memory_kib("VmRSS");
    let start = Instant::now();
    swap(&gateway, &[&without_one, &whole], 900).await;
    let took = start.elapsed();
    let grown = gateway.memory_kib("VmRSS").saturating_sub(warm);
    assert_eq!(gateway.generation(), first_generation + 1000);
    assert_eq!(
        gateway.sessions_live(),
        200,
        "sessions ended during the swaps"
    );
    stop.send(true).unwrap();
    let mut messages = 0;
    while let Some(count) = sessions.join_next().await {
        messages += count.expect("every message of a session came back, in order");
    }
    eprintln!("900 swaps in {took:?} beside {messages} messages; memory grew by {grown} KiB");
    assert!(messages > 1000, "only {messages} messages");
    assert!(grown < 4096, "swaps left {grown} KiB behind");
    let records = gateway.wait_for_records(200).await;
    assert!(records.iter().all(|record| record.ended_by == "client"));
}

async fn swap(gateway: &Gateway, texts: &[&str], count: usize) {
    for number in 0..count {
        gateway.write_config(texts[number % texts.len()]);
        let answer = gateway.reload();
        assert_eq!(answer.status, 200, "swap {number}: {}", answer.body);
        // The sessions share this thread.
        pace(Duration::from_millis(1)).await;
    }
}

/// What the backend sees of `Authorization`, for a new session.
async fn authorization(gateway: &Gateway) -> String {
    let mut client = Client::connect(gateway.address(), "/").await;
    let seen = client.seen().await;
    client.close().await;
    seen["headers"]["authorization"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn a_reload_that_changes_a_secret_alone_is_in_force() {
    let backend = Backend::echo().await;
    let with = |secret: &str| {
        let route = format!("request_headers.set.Authorization = \"Bearer {secret}\"");
        config::echo(&[backend.address], "", &route)
    };
    let gateway = Gateway::start(&with("the-old-secret")).await;
    assert!(authorization(&gateway).await.ends_with("the-old-secret"));
    gateway.write_config(&with("the-new-secret"));
    let report = gateway.reload().json();
    assert_eq!(report["swapped"], true, "{report}");
    assert!(authorization(&gateway).await.ends_with("the-new-secret"));
    assert_eq!(gateway.reload().json()["swapped"], false, "the same again");
}

#[tokio::test]
async fn what_waits_for_a_restart_is_not_shown_as_if_it_served() {
    let backend = Backend::echo().await;
    let with = |port: &str, sessions: u32| {
        format!(
            "# node: sessions_max = {sessions}\n[[listeners]]\nname = \"edge\"\n\
             listen = [\"127.0.0.1:{port}\"]\n\n{}",
            config::echo(&[backend.address], "", "")
        )
    };
    let gateway = Gateway::start(&with("0", 100)).await;
    assert_eq!(
        gateway.get("/v1/config")["restart_pending"],
        serde_json::json!([])
    );
    gateway.write_config(&with("8088", 200));
    let pending = serde_json::json!(["listeners"]);
    assert_eq!(gateway.reload().json()["restart_for"], pending);
    for _ in 0..2 {
        let shown = gateway.get("/v1/config");
        assert_eq!(shown["restart_pending"], pending);
        assert_eq!(shown["config"]["listeners"][0]["listen"][0], "127.0.0.1:0");
        assert_eq!(
            shown["config"]["node"]["sessions_max"], 200,
            "in force at once"
        );
        assert_eq!(gateway.get("/v1/status")["restart_pending"], pending);
        assert_eq!(gateway.reload().status, 200);
    }
    gateway.write_config(&with("0", 200));
    assert_eq!(gateway.reload().status, 200);
    assert_eq!(
        gateway.get("/v1/status")["restart_pending"],
        serde_json::json!([])
    );
}
