//! A cluster of three: members are lost, leaders change, and everything is followed on.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::etcd::Etcd;
use crate::support::etcd_world::{
    Traffic, etcd_status, following, has_members, key_of, member, seed,
};
use crate::support::{Backend, Gateway, eventually};

/// Id and leader of a member, as it reports them.
fn status(etcd: &Etcd) -> (u64, u64) {
    let text = etcd.ctl(&["endpoint", "status", "-w", "json"]);
    let all: Value = serde_json::from_str(&text).unwrap();
    let status = &all[0]["Status"];
    let id = status["header"]["member_id"].as_u64().unwrap();
    (id, status["leader"].as_u64().unwrap())
}

#[tokio::test]
async fn i5_a_lost_member_a_new_leader_and_a_cut_off_member_lose_no_change() {
    let backends = [
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    ];
    let mut etcds = Etcd::start_three().await;
    seed(&etcds[0], &[&backends[0]]).await;
    let endpoints: Vec<_> = etcds.iter().map(Etcd::url).collect();
    let gateway = Gateway::start(&following(&endpoints, "")).await;
    has_members(&gateway, &[&backends[0]]).await;
    let traffic = Traffic::start(gateway.address());
    let followed = |etcds: &[Etcd]| {
        let endpoint = etcd_status(&gateway)["endpoint"].clone();
        etcds.iter().position(|one| endpoint == one.url())
    };

    // The member that is followed is lost.
    let place = followed(&etcds).unwrap();
    etcds[place].stop();
    let other = &etcds[(place + 1) % 3];
    eventually("a write succeeds", async || {
        let mut client = other.client().await;
        let put = client.put("/elsewhere", "x", None).await;
        put.is_ok()
    })
    .await;
    other
        .put(&key_of(&backends[1]), &member(&backends[1]))
        .await;
    has_members(&gateway, &[&backends[0], &backends[1]]).await;
    etcds[place].start_again().await;

    // The leader moves.
    let states: Vec<_> = etcds.iter().map(status).collect();
    let leader = states.iter().position(|(id, leader)| id == leader).unwrap();
    let next = format!("{:x}", states[(leader + 1) % 3].0);
    etcds[leader].ctl(&["move-leader", &next]);
    etcds[0].delete(&key_of(&backends[1])).await;
    has_members(&gateway, &[&backends[0]]).await;

    // The two others stop: the one left has no leader, and no answer counts until one is back.
    eventually("it is followed", async || followed(&etcds).is_some()).await;
    let place = followed(&etcds).unwrap();
    for one in [1, 2] {
        etcds[(place + one) % 3].signal(Signal::STOP);
    }
    eventually("no member without a leader is followed", async || {
        followed(&etcds).is_none()
    })
    .await;
    for one in [1, 2] {
        etcds[(place + one) % 3].signal(Signal::CONT);
    }
    eventually("it is followed again", async || followed(&etcds).is_some()).await;
    etcds[0]
        .put(&key_of(&backends[2]), &member(&backends[2]))
        .await;
    has_members(&gateway, &[&backends[0], &backends[2]]).await;
    assert_eq!(etcd_status(&gateway)["restores"], 0);
    traffic.end().await;
}
