//! The zone of a node: which gateways agree, and what a change of it does.

use serde_json::json;

use super::{Zones, all_are_at, are_of, places};
use crate::support::etcd::Etcd;
use crate::support::etcd_world::following;
use crate::support::shell::sessile;
use crate::support::{Client, Gateway, eventually};

#[tokio::test]
async fn i2_gateways_of_one_zone_agree_and_each_zone_has_its_own_backends() {
    let zones = Zones::start(3, 3).await;
    let [one, two, other] = [
        zones.gateway("a", "", "").await,
        zones.gateway("a", "", "").await,
        zones.gateway("b", "", "").await,
    ];
    let own = places(&one, 100);
    assert_eq!(own, places(&two, 100));
    assert!(are_of(&own, &zones.a) && are_of(&places(&other, 100), &zones.b));
    let digest = |gateway: &Gateway| gateway.get("/v1/status")["digest"].clone();
    assert_eq!(digest(&one), digest(&other), "their configuration is one");
    let ignoring = zones
        .gateway("a", "failover = { zones = \"ignore\" }", "")
        .await;
    let everywhere = places(&ignoring, 100);
    assert!(!are_of(&everywhere, &zones.a) && !are_of(&everywhere, &zones.b));
    assert_eq!(ignoring.get("/v1/upstreams/echo")["levels"], json!([]));
}

#[tokio::test]
async fn i1_a_change_of_the_zone_takes_effect_at_once_and_moves_no_session() {
    let zones = Zones::start(2, 2).await;
    let gateway = zones.gateway("a", "", "").await;
    let mut live = Vec::new();
    for key in 0..8 {
        live.push(Client::connect(gateway.address(), &format!("/?k={key}")).await);
    }
    gateway.write_config(&zones.config("b", "", ""));
    assert_eq!(gateway.reload().status, 200);
    let status = gateway.get("/v1/status");
    assert_eq!(status["zone"], "b");
    assert_eq!(status["restart_pending"], json!([]));
    assert_eq!(gateway.get("/v1/config")["config"]["node"]["zone"], "b");
    assert!(are_of(&places(&gateway, 50), &zones.b));
    assert!(
        all_are_at(&mut live, &zones.a).await,
        "those that live stay"
    );
    for client in live {
        client.close().await;
    }
}

#[tokio::test]
async fn the_zone_of_a_node_is_a_setting_like_others_and_the_fleet_shows_it() {
    let zones = Zones::start(1, 1).await;
    let etcd = Etcd::start().await;
    let gateway = zones.gateway("a", "", "").await;
    let text = zones.config("a", "", "") + &following(&[etcd.url()], "");
    gateway.write_config(&text);
    // On the command line, against the file: another zone, another backend.
    for (zone, backend) in [("a", &zones.a[0]), ("b", &zones.b[0])] {
        let set = format!("node.zone=\"{zone}\"");
        let arguments = [
            "resolve",
            "ws://localhost/?k=1",
            "--config",
            "gateway.toml",
            "--set",
            &set,
        ];
        let output = sessile(&arguments, gateway.directory());
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(
            said.contains(&format!("backend   {}", backend.address)),
            "{said}"
        );
    }
    let fleet = Gateway::start(&text).await;
    eventually("the fleet has a zone", async || {
        fleet.get("/v1/status")["fleet"][0]["zone"] == "a"
    })
    .await;
    let output = sessile(&["status"], fleet.directory());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("GATEWAY") && said.contains("ZONE"), "{said}");
}
