//! Backends under leases: one that loses it goes, many that lose theirs together stay while they
//! pass their probes.

use serde_json::json;

use crate::support::etcd::Etcd;
use crate::support::etcd_world::{
    Network, Traffic, etcd_status, following, has_members, is_connected, key_of, member, members,
};
use crate::support::{Backend, Gateway, eventually};

/// A gateway with a probed upstream of so many backends, each under a lease of its own.
async fn world(etcd: &Etcd, count: usize, grace: &str) -> (Gateway, Vec<Backend>, Vec<i64>) {
    world_by(etcd, &etcd.url(), count, grace).await
}

/// The same by way of another endpoint.
async fn world_by(
    etcd: &Etcd,
    endpoint: &str,
    count: usize,
    grace: &str,
) -> (Gateway, Vec<Backend>, Vec<i64>) {
    let probe = json!({
        "type": "websocket", "path": "/healthz", "interval": "100ms", "timeout": "2s", "rise": 1, "fall": 2
    });
    etcd.put("upstreams/echo", &json!({ "probe": probe })).await;
    let route = json!({ "upstream": "echo", "affinity": ["query:k"] });
    etcd.put("routes/all", &route).await;
    let (mut backends, mut leases) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let backend = Backend::echo().await;
        let lease = etcd.grant(600).await;
        etcd.put_leased(&key_of(&backend), &member(&backend), lease)
            .await;
        backends.push(backend);
        leases.push(lease);
    }
    let more = format!("stale_grace = \"{grace}\"");
    let gateway = Gateway::start(&following(&[endpoint.to_owned()], &more)).await;
    has_members(&gateway, &backends.iter().collect::<Vec<_>>()).await;
    for backend in &backends {
        gateway
            .wait_for_health("echo", backend.address, "healthy")
            .await;
    }
    (gateway, backends, leases)
}

/// As an expiry does: the keys go with the lease.
async fn expire(etcd: &Etcd, leases: &[i64]) {
    let mut client = etcd.client().await;
    for lease in leases {
        client.lease_revoke(*lease).await.unwrap();
    }
}

#[tokio::test]
async fn i5_a_storm_of_lease_expiries_keeps_backends_that_pass_their_probes() {
    let etcd = Etcd::start().await;
    let (gateway, backends, leases) = world(&etcd, 6, "10m").await;
    let traffic = Traffic::start(gateway.address());
    expire(&etcd, &leases).await;
    eventually("six are stale", async || {
        etcd_status(&gateway)["stale"] == 6
    })
    .await;
    has_members(&gateway, &backends.iter().collect::<Vec<_>>()).await;
    assert_eq!(gateway.backend("echo", backends[0].address)["stale"], true);
    assert_eq!(gateway.metric("sessile_etcd_stale_members", &[]), 6.0);

    // One that registers again is a member like any other.
    let lease = etcd.grant(600).await;
    etcd.put_leased(&key_of(&backends[0]), &member(&backends[0]), lease)
        .await;
    eventually("one returned", async || etcd_status(&gateway)["stale"] == 5).await;
    assert_eq!(gateway.backend("echo", backends[0].address)["stale"], false);
    traffic.end().await;

    // One that fails its probe has no evidence in its favour.
    backends[1].set_healthy(false);
    eventually("it goes", async || members(&gateway, "echo").len() == 5).await;
    assert_eq!(etcd_status(&gateway)["stale"], 4);
}

#[tokio::test]
async fn stale_backends_go_when_the_grace_is_over() {
    let etcd = Etcd::start().await;
    let (gateway, _backends, leases) = world(&etcd, 4, "2s").await;
    expire(&etcd, &leases).await;
    eventually("they are stale", async || {
        etcd_status(&gateway)["stale"] == 4
    })
    .await;
    eventually("they go", async || members(&gateway, "echo").is_empty()).await;
    assert_eq!(etcd_status(&gateway)["stale"], 0);
}

#[tokio::test]
async fn a_single_expiry_is_an_ordinary_end() {
    let etcd = Etcd::start().await;
    let (gateway, backends, leases) = world(&etcd, 4, "10m").await;
    expire(&etcd, &leases[..1]).await;
    has_members(&gateway, &[&backends[1], &backends[2], &backends[3]]).await;
    assert_eq!(etcd_status(&gateway)["stale"], 0);
}

#[tokio::test]
async fn backends_that_are_deleted_go_at_once_however_many() {
    let etcd = Etcd::start().await;
    let (gateway, _backends, _leases) = world(&etcd, 4, "10m").await;
    etcd.ctl(&["del", "--prefix", "/sessile/backends/echo/"]);
    has_members(&gateway, &[]).await;
    assert_eq!(etcd_status(&gateway)["stale"], 0);
}

#[tokio::test]
async fn i5_a_storm_without_events_is_recognised() {
    let etcd = Etcd::start().await;
    let network = Network::to(etcd.port()).await;
    let (gateway, backends, leases) = world_by(&etcd, &network.url(), 4, "10m").await;
    let traffic = Traffic::start(gateway.address());
    network.lose_everything(true);
    is_connected(&gateway, false).await;
    expire(&etcd, &leases).await;
    etcd.compact().await;
    network.lose_everything(false);
    eventually("four are stale", async || {
        etcd_status(&gateway)["stale"] == 4
    })
    .await;
    has_members(&gateway, &backends.iter().collect::<Vec<_>>()).await;
    traffic.end().await;
}
