//! Orders of operators for backends are in force until they are withdrawn, across hand-overs and
//! restarts.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::etcd_world::restart;
use crate::support::{Backend, Client, Gateway, config};

fn order(gateway: &Gateway, backend: SocketAddr, change: &Value) {
    let target = format!("/v1/upstreams/echo/backends/{backend}");
    let answer = gateway.admin("PATCH", &target, &change.to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// A client whose key is at this backend.
async fn client_at(gateway: &Gateway, backend: SocketAddr) -> Client {
    for key in 0.. {
        let mut client = Client::connect(gateway.address(), &format!("/?k={key}")).await;
        if client.backend().await == backend {
            return client;
        }
        client.close().await;
    }
    unreachable!("keys do not run out")
}

async fn takes_no_session(gateway: &Gateway, other: SocketAddr) {
    for key in 0..20 {
        let mut client = Client::connect(gateway.address(), &format!("/?k={key}")).await;
        assert_eq!(client.backend().await, other);
        client.close().await;
    }
}

#[tokio::test]
async fn an_order_to_drain_and_how_outlives_a_handover() {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let text = config::echo(&[one.address, two.address], "", "");
    let mut gateway = Gateway::start_with_handover(&text).await;
    let mut client = client_at(&gateway, one.address).await;
    order(
        &gateway,
        one.address,
        &json!({ "state": "draining", "pace": "600/m", "paused": true }),
    );
    // Without the file, the new process can have the order from the hand-over only.
    std::fs::remove_file(gateway.directory().join("state/orders")).unwrap();
    let next = gateway.succeed().await;
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
    let shown = next.backend("echo", one.address);
    assert_eq!(shown["state"], "draining", "{shown}");
    let drain = &shown["drain"];
    assert_eq!(
        (&drain["by"], &drain["state"], &drain["pace"]),
        (&json!("operator"), &json!("paused"), &json!("600/m")),
        "{drain}"
    );
    takes_no_session(&next, two.address).await;
    client.echo("still here").await;
    order(&next, one.address, &json!({ "paused": false }));
    let end = client.end().await;
    assert_eq!(end, Some((1012, "backend is draining".to_owned())));
}

#[tokio::test]
async fn an_order_that_is_taken_back_does_not_come_back_with_the_next_process() {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let text = config::echo(&[one.address, two.address], "", "");
    let mut gateway = Gateway::start_with_handover(&text).await;
    order(&gateway, one.address, &json!({ "state": "disabled" }));
    let kept = gateway.directory().join("state/orders");
    let written = std::fs::read(&kept).unwrap();
    order(&gateway, one.address, &json!({ "state": "configured" }));
    // As if the next process had read it before that.
    std::fs::write(&kept, written).unwrap();
    let next = gateway.succeed().await;
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
    assert_eq!(next.backend("echo", one.address)["state"], "active");
    assert_eq!(next.backend("echo", one.address)["ordered"], Value::Null);
}

#[tokio::test]
async fn how_a_backend_drains_is_kept_when_it_is_ordered_again_and_goes_with_it() {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let text = config::echo(&[one.address, two.address], "", "");
    let gateway = Gateway::start(&text).await;
    let slowly = json!({ "state": "draining", "pace": "7/s" });
    order(&gateway, one.address, &slowly);
    let deadline = json!({ "state": "draining", "deadline": "10m" });
    order(&gateway, one.address, &deadline);
    let gateway = restart(gateway, &text).await;
    let drain = &gateway.backend("echo", one.address)["drain"];
    assert_eq!(drain["pace"], "7/s");
    // Its order can be taken back while it is not there.
    let without = config::echo(&[two.address], "", "");
    gateway.write_config(&without);
    assert_eq!(gateway.reload().status, 200);
    let target = format!("/v1/upstreams/echo/backends/{}", one.address);
    let answer = gateway.admin(
        "PATCH",
        &target,
        &json!({ "state": "configured" }).to_string(),
    );
    assert!((200..300).contains(&answer.status), "{}", answer.body);
    gateway.write_config(&text);
    assert_eq!(gateway.reload().status, 200);
    assert_eq!(gateway.backend("echo", one.address)["state"], "active");
}

#[tokio::test]
async fn an_order_outlives_a_restart_until_it_is_taken_back() {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let text = config::echo(&[one.address, two.address], "", "");
    let gateway = Gateway::start(&text).await;
    order(&gateway, one.address, &json!({ "state": "disabled" }));
    let gateway = restart(gateway, &text).await;
    assert_eq!(gateway.backend("echo", one.address)["state"], "disabled");
    takes_no_session(&gateway, two.address).await;
    order(&gateway, one.address, &json!({ "state": "configured" }));
    let gateway = restart(gateway, &text).await;
    assert_eq!(gateway.backend("echo", one.address)["state"], "active");
    client_at(&gateway, one.address).await.close().await;
}
