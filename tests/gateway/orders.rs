//! What operators ordered of backends holds until it is taken back, whichever process serves.

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

async fn takes_nobody(gateway: &Gateway, other: SocketAddr) {
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
    // What the other process hears, not what it reads.
    std::fs::remove_file(gateway.directory().join("state/orders")).unwrap();
    let next = gateway.succeed().await;
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
    let shown = next.backend("echo", one.address);
    assert_eq!(shown["state"], "draining", "{shown}");
    let drain = &shown["drain"];
    assert_eq!(
        (&drain["by"], &drain["state"], &drain["pace"]),
        (&json!("operator"), &json!("paused"), &json!("10/s")),
        "{drain}"
    );
    takes_nobody(&next, two.address).await;
    client.echo("still here").await;
    order(&next, one.address, &json!({ "paused": false }));
    let end = client.end().await;
    assert_eq!(end, Some((1012, "backend is draining".to_owned())));
}

#[tokio::test]
async fn an_order_outlives_a_restart_until_it_is_taken_back() {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let text = config::echo(&[one.address, two.address], "", "");
    let gateway = Gateway::start(&text).await;
    order(&gateway, one.address, &json!({ "state": "disabled" }));
    let gateway = restart(gateway, &text).await;
    assert_eq!(gateway.backend("echo", one.address)["state"], "disabled");
    takes_nobody(&gateway, two.address).await;
    order(&gateway, one.address, &json!({ "state": "configured" }));
    let gateway = restart(gateway, &text).await;
    assert_eq!(gateway.backend("echo", one.address)["state"], "active");
    client_at(&gateway, one.address).await.close().await;
}
