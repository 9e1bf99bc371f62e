//! The gateways that follow one etcd, as each of them sees the others.

use serde_json::{Value, json};

use crate::support::etcd::Etcd;
use crate::support::etcd_world::{Network, follow, following, seed};
use crate::support::{Backend, Client, Gateway, eventually};

/// A node in a gateway's status, if it is listed.
fn node(gateway: &Gateway, name: &str) -> Option<Value> {
    let status = gateway.get("/v1/status");
    let fleet = status["fleet"].as_array().unwrap();
    fleet.iter().find(|node| node["node"] == name).cloned()
}

/// Waits until `gateway` shows the node like this.
async fn shows_node(gateway: &Gateway, name: &str, what: &str, holds: impl Fn(&Value) -> bool) {
    eventually(&format!("{name}: {what}"), async || {
        node(gateway, name).is_some_and(|node| holds(&node))
    })
    .await;
}

#[tokio::test]
async fn two_gateways_see_each_other_and_which_one_is_behind() {
    let etcd = Etcd::start().await;
    let backend = Backend::echo().await;
    seed(&etcd, &[&backend]).await;
    let network = Network::to(etcd.port()).await;
    let one = Gateway::start_named("edge-1", &following(&[etcd.url()], "")).await;
    let two = Gateway::start_named("edge-2", &following(&[network.url()], "")).await;
    for (gateway, own, other) in [(&one, "edge-1", "edge-2"), (&two, "edge-2", "edge-1")] {
        let digest = gateway.get("/v1/status")["digest"].clone();
        shows_node(gateway, own, "itself", |node| node["this"] == true).await;
        shows_node(gateway, other, "the same table", |node| {
            node["digest"] == digest && node["older"] == false && node["this"] == false
        })
        .await;
        let seen = node(gateway, other).unwrap();
        assert_eq!(seen["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(
            (&seen["differs"], &seen["duplicate"]),
            (&json!(false), &json!(false))
        );
        assert!(
            seen["admin"].as_str().unwrap().starts_with("unix:"),
            "{seen}"
        );
    }
    let mut client = Client::connect(two.address(), "/?k=1").await;
    shows_node(&one, "edge-2", "a session", |node| node["sessions"] == 1).await;

    // What is written now, the second one does not hear.
    network.lose_everything(true);
    etcd.put(
        "routes/more",
        &json!({ "path": "/more", "upstream": "echo" }),
    )
    .await;
    shows_node(&one, "edge-2", "older", |node| node["older"] == true).await;
    shows_node(&one, "edge-1", "not older", |node| node["older"] == false).await;
    // When its lease has run out it is still known, and known to be gone.
    shows_node(&one, "edge-2", "gone", |node| {
        node["phase"] == "gone" && node["older"] == true
    })
    .await;
    client.echo("no client noticed").await;

    network.lose_everything(false);
    shows_node(&one, "edge-2", "back", |node| {
        node["phase"] == "ready" && node["older"] == false
    })
    .await;
    client.close().await;
    drop(two);
    eventually("who leaves is not remembered", async || {
        node(&one, "edge-2").is_none()
    })
    .await;
}

#[tokio::test]
async fn two_gateways_of_one_name_are_reported() {
    let etcd = Etcd::start().await;
    let one = follow(&etcd).await;
    shows_node(&one, "under-test", "itself", |node| node["this"] == true).await;
    let two = follow(&etcd).await;
    for gateway in [&one, &two] {
        eventually("both are seen", async || {
            let status = gateway.get("/v1/status");
            let fleet = status["fleet"].as_array().unwrap();
            fleet.len() == 2 && fleet.iter().all(|node| node["duplicate"] == true)
        })
        .await;
        eventually("a warning", async || {
            gateway.log().contains("another gateway has the same name")
        })
        .await;
    }
}

#[tokio::test]
async fn the_two_processes_of_a_handover_are_one_gateway() {
    let etcd = Etcd::start().await;
    let backend = Backend::echo().await;
    seed(&etcd, &[&backend]).await;
    let mut old = Gateway::start_with_handover(&following(&[etcd.url()], "")).await;
    shows_node(&old, "under-test", "itself", |node| node["this"] == true).await;
    let mut client = Client::connect(old.address(), "/?k=1").await;
    let new = old.succeed().await;
    client.echo("over there").await;
    old.wait_for_exit().await;
    shows_node(&new, "under-test", "itself alone", |node| {
        node["this"] == true && node["duplicate"] == false
    })
    .await;
    client.close().await;
    for gateway in [&old, &new] {
        let log = gateway.log();
        assert!(!log.contains("another gateway has the same name"), "{log}");
    }
}

#[tokio::test]
async fn i5_without_etcd_the_fleet_is_as_it_was_and_older() {
    let mut etcd = Etcd::start().await;
    let backend = Backend::echo().await;
    seed(&etcd, &[&backend]).await;
    let gateway = follow(&etcd).await;
    shows_node(&gateway, "under-test", "itself", |node| {
        node["this"] == true
    })
    .await;
    assert!(gateway.get("/v1/status")["fleet_fault"].is_null());
    etcd.stop();
    eventually("it is logged", async || {
        let status = gateway.get("/v1/status");
        !status["fleet_fault"].is_null() && status["fleet_age_seconds"].as_u64() >= Some(3)
    })
    .await;
    assert!(node(&gateway, "under-test").is_some());
    let happened = |kind: &str| {
        let page = gateway.get(&format!("/v1/history?kind={kind}"));
        page["items"].as_array().map_or(0, Vec::len)
    };
    eventually("its loss is an event", async || happened("source_lost") > 0).await;
    let mut client = Client::connect(gateway.address(), "/?k=1").await;
    client.echo("and welcome").await;
    client.close().await;
    etcd.start_again().await;
    eventually("it is read again", async || {
        let status = gateway.get("/v1/status");
        status["fleet_fault"].is_null() && status["fleet_age_seconds"].as_u64() < Some(5)
    })
    .await;
    eventually("so is its return", async || {
        happened("source_connected") > 1
    })
    .await;
}
