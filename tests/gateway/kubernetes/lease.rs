//! The leader that writes statuses, by a Lease.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::gateway_api::{cluster, configuration, connects, reports, route};
use crate::support::time::holds_within;
use crate::support::{Backend, Gateway, eventually};

#[tokio::test]
async fn only_the_leader_writes_statuses_and_another_takes_over() {
    let backend = Backend::echo().await;
    let cluster = cluster(&backend).await;
    let directory = tempfile::tempdir().expect("a directory");
    let start = async |name: &str| {
        let token = directory.path().join(name);
        fs::write(&token, name).expect("a file");
        let more = format!("token_file = \"{}\"\n", token.display());
        Gateway::start_named(name, &configuration(&cluster.url(), &more)).await
    };
    let mut first = start("first").await;
    reports(&cluster, "chat", "Accepted", "Accepted", "").await;
    let second = start("second").await;
    let echo = json!([{ "name": "echo", "port": 80 }]);
    cluster.apply(route(
        "more",
        "a.example.com",
        json!({ "backendRefs": echo }),
    ));
    reports(&cluster, "more", "Accepted", "Accepted", "").await;
    // Both route by it.
    assert!(connects(&first, "a.example.com", "/").await);
    eventually("both do", async || {
        connects(&second, "a.example.com", "/").await
    })
    .await;
    assert!(
        cluster.writers().iter().all(|one| one == "first"),
        "{:?}",
        cluster.writers()
    );
    let lease = || cluster.object("Lease", Some("sessile"), "sessile-gateway")["spec"].clone();
    let holder = lease()["holderIdentity"].to_string();
    assert!(holder.contains("first_"), "{holder}");
    // A gateway that is killed gives nothing back.
    first.signal(Signal::KILL);
    first.wait_for_exit().await;
    let taken = holds_within(Duration::from_secs(40), async || {
        lease()["holderIdentity"].to_string().contains("second_")
    });
    assert!(taken.await, "{}", lease());
    assert_eq!(lease()["leaseTransitions"], 1);
    cluster.apply(route(
        "late",
        "l.example.com",
        json!({ "backendRefs": echo }),
    ));
    reports(&cluster, "late", "Accepted", "Accepted", "").await;
    assert_eq!(cluster.writers().last().map(String::as_str), Some("second"));
}

#[tokio::test]
async fn a_leader_that_stops_gives_the_lease_back() {
    let backend = Backend::echo().await;
    let cluster = cluster(&backend).await;
    let mut gateway = Gateway::start(&configuration(&cluster.url(), "")).await;
    reports(&cluster, "chat", "Accepted", "Accepted", "").await;
    gateway.signal(Signal::TERM);
    gateway.wait_for_exit().await;
    let lease = cluster.object("Lease", Some("sessile"), "sessile-gateway")["spec"].clone();
    assert_eq!(lease["holderIdentity"], "", "{lease}");
    // Another one leads without waiting until it is over.
    let start = std::time::Instant::now();
    let next = Gateway::start_named("next", &configuration(&cluster.url(), "")).await;
    eventually("another one leads", async || {
        let lease = cluster.object("Lease", Some("sessile"), "sessile-gateway");
        lease["spec"]["holderIdentity"]
            .to_string()
            .contains("next_")
    })
    .await;
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    drop(next);
}
